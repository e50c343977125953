"""An encoder whose upper layers are trained with the head: over one text, or over two that it reads together, as a cross-encoder does."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from hybrid.device import multiplies_bfloat16
from hybrid.encoded_texts import EncodedTexts
from hybrid.errors import ParameterError
from hybrid.head.token_embeddings import TunedEmbeddings
from hybrid.head.training import batch_loss, require_finite
from hybrid.randomness import own_randomness

_TOKENS = 128  # that are read of a text, or of two together
_LEARNING_RATE = 1e-4
_OUT_LEARNING_RATE = 1e-3  # of the layer that is new
_WEIGHT_DECAY = 0.01
_WARMUP = 0.1
_CLIPPED_NORM = 1.0
_DROPOUT = 0.2
_BATCH_ROWS = 32
_POOLED_BATCHES = 50  # rows of like length share a batch within so many
_SEEN_ROWS = 60_000
_FEWEST_EPOCHS, _MOST_EPOCHS = 1, 3
_FEWEST_STEPS = 200
_PREDICT_ROWS = 128
_FEWEST_OCCURRENCES = 3  # of a token whose embedding is trained
_TOKENIZED_TEXTS = 8_192
# Dropout of attention takes a fifth of a step and keeps torch from its fused attention; the states have theirs.
_NO_ATTENTION_DROPOUT = {"attention_probs_dropout_prob": 0.0, "attention_dropout": 0.0}


class TunedNetwork(nn.Module):
    """A transformer and, on the mean of each text's last token states at unit length, a linear layer.

    Two texts share one sequence, so that each layer sees both; the linear layer reads ``[q, t, q * t, |q - t|]`` of their means.

    Parameters
    ----------
    encoded : EncodedTexts
        Whose encoder's folder the transformer is loaded from, a copy of its own.
    roles : sequence of one or two roles
    n_layers : int
        Of the transformer, the upper ones, that are trained.
    n_classes : int
    device : torch.device
    token_masking : float, default 0.0
        Share of tokens that each step of a training hides.

    Raises
    ------
    EncoderError
        The encoder is an object, which has no layers.
    ParameterError
        The model has fewer layers, is no transformer, or has no mask token to hide others with.
    """

    def __init__(
        self,
        encoded: EncodedTexts,
        roles: Sequence[str],
        n_layers: int,
        n_classes: int,
        device: torch.device,
        token_masking: float = 0.0,
    ) -> None:
        super().__init__()
        self._half = multiplies_bfloat16(device)
        from hybrid.finetuning.layers import (
            require_transformer,
            train_upper_layers,
        )  # here: 5 s, and only this needs it
        from hybrid.folder_model import load_folder

        assert encoded.encoder is not None
        with own_randomness(0):  # which the weights of layers that a folder lacks are drawn with
            model = load_folder(encoded.encoder.files, str(device), _NO_ATTENTION_DROPOUT)
            first = require_transformer(model, "tuned_layers")
            train_upper_layers(model, n_layers, "tuned_layers")
            self.transformer = first.auto_model
            if self._half and device.type == "cpu":  # where torch's fused attention is eight times slower backwards
                self.transformer.set_attn_implementation("eager")
            self.width = int(self.transformer.config.hidden_size)
            self.out = nn.Linear(self.width * (4 if len(roles) == 2 else 1), n_classes, device=device)
        self.roles = tuple(roles)
        self._prompts = [encoded.encoder.prompt(role) for role in roles]
        self._tokenizer = model.tokenizer
        self.token_masking = token_masking
        if token_masking and self._tokenizer.mask_token_id is None:
            raise ParameterError(f"token_masking needs a tokenizer with a mask token, and {encoded.encoder} has none")
        self._tokens = min(_TOKENS, model.max_seq_length or _TOKENS)
        self._lock = threading.Lock()  # a fast tokenizer refuses a second thread

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.out.weight.device

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """The weights that training changes, by name."""
        return {name: weight for name, weight in self.named_parameters() if weight.requires_grad}

    def train(self, mode: bool = True) -> TunedNetwork:
        """Dropout in what is trained; layers that are not compute as they do for the encoder."""
        super().train(mode)
        _rest(self.transformer)
        return self

    @property
    def embeddings(self) -> nn.Embedding:
        """Those of tokens, as the encoder has them; ParameterError if it has no table of them."""
        found = self.transformer.get_input_embeddings()
        if not isinstance(found, nn.Embedding):
            raise ParameterError(
                f"tuned_embeddings needs a table of token embeddings, and the model has {type(found).__name__}"
            )
        return found

    def tune_embeddings(self, tokens: Tensor) -> None:
        """Train the embeddings of these tokens, too."""
        self.transformer.set_input_embeddings(TunedEmbeddings(self.embeddings, tokens.to(self.device)))

    def frequent_tokens(self, texts: Mapping[str, pl.Series]) -> Tensor:
        """Tokens that occur three times or more in the distinct texts of all roles, ascending, and the mask token where some are hidden."""
        counts = np.zeros(self.embeddings.num_embeddings, dtype=np.int64)
        for role, prompt in zip(self.roles, self._prompts, strict=True):
            distinct = (prompt + texts[role].fill_null("").unique()).to_list()
            for start in range(0, len(distinct), _TOKENIZED_TEXTS):
                part = distinct[start : start + _TOKENIZED_TEXTS]
                read = self._tokenizer(part, truncation=True, max_length=self._tokens)["input_ids"]
                counts += np.bincount(np.concatenate(read), minlength=len(counts))
        if self.token_masking:
            counts[self._tokenizer.mask_token_id] = _FEWEST_OCCURRENCES
        return torch.from_numpy(np.flatnonzero(counts >= _FEWEST_OCCURRENCES))

    def start(self, prior: np.ndarray) -> None:
        """Small random weights of the linear layer, and a bias that gives each class its share."""
        with torch.no_grad():
            nn.init.normal_(self.out.weight, std=0.02)
            self.out.bias.copy_(torch.from_numpy(np.log(prior)))

    def set(self, weights: Mapping[str, Tensor]) -> None:
        """Give the trained weights these values."""
        with torch.no_grad():
            for name, weight in self.trained.items():
                weight.copy_(weights[name])

    def forward(self, texts: Sequence[Sequence[str]]) -> Tensor:
        """Logits of rows, float32 of shape (n_rows, n_classes); ``texts`` has a list for each role."""
        said = [[prompt + text for text in side] for prompt, side in zip(self._prompts, texts, strict=True)]
        with self._lock:
            read = self._tokenizer(*said, padding=True, truncation=True, max_length=self._tokens, return_tensors="pt")
        sides = torch.tensor(
            [[-1 if side is None else side for side in read.sequence_ids(i)] for i in range(len(said[0]))]
        )
        sides = sides.to(self.device)
        if self.training and self.token_masking:
            read["input_ids"] = self._masked(read["input_ids"])
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.training and self._half):
            read = {name: tensor.to(self.device) for name, tensor in read.items()}
            states = self.transformer(**read).last_hidden_state.float()
        means = [self._mean(states, sides == side) for side in range(len(said))]
        if len(means) == 2:
            first, second = means
            means += [first * second * self.width**0.5, (first - second).abs()]
        x = torch.cat(means, dim=1) * self.width**0.5
        logits: Tensor = self.out(nn.functional.dropout(x, _DROPOUT, self.training))
        return logits

    def _masked(self, tokens: Tensor) -> Tensor:
        """Tokens, some of which are hidden; never those that mark the ends of a text."""
        special = torch.isin(tokens, torch.tensor(self._tokenizer.all_special_ids))
        hidden = (torch.rand(tokens.shape) < self.token_masking) & ~special
        return tokens.masked_fill(hidden, self._tokenizer.mask_token_id)

    @torch.no_grad()
    def predict(self, texts: Mapping[str, pl.Series]) -> np.ndarray:
        """Logits of rows, float32 of shape (n_rows, n_classes); rows of the same texts are computed once."""
        self.eval()
        rows = pl.DataFrame({str(side): texts[role].fill_null("") for side, role in enumerate(self.roles)})
        distinct = rows.unique(maintain_order=True).with_row_index("place")
        place = rows.join(distinct, on=rows.columns, how="left", maintain_order="left")["place"].to_numpy()
        found = np.zeros((distinct.height, self.out.out_features), dtype=np.float32)
        sides = [distinct[name].to_list() for name in rows.columns]
        order = np.argsort(_lengths(distinct.select(rows.columns)), kind="stable")
        for start in range(0, len(order), _PREDICT_ROWS):
            batch = order[start : start + _PREDICT_ROWS]
            found[batch] = self([[side[row] for row in batch] for side in sides]).cpu().numpy()
        return found[place]

    @staticmethod
    def _mean(states: Tensor, of_side: Tensor) -> Tensor:
        """Mean state of the tokens of one text at unit length; zero of a text that has none."""
        return nn.functional.normalize((states * of_side[..., None]).sum(dim=1), dim=1)


class TunedHead:
    """The mean of the trained weights of all folds (Wortsman et al., "Model soups", 2022), which new rows meet.

    Parameters
    ----------
    roles : sequence of str
    n_layers : int
    weights : mapping of str to torch.Tensor
        The trained ones.
    tokens : torch.Tensor of int64, optional
        Those whose embeddings were trained.
    """

    def __init__(
        self, roles: Sequence[str], n_layers: int, weights: Mapping[str, Tensor], tokens: Tensor | None = None
    ) -> None:
        self.roles = tuple(roles)
        self.n_layers = n_layers
        self.weights = dict(weights)
        self.tokens = tokens
        self._network: TunedNetwork | None = None
        self._loading = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"roles": self.roles, "n_layers": self.n_layers, "weights": self.weights, "tokens": self.tokens}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def layers(self) -> TunedHead:
        """Without the linear layer, which is of the classes."""
        weights = {name: weight for name, weight in self.weights.items() if not _is_out(name)}
        return TunedHead(self.roles, self.n_layers, weights, self.tokens)

    def tensors(self) -> dict[str, Tensor]:
        """The state, for an artifact."""
        tokens = {} if self.tokens is None else {"tokens": self.tokens}
        return {"n_layers": torch.tensor([self.n_layers]), **tokens, **self.weights}

    @classmethod
    def restore(cls, roles: Sequence[str], tensors: Mapping[str, Tensor]) -> TunedHead:
        """The inverse of ``tensors``."""
        weights = dict(tensors)
        return cls(roles, int(weights.pop("n_layers")), tokens=weights.pop("tokens", None), weights=weights)

    def logits(self, encoded: EncodedTexts, device: torch.device) -> np.ndarray:
        """Logits of rows, float32 of shape (n_rows, n_classes); the encoder's folder is loaded at the first call."""
        with self._loading:
            if self._network is None:
                network = TunedNetwork(encoded, self.roles, self.n_layers, len(self.weights["out.bias"]), device)
                if self.tokens is not None:
                    network.tune_embeddings(self.tokens)
                network.set(self.weights)
                self._network = network
        return self._network.predict(encoded.texts)


class TunedFolds:
    """Trains a network for each fold, and keeps the sum of their weights.

    Parameters
    ----------
    encoded : EncodedTexts
    roles : sequence of str
    n_layers : int
    codes : numpy.ndarray of int64, shape (n_rows,)
    weight : numpy.ndarray of shape (n_rows,) or None
    n_classes : int
    device : torch.device
    start : TunedHead, optional
        Of the same layers, whose weights each training starts from in place of the encoder's. Without those of the linear layer, that is
        new.
    token_masking : float, default 0.0
    epochs : int, optional
        As ``tuned_epochs`` of a head.
    embeddings : bool, default False
        As ``tuned_embeddings`` of a head.
    """

    def __init__(
        self,
        encoded: EncodedTexts,
        roles: Sequence[str],
        n_layers: int,
        codes: np.ndarray,
        weight: np.ndarray | None,
        n_classes: int,
        device: torch.device,
        start: TunedHead | None = None,
        token_masking: float = 0.0,
        epochs: int | None = None,
        embeddings: bool = False,
    ) -> None:
        self._network = network = TunedNetwork(encoded, roles, n_layers, n_classes, device, token_masking)
        self._tokens = network.frequent_tokens(encoded.texts) if embeddings else None
        if self._tokens is not None:
            if start is not None and start.tokens is not None:
                self._tokens = torch.cat([self._tokens, start.tokens]).unique()
            network.tune_embeddings(self._tokens)
        of_encoder = {name: tensor.detach().clone() for name, tensor in network.trained.items()}
        self._start = {**of_encoder, **({} if start is None else _spread(start, self._tokens))}
        self._is_new = start is None or not any(map(_is_out, start.weights))
        self._sum = {name: torch.zeros_like(tensor) for name, tensor in of_encoder.items()}
        self._n_layers = n_layers
        self._n_folds = 0
        self._epochs = epochs
        self._texts = {role: encoded.texts[role].fill_null("") for role in roles}
        self._codes = codes
        self._weight = weight

    def train(self, rows: np.ndarray, random_state: int) -> None:
        """Train on some rows; those of the same texts and class are one, of the weight of all: a log shows few pairs many times."""
        network, n_classes = self._network, self._network.out.out_features
        texts, codes, weight = self._merged(rows)
        of_rows = torch.tensor(weight, dtype=torch.float32, device=network.device)
        shares = np.bincount(codes, weights=weight, minlength=n_classes) + 1.0
        targets = torch.tensor(codes, device=network.device)
        sides = [side.to_list() for side in texts]
        lengths = _lengths(texts)
        steps_an_epoch = -(-len(codes) // _BATCH_ROWS)
        epochs = self._epochs or self._default_epochs(len(codes), steps_an_epoch)
        rng = np.random.default_rng(random_state)
        with own_randomness(random_state):
            network.set(self._start)
            if self._is_new:
                network.start(shares / shares.sum())
            network.train()
            trained = network.trained
            new = [tensor for name, tensor in trained.items() if _is_out(name)]
            old = [tensor for name, tensor in trained.items() if not _is_out(name)]
            rates = [_LEARNING_RATE, _OUT_LEARNING_RATE]
            optimizer = torch.optim.AdamW(
                [{"params": part, "lr": rate} for part, rate in zip((old, new), rates, strict=True)],
                weight_decay=_WEIGHT_DECAY,
                fused=True,
            )
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, rates, total_steps=epochs * steps_an_epoch, pct_start=_WARMUP
            )
            for epoch in range(epochs):
                for step, batch in enumerate(_batches(lengths, rng)):
                    logits = network([[side[row] for row in batch] for side in sides])
                    of_batch = torch.from_numpy(batch).to(network.device)
                    loss = batch_loss(logits, targets, of_rows, of_batch)
                    require_finite(loss, step, epoch, _LEARNING_RATE, None if self._weight is None else of_rows)
                    optimizer.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(list(trained.values()), _CLIPPED_NORM)
                    optimizer.step()
                    schedule.step()
        for name, tensor in trained.items():
            self._sum[name] += tensor.detach()
        self._n_folds += 1

    def _default_epochs(self, n_rows: int, steps: int) -> int:
        epochs = int(np.clip(round(_SEEN_ROWS / n_rows), _FEWEST_EPOCHS, _MOST_EPOCHS))
        epochs = round(epochs / (1 - self._network.token_masking))  # as many tokens are seen
        return max(epochs, -(-_FEWEST_STEPS // steps)) if self._is_new else epochs

    def _merged(self, rows: np.ndarray) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
        """The texts of rows and their class codes, each combination once, and the weight of all rows of it."""
        said = {str(side): self._texts[role].gather(rows) for side, role in enumerate(self._network.roles)}
        weight = np.ones(len(rows)) if self._weight is None else self._weight[rows]
        frame = pl.DataFrame({**said, "code": self._codes[rows], "weight": weight})
        merged = frame.group_by(*said, "code", maintain_order=True).agg(pl.sum("weight"))
        return merged.select(*said), merged["code"].to_numpy(), merged["weight"].to_numpy()

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Logits of some rows by the network that was trained last."""
        return self._network.predict({role: texts.gather(rows) for role, texts in self._texts.items()})

    def head(self) -> TunedHead:
        """The mean of all that were trained."""
        weights = {name: (total / self._n_folds).cpu() for name, total in self._sum.items()}
        return TunedHead(self._network.roles, self._n_layers, weights, self._tokens)


def _batches(lengths: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """All rows in random batches of like length."""
    shuffled = rng.permutation(len(lengths))
    batches: list[np.ndarray] = []
    for start in range(0, len(shuffled), _BATCH_ROWS * _POOLED_BATCHES):
        pool = shuffled[start : start + _BATCH_ROWS * _POOLED_BATCHES]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[at : at + _BATCH_ROWS] for at in range(0, len(pool), _BATCH_ROWS)]
    return (batches[i] for i in rng.permutation(len(batches)))


def _rest(module: nn.Module) -> None:
    """No dropout in parts whose weights are all as they were."""
    weights = [weight.requires_grad for weight in module.parameters()]
    if weights and not any(weights):
        module.eval()
    else:
        for part in module.children():
            _rest(part)


def _is_out(name: str) -> bool:
    return name.startswith("out.")


def _spread(start: TunedHead, tokens: Tensor | None) -> dict[str, Tensor]:
    """The weights of a head, those of its tokens' embeddings at the places that these have among ``tokens``."""
    if start.tokens is None or tokens is None:
        return start.weights
    places = torch.searchsorted(tokens, start.tokens)
    return {
        name: TunedEmbeddings.spread(weight, places, len(tokens)) if TunedEmbeddings.owns(name) else weight
        for name, weight in start.weights.items()
    }


def _lengths(texts: pl.DataFrame) -> np.ndarray:
    """Characters of each row."""
    return texts.select(pl.sum_horizontal(pl.all().str.len_chars())).to_series().to_numpy()
