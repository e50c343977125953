"""The training of a text head: out-of-fold logits for training rows, and the head that new rows meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from hybrid.encoded_texts import EncodedTexts
from hybrid.encoder import TextEncoder
from hybrid.errors import ParameterError
from hybrid.head.fitted import FittedHead, centred, margins, sides
from hybrid.head.network import HeadInputs, HeadNetwork
from hybrid.head.text_head import TextHead
from hybrid.head.training import Schedule, scaled_loss, tempered_loss, train
from hybrid.head.tuned import TunedFolds, TunedHead, TunedNetwork
from hybrid.head.wide import WideModel, WideRows, fit_wide
from hybrid.head.words import NGrams, WordVectors, of_distinct, sample

OnFold = Callable[[int, int], None]
"""Called after each fold with the folds done and all of them."""

_JUDGED_ROWS = 20_000  # held-out rows that choose the epoch
_PATIENCE = 6  # epochs without a better held-out loss
_NETWORK, _WIDE, _TUNED = "network", "wide", "tuned"


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
        Where the tuned layers start from, of a head of the same declaration and classes; default what ``declared`` names, or the encoder.

    Raises
    ------
    ArtifactError, ParameterError
        What ``declared`` starts from is no saved model, or has no such layers.
    """
    roles = declared.read(list(encoded.texts))
    declared = declared.sized(len(roles))
    start = _declared_start(declared, encoded.encoder) if start is None else start
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
        tuned = TunedFolds(
            encoded,
            roles,
            declared.tuned_layers,
            codes,
            weight,
            n_classes,
            inputs.device,
            start,
            declared.token_masking,
            declared.tuned_epochs,
            declared.tuned_embeddings,
        )
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
    logits = centred(np.sum([part * np.float32(scales[name]) for name, part in parts.items()], axis=0))
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


def require_tunable(declared: TextHead, encoder: TextEncoder, roles: Sequence[str]) -> None:
    """Raise what ``fit_head`` would for layers that cannot be tuned as declared, before anything is encoded or trained."""
    if declared.tuned_layers:
        _declared_start(declared, encoder)
        nothing = EncodedTexts({}, {}, encoder)
        network = TunedNetwork(
            nothing, declared.read(roles), declared.tuned_layers, 2, torch.device("cpu"), declared.token_masking
        )
        if declared.tuned_embeddings:
            network.tune_embeddings(torch.arange(1))


def _declared_start(declared: TextHead, encoder: TextEncoder | None) -> TunedHead | None:
    """The layers that a head is declared to start from."""
    if declared.start is None:
        return None
    from hybrid.artifact import read_tuned  # which reads and writes heads, so it imports this package

    assert encoder is not None
    start = read_tuned(declared.start, encoder, declared.tuned_layers).layers()
    if start.tokens is not None and not declared.tuned_embeddings:
        raise ParameterError(
            f"start={declared.start!r} of a text head: that model has tuned embeddings, so this head needs tuned_embeddings=True"
        )
    return start


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
        return HeadInputs(sides(roles, None, encoded)), None, None
    if len(roles) == 2:
        assert declared.words
        return *_read_pair(declared.words, roles, encoded, random_state), None
    embedded, texts = encoded.embedded[roles[0]], encoded.texts[roles[0]]
    distinct, index, _ = of_distinct(embedded, texts)
    fitted = sample(distinct, random_state)
    ngrams, weighted = NGrams.fit(fitted)
    words = WordVectors.reduce(ngrams, weighted, declared.words, random_state) if declared.words else None
    known = weighted if len(fitted) == len(distinct) else None
    side = embedded
    if words is not None:
        side = words.beside(embedded, texts, None if known is None else words.of_weighted(known))
    wide_rows = None
    if declared.wide and len(ngrams.buckets):
        wide_rows = WideRows(ngrams, distinct, index, drawn, n_classes, known)
    return HeadInputs([side]), words, wide_rows


def _read_pair(
    dimension: int, roles: Sequence[str], encoded: EncodedTexts, random_state: int
) -> tuple[HeadInputs, WordVectors]:
    """The vectors of both texts, word vectors of one space beside them."""
    said = [encoded.texts[role].drop_nulls().alias("text") for role in roles]
    distinct = pl.concat(said).unique(maintain_order=True)
    fitted = sample(distinct, random_state)
    ngrams, weighted = NGrams.fit(fitted)
    words = WordVectors.reduce(ngrams, weighted, dimension, random_state)
    if len(fitted) < len(distinct):
        return HeadInputs(sides(roles, words, encoded)), words
    vectors = np.vstack([words.of_weighted(weighted), np.zeros((1, words.dimension), dtype=np.float32)])
    places = pl.DataFrame({"text": distinct}).with_row_index("place")
    found = []
    for role in roles:
        texts = of_distinct(encoded.embedded[role], encoded.texts[role])[0].to_frame("text")
        place = texts.join(places, on="text", how="left", maintain_order="left")["place"].fill_null(len(distinct))
        found.append(words.beside(encoded.embedded[role], encoded.texts[role], vectors[place.to_numpy()]))
    return HeadInputs(found), words
