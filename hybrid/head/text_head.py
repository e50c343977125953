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
from hybrid.head.training import Schedule, tempered_loss, train
from hybrid.head.words import WordVectors
from hybrid.matrix import BaseMargin

OnFold = Callable[[int, int], None]
"""Called after each training with the trainings done and all of them."""

_JUDGED_ROWS = 20_000  # held-out rows that choose the epoch
_SIZES = {1: (256, 256), 2: (128, 64)}  # hidden units, dimensions of word vectors
_PATIENCE = 6  # epochs without a better held-out loss


@dataclass(frozen=True, kw_only=True)
class TextHead:
    """A small network over the vectors of one text, or over ``[q, t, q * t, |q - t|]`` of two.

    Parameters
    ----------
    roles : sequence of one or two roles, optional
        Default the first two that the model declares, or the one.
    hidden : int, optional
        Units of the hidden layer; 0 for a linear head. Default 256 for one text, 128 for two, whose inputs are four times as wide.
    words : int, optional
        Dimensions of the vectors of hashed n-grams (words and characters) that stand beside the encoder's; 0 for none. Default 256 for
        one text, 64 for two: more would learn the training queries by heart.
    dropout : float in [0, 1), default 0.5
        Share of inputs and of hidden units that a step leaves out.
    learning_rate : float, default 0.0015
        Of AdamW.
    weight_decay : float, default 0.1
    folds : int, default 5
        Of the out-of-fold logits.
    max_rows : int, default 100,000
        Rows drawn for one training; all rows get logits.
    """

    roles: Sequence[str] | None = None
    hidden: int | None = None
    words: int | None = None
    dropout: float = 0.5
    learning_rate: float = 0.0015
    weight_decay: float = 0.1
    folds: int = 5
    max_rows: int = 100_000

    def __post_init__(self) -> None:
        if self.roles is not None:
            object.__setattr__(self, "roles", tuple(self.roles))
            if isinstance(self.roles, str) or not 1 <= len(self.roles) <= 2 or len(set(self.roles)) < len(self.roles):
                raise ParameterError(f"roles of a text head must be a list of one or two roles, not {self.roles!r}")
        for name, least in (("hidden", 0), ("words", 0), ("folds", 2), ("max_rows", 100)):
            value = getattr(self, name)
            if name in ("hidden", "words") and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ParameterError(f"{name} of a text head must be a whole number of at least {least}, not {value!r}")
        if not 0 <= self.dropout < 1:
            raise ParameterError(f"dropout of a text head must lie in [0, 1), not {self.dropout!r}")
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise ParameterError(
                f"learning_rate={self.learning_rate!r} of a text head must be greater than 0, and "
                f"weight_decay={self.weight_decay!r} at least 0"
            )

    def sized(self, n_texts: int) -> TextHead:
        """With the defaults for one text or for two."""
        hidden, words = _SIZES[n_texts]
        return replace(
            self,
            hidden=hidden if self.hidden is None else self.hidden,
            words=words if self.words is None else self.words,
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
    """A trained head.

    Parameters
    ----------
    roles : tuple of str
    words : WordVectors or None
    network : HeadNetwork
    temperature : float
        Logits are divided by it.
    mean : numpy.ndarray of float32, shape (n_margins,)
        The mean margin of the training rows: what the head's contribution to a score is measured from.
    """

    roles: tuple[str, ...]
    words: WordVectors | None
    network: HeadNetwork
    temperature: float
    mean: np.ndarray

    def logits(self, encoded: EncodedTexts) -> np.ndarray:
        """Tempered logits of each row, float32 of shape (n_rows, n_classes); each row's sum to 0."""
        inputs = HeadInputs(_sides(self.roles, self.words, encoded))
        return _centred(self.network.predict(inputs) / np.float32(self.temperature))

    def tensors(self) -> dict[str, torch.Tensor]:
        """The state, for an artifact."""
        tensors = {f"network/{name}": weight.detach().cpu() for name, weight in self.network.weights.items()}
        if self.words is not None:
            tensors |= {f"words/{name}": tensor for name, tensor in self.words.tensors().items()}
        return tensors | {"temperature": torch.tensor([self.temperature]), "mean": torch.from_numpy(self.mean)}

    @classmethod
    def restore(cls, roles: Sequence[str], tensors: Mapping[str, torch.Tensor], device: str) -> FittedHead:
        """The inverse of ``tensors``."""
        network, words = (
            {name.removeprefix(f"{part}/"): tensor for name, tensor in tensors.items() if name.startswith(f"{part}/")}
            for part in ("network", "words")
        )
        return cls(
            roles=tuple(roles),
            words=WordVectors.restore(words) if words else None,
            network=HeadNetwork({name: tensor.to(device) for name, tensor in network.items()}),
            temperature=float(tensors["temperature"]),
            mean=tensors["mean"].numpy(),
        )


@dataclass(frozen=True)
class HeadFit:
    """A trained head, and what heads that did not see a row say of it.

    Parameters
    ----------
    head : FittedHead
        Trained on all rows.
    logits : numpy.ndarray of float32, shape (n_rows, n_classes)
        Out of fold, tempered.
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
) -> HeadFit:
    """Train a head out of fold and on all rows.

    The number of epochs is the one with the least mean loss over the held-out folds; the temperature is fitted to the out-of-fold logits
    of all rows.

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
    """
    roles = declared.read(list(encoded.texts))
    declared = declared.sized(len(roles))
    assert declared.hidden is not None
    hidden = declared.hidden
    words = _fit_words(declared, [encoded.texts[role] for role in roles], random_state)
    inputs = HeadInputs(_sides(roles, words, encoded))
    held_out = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    n_rows = min(len(codes), declared.max_rows)
    schedule = Schedule.of(
        n_rows,
        learning_rate=declared.learning_rate,
        weight_decay=declared.weight_decay,
        dropout=declared.dropout,
    )

    def fit(rows: np.ndarray, on_epoch: Callable[[int, HeadNetwork], bool]) -> None:
        if len(rows) > declared.max_rows:
            rows = np.sort(np.random.default_rng(random_state).choice(rows, declared.max_rows, replace=False))
        train(
            inputs,
            codes,
            weight,
            rows,
            n_classes=n_classes,
            hidden=hidden,
            schedule=schedule,
            random_state=random_state,
            on_epoch=on_epoch,
        )

    watched: list[_HeldOut] = []
    for number, rows in enumerate(held_out):
        watch = _HeldOut(inputs, codes, weight, rows, watched[0].epochs if watched else schedule.epochs)
        fit(np.setdiff1d(np.arange(len(codes)), rows, assume_unique=True), watch)
        watched.append(watch)
        if on_fold is not None:
            on_fold(number + 1, len(held_out) + 1)
    losses = np.mean([watch.losses[: min(w.epochs for w in watched)] for watch in watched], axis=0)
    epochs = int(np.argmin(losses)) + 1
    logits = np.empty((len(codes), n_classes), dtype=np.float32)
    for rows, watch in zip(held_out, watched, strict=True):
        logits[rows] = watch.networks[epochs - 1].predict(inputs, rows)
    some = np.random.default_rng(random_state).permutation(len(codes))[: declared.max_rows]
    loss, temperature = tempered_loss(logits[some], codes[some], None if weight is None else weight[some])
    last: list[HeadNetwork] = []

    def at_best(epoch: int, network: HeadNetwork) -> bool:
        if epoch + 1 == epochs:
            last.append(network.copy())
        return bool(last)

    fit(np.arange(len(codes)), at_best)
    if on_fold is not None:
        on_fold(len(held_out) + 1, len(held_out) + 1)
    logits = _centred(logits / np.float32(temperature))
    head = FittedHead(roles, words, last[0], temperature, margins(logits).mean(axis=0))
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

    def __init__(
        self, inputs: HeadInputs, codes: np.ndarray, weight: np.ndarray | None, rows: np.ndarray, most_epochs: int
    ) -> None:
        rng = np.random.default_rng(0)
        self.networks: list[HeadNetwork] = []
        self.losses: list[float] = []
        self._rows = rows if len(rows) <= _JUDGED_ROWS else rng.choice(rows, _JUDGED_ROWS, replace=False)
        self._inputs = inputs
        self._codes = codes[self._rows]
        self._weight = None if weight is None else weight[self._rows]
        self._most_epochs = most_epochs

    @property
    def epochs(self) -> int:
        return len(self.losses)

    def __call__(self, epoch: int, network: HeadNetwork) -> bool:
        self.networks.append(network.copy())
        logits = network.predict(self._inputs, self._rows)
        self.losses.append(tempered_loss(logits, self._codes, self._weight)[0])
        return self.epochs - int(np.argmin(self.losses)) > _PATIENCE or self.epochs >= self._most_epochs


def _fit_words(declared: TextHead, texts: Sequence[pl.Series], random_state: int) -> WordVectors | None:
    if not declared.words:
        return None
    distinct = pl.concat([text.drop_nulls().alias("text") for text in texts]).unique(maintain_order=True)
    return WordVectors.fit(distinct, declared.words, random_state)


def _sides(roles: Sequence[str], words: WordVectors | None, encoded: EncodedTexts) -> list[Embedded]:
    if words is None:
        return [encoded.embedded[role] for role in roles]
    return [words.beside(encoded.embedded[role], encoded.texts[role]) for role in roles]


def _centred(logits: np.ndarray) -> np.ndarray:
    return logits - logits.mean(axis=1, keepdims=True)
