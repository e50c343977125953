"""The text head: declared by a user, trained out of fold, applied to new rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch

from features.frames import closest
from hybrid.encoded_texts import EncodedTexts
from hybrid.encoder import Embedded
from hybrid.errors import ParameterError
from hybrid.head.network import HeadInputs, HeadNetwork
from hybrid.head.training import Schedule, scaled_loss, tempered_loss, train
from hybrid.head.tuned import TunedFolds, TunedHead
from hybrid.head.wide import WideModel, WideRows, fit_wide
from hybrid.head.words import NGrams, WordVectors, of_distinct, sample
from hybrid.matrix import BaseMargin

OnFold = Callable[[int, int], None]
"""Called after each fold with the folds done and all of them."""

_JUDGED_ROWS = 20_000  # held-out rows that choose the epoch
_SIZES = {1: (256, 256, 0.3), 2: (128, 64, 0.65)}  # hidden units, dimensions of word vectors, dropout
_NETWORK, _WIDE, _TUNED = "network", "wide", "tuned"
_PATIENCE = 6  # epochs without a better held-out loss


@dataclass(frozen=True, kw_only=True)
class TextHead:
    """A small network over the vectors of one text, or over ``[q, t, q * t, |q - t|]`` of two, and a linear model beside it.

    Parameters
    ----------
    roles : sequence of one or two roles, optional
        Default the first two that the model declares, or the one.
    hidden : int, optional
        Units of the hidden layer; 0 for a linear head. Default 256 for one text, 128 for two, whose inputs are four times as wide.
    words : int, optional
        Dimensions of the vectors of hashed n-grams (words and characters) that stand beside the encoder's; 0 for none. Default 256 for
        one text, 64 for two: more would learn the training queries by heart.
    wide : bool, optional
        Whether a linear model over the n-grams themselves stands beside the network, and their logits are added. Of one text only; default
        True for one text.
    dropout : float in [0, 1), optional
        Share of inputs and of hidden units that a step leaves out. Default 0.3 for one text, 0.65 for two.
    learning_rate : float, default 0.0025
        Of AdamW.
    weight_decay : float, default 0.1
    tuned_layers : int, default 0
        Upper layers of the encoder that are trained with the head, in each fold apart; 0 leaves the encoder as it is. A second network,
        whose logits are added to those of the first: it reads the text, or both texts as one sequence, so that words of one can
        attend to words of the other (a cross-encoder); 128 tokens at most. Takes minutes for thousands of rows on a CPU, and new rows
        cost a pass through the encoder that no store spares. Needs an encoder that is a name or a folder.
    folds : int, default 5
        Of the out-of-fold logits.
    max_rows : int, default 100,000
        Rows drawn to be learned from; all rows get logits.
    """

    roles: Sequence[str] | None = None
    hidden: int | None = None
    words: int | None = None
    wide: bool | None = None
    dropout: float | None = None
    learning_rate: float = 0.0025
    weight_decay: float = 0.1
    tuned_layers: int = 0
    folds: int = 5
    max_rows: int = 100_000

    def __post_init__(self) -> None:
        if self.roles is not None:
            object.__setattr__(self, "roles", tuple(self.roles))
            if isinstance(self.roles, str) or not 1 <= len(self.roles) <= 2 or len(set(self.roles)) < len(self.roles):
                raise ParameterError(f"roles of a text head must be a list of one or two roles, not {self.roles!r}")
        for name, least in (("hidden", 0), ("words", 0), ("tuned_layers", 0), ("folds", 2), ("max_rows", 100)):
            value = getattr(self, name)
            if name in ("hidden", "words") and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ParameterError(f"{name} of a text head must be a whole number of at least {least}, not {value!r}")
        if self.wide is not None and not isinstance(self.wide, bool):
            raise ParameterError(f"wide of a text head must be True, False or None, not {self.wide!r}")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ParameterError(f"dropout of a text head must lie in [0, 1), not {self.dropout!r}")
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise ParameterError(
                f"learning_rate={self.learning_rate!r} of a text head must be greater than 0, and "
                f"weight_decay={self.weight_decay!r} at least 0"
            )

    def sized(self, n_texts: int) -> TextHead:
        """With the defaults for one text or for two."""
        if self.wide and n_texts == 2:
            raise ParameterError(
                "wide of a text head is for one text: of two it would learn the training pairs by heart"
            )
        hidden, words, dropout = _SIZES[n_texts]
        return replace(
            self,
            hidden=hidden if self.hidden is None else self.hidden,
            words=words if self.words is None else self.words,
            wide=n_texts == 1 if self.wide is None else self.wide,
            dropout=dropout if self.dropout is None else self.dropout,
        )

    def read(self, declared: Sequence[str]) -> tuple[str, ...]:
        """The roles that the head reads, of those that a model declares."""
        if self.roles is None:
            return tuple(declared)[:2]
        for role in self.roles:
            if role not in declared:
                raise ParameterError(f"the text head reads {role!r}, which is no text role{closest(role, declared)}")
        return tuple(self.roles)


@dataclass(frozen=True)
class FittedHead:
    """A trained head: the mean of the networks of all folds, of their wide models and of their tuned layers.

    Parameters
    ----------
    roles : tuple of str
    words : WordVectors or None
    networks : tuple of HeadNetwork
    scale : float
        What the mean of their logits is multiplied by: where there is nothing else, one by the temperature.
    wide : WideModel or None
        Its logits are scaled already.
    tuned : TunedHead or None
    tuned_scale : float
        What its logits are multiplied by.
    mean : numpy.ndarray of float32, shape (n_margins,)
        The mean margin of the training rows: what the head's contribution to a score is measured from.
    """

    roles: tuple[str, ...]
    words: WordVectors | None
    networks: tuple[HeadNetwork, ...]
    scale: float
    wide: WideModel | None
    tuned: TunedHead | None
    tuned_scale: float
    mean: np.ndarray

    def logits(self, encoded: EncodedTexts) -> np.ndarray:
        """Logits of each row, float32 of shape (n_rows, n_classes); each row's sum to 0."""
        wide = 0.0
        if self.wide is None:
            inputs = HeadInputs(_sides(self.roles, self.words, encoded))
        else:
            (role,) = self.roles
            embedded, texts = encoded.embedded[role], encoded.texts[role]
            distinct, index, _ = of_distinct(embedded, texts)
            if self.words is None:
                wide = self.wide.logits(distinct)[index]
            else:  # n-grams are counted once for both
                weighted = self.words.ngrams.weigh_all(distinct)
                embedded = self.words.beside(embedded, texts, weighted)
                wide = self.wide.of_weighted(weighted, self.words.ngrams)[index]
            inputs = HeadInputs([embedded])
        logits = np.mean([network.predict(inputs) for network in self.networks], axis=0) * np.float32(self.scale) + wide
        if self.tuned is not None:
            logits += self.tuned.logits(encoded, inputs.device) * np.float32(self.tuned_scale)
        return _centred(logits)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The state, for an artifact."""
        tensors = {
            f"network {number}/{name}": weight.detach().cpu()
            for number, network in enumerate(self.networks)
            for name, weight in network.weights.items()
        }
        for part, model in (("words", self.words), ("wide", self.wide), ("tuned", self.tuned)):
            if model is not None:
                tensors |= {
                    f"{part}/{name}": tensor.clone() for name, tensor in model.tensors().items()
                }  # no shared idf
        scales = {"scale": torch.tensor([self.scale]), "tuned_scale": torch.tensor([self.tuned_scale])}
        return tensors | scales | {"mean": torch.from_numpy(self.mean)}

    @classmethod
    def restore(cls, roles: Sequence[str], tensors: Mapping[str, torch.Tensor], device: str) -> FittedHead:
        """The inverse of ``tensors``."""
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for path, tensor in tensors.items():
            part, _, name = path.rpartition("/")  # names of weights have dots
            parts.setdefault(part, {})[name] = tensor
        networks = sorted((part for part in parts if part.startswith("network")), key=lambda part: int(part.split()[1]))
        return cls(
            roles=tuple(roles),
            words=WordVectors.restore(parts["words"]) if "words" in parts else None,
            networks=tuple(
                HeadNetwork({name: tensor.to(device) for name, tensor in parts[part].items()}) for part in networks
            ),
            scale=float(tensors["scale"]),
            wide=WideModel.restore(parts["wide"]) if "wide" in parts else None,
            tuned=TunedHead.restore(roles, parts["tuned"]) if "tuned" in parts else None,
            tuned_scale=float(tensors["tuned_scale"]),
            mean=tensors["mean"].numpy(),
        )


@dataclass(frozen=True)
class HeadFit:
    """A trained head, and what heads that did not see a row say of it.

    Parameters
    ----------
    head : FittedHead
    logits : numpy.ndarray of float32, shape (n_rows, n_classes)
        Out of fold, scaled.
    loss, prior_loss : float
        Log loss of these logits, and of the classes' shares alone.
    epochs : int
        Chosen by the held-out loss.
    """

    head: FittedHead
    logits: np.ndarray
    loss: float
    prior_loss: float
    epochs: int


def fit_head(
    declared: TextHead,
    encoded: EncodedTexts,
    codes: np.ndarray,
    *,
    n_classes: int,
    folds: np.ndarray,
    weight: np.ndarray | None = None,
    random_state: int = 0,
    on_fold: OnFold | None = None,
    start: TunedHead | None = None,
) -> HeadFit:
    """Train the networks, wide models and tuned layers of a head, each without one fold.

    The number of epochs is the one with the least mean loss over the held-out folds; the scales of these kinds of logits are fitted to
    those of the drawn rows out of fold. New rows meet the mean of all folds' models.

    Parameters
    ----------
    declared : TextHead
    encoded : EncodedTexts
    codes : numpy.ndarray of int64, shape (n_rows,)
    n_classes : int
        Classes that no row has are allowed.
    folds : numpy.ndarray of int64, shape (n_rows,)
        As from ``head_folds``.
    weight : numpy.ndarray of shape (n_rows,), optional
    random_state : int
    on_fold : callable, optional
    start : TunedHead, optional
        Where the tuned layers start from, of a head of the same declaration and classes; default the encoder.
    """
    roles = declared.read(list(encoded.texts))
    declared = declared.sized(len(roles))
    hidden, dropout = declared.hidden, declared.dropout
    assert hidden is not None
    assert dropout is not None
    drawn = np.sort(np.random.default_rng(random_state).permutation(len(codes))[: declared.max_rows])
    inputs, words, wide_rows = _read(declared, roles, encoded, drawn, n_classes, random_state)
    held_out = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    schedule = Schedule.of(
        len(drawn),
        learning_rate=declared.learning_rate,
        weight_decay=declared.weight_decay,
        dropout=dropout,
    )

    tuned = None
    if declared.tuned_layers:
        tuned = TunedFolds(encoded, roles, declared.tuned_layers, codes, weight, n_classes, inputs.device, start)
    watched: list[_HeldOut] = []
    linears: list[WideModel] = []
    of_tuned = np.zeros((len(codes), n_classes), dtype=np.float32)
    for rows in held_out:
        learned = np.setdiff1d(drawn, rows, assume_unique=True)
        watch = _HeldOut(inputs, codes, weight, rows)
        train(
            inputs,
            codes,
            weight,
            learned,
            n_classes=n_classes,
            hidden=hidden,
            schedule=schedule,
            random_state=random_state,
            on_epoch=watch,
        )
        watched.append(watch)
        if wide_rows is not None:
            linears.append(fit_wide(wide_rows, learned, codes[learned], None if weight is None else weight[learned]))
        if tuned is not None:
            tuned.train(learned, random_state)
            of_tuned[rows] = tuned.predict(rows)
        if on_fold is not None:
            on_fold(len(watched), len(held_out))
    losses = np.mean([watch.losses[: min(w.epochs for w in watched)] for watch in watched], axis=0)
    epochs = int(np.argmin(losses)) + 1
    networks = tuple(watch.networks[epochs - 1] for watch in watched)
    parts = {_NETWORK: np.empty((len(codes), n_classes), dtype=np.float32)}
    for network, rows in zip(networks, held_out, strict=True):
        parts[_NETWORK][rows] = network.predict(inputs, rows)
    if wide_rows is not None:
        parts[_WIDE] = np.empty_like(parts[_NETWORK])
        for linear, rows in zip(linears, held_out, strict=True):
            parts[_WIDE][rows] = wide_rows.logits(linear, rows)
    if tuned is not None:
        parts[_TUNED] = of_tuned
    of_drawn = [part[drawn] for part in parts.values()]
    loss, found = scaled_loss(of_drawn, codes[drawn], None if weight is None else weight[drawn])
    scales = dict(zip(parts, found, strict=True))
    logits = _centred(np.sum([part * np.float32(scales[name]) for name, part in parts.items()], axis=0))
    head = FittedHead(
        roles,
        words,
        networks,
        scales[_NETWORK],
        WideModel.mean(linears).scaled(scales[_WIDE]) if scales.get(_WIDE) else None,
        tuned.head() if tuned is not None and scales[_TUNED] else None,
        scales.get(_TUNED, 0.0),
        margins(logits).mean(axis=0),
    )
    return HeadFit(head, logits, loss, prior_loss(codes, weight, n_classes), epochs)


def margins(logits: np.ndarray) -> np.ndarray:
    """Logits as the margins of trees, float32 of shape (n_rows, n_margins): for two classes the second's less the first's."""
    return logits[:, 1:] - logits[:, :1] if logits.shape[1] == 2 else logits


def base_margin(logits: np.ndarray, head: FittedHead) -> BaseMargin:
    """Logits as the margin that trees start from."""
    return BaseMargin(np.ascontiguousarray(margins(logits)), head.mean)


def prior_loss(codes: np.ndarray, weight: np.ndarray | None, n_classes: int) -> float:
    """The log loss of one who knows the classes' shares only."""
    shares = np.bincount(codes, weights=weight, minlength=n_classes)
    shares = shares[shares > 0] / shares.sum()
    return float(-(shares * np.log(shares)).sum())


class _HeldOut:
    """Follows a training: the tempered loss on held-out rows and the network after each epoch."""

    def __init__(self, inputs: HeadInputs, codes: np.ndarray, weight: np.ndarray | None, rows: np.ndarray) -> None:
        rng = np.random.default_rng(0)
        self.networks: list[HeadNetwork] = []
        self.losses: list[float] = []
        self._rows = rows if len(rows) <= _JUDGED_ROWS else rng.choice(rows, _JUDGED_ROWS, replace=False)
        self._inputs = inputs
        self._codes = codes[self._rows]
        self._weight = None if weight is None else weight[self._rows]

    @property
    def epochs(self) -> int:
        return len(self.losses)

    def __call__(self, epoch: int, network: HeadNetwork) -> bool:
        self.networks.append(network.copy())
        logits = network.predict(self._inputs, self._rows)
        self.losses.append(tempered_loss(logits, self._codes, self._weight)[0])
        return self.epochs - int(np.argmin(self.losses)) > _PATIENCE


def _read(
    declared: TextHead,
    roles: Sequence[str],
    encoded: EncodedTexts,
    drawn: np.ndarray,
    n_classes: int,
    random_state: int,
) -> tuple[HeadInputs, WordVectors | None, WideRows | None]:
    """What the networks and the wide models of training rows read. The n-grams of one text are counted once for both."""
    if not declared.words and not declared.wide:
        return HeadInputs(_sides(roles, None, encoded)), None, None
    if len(roles) == 2:
        assert declared.words
        distinct = pl.concat([encoded.texts[role].drop_nulls().alias("text") for role in roles])
        of_both = WordVectors.fit(distinct.unique(maintain_order=True), declared.words, random_state)
        return HeadInputs(_sides(roles, of_both, encoded)), of_both, None
    embedded, texts = encoded.embedded[roles[0]], encoded.texts[roles[0]]
    distinct, index, _ = of_distinct(embedded, texts)
    fitted = sample(distinct, random_state)
    ngrams, weighted = NGrams.fit(fitted)
    words = WordVectors.reduce(ngrams, weighted, declared.words, random_state) if declared.words else None
    known = weighted if len(fitted) == len(distinct) else None
    side = embedded
    if words is not None:
        side = words.beside(embedded, texts, known)
    wide_rows = None
    if declared.wide and len(ngrams.buckets):
        wide_rows = WideRows(ngrams, distinct, index, drawn, n_classes, known)
    return HeadInputs([side]), words, wide_rows


def _sides(roles: Sequence[str], words: WordVectors | None, encoded: EncodedTexts) -> list[Embedded]:
    if words is None:
        return [encoded.embedded[role] for role in roles]
    return [words.beside(encoded.embedded[role], encoded.texts[role]) for role in roles]


def _centred(logits: np.ndarray) -> np.ndarray:
    return logits - logits.mean(axis=1, keepdims=True)
