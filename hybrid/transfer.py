"""Carrying a trained hybrid to a new domain with few labels: several ways, compared on the new domain's own rows."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from sklearn.base import clone

from features.frames import Frame, to_polars
from hybrid.boosters import Booster
from hybrid.builder import MatrixBuilder, Progress
from hybrid.encoded_texts import EncodedTexts
from hybrid.errors import LabelError, ParameterError
from hybrid.head import HeadFit, fit_head
from hybrid.head.choice import HeadChoice, with_head
from hybrid.head.folds import head_folds
from hybrid.labels import as_labels, encode
from hybrid.languages import Sentence, message
from hybrid.matrix import FeatureMatrix
from hybrid.metrics import row_losses
from hybrid.reference import Reference

if TYPE_CHECKING:
    from hybrid.classifier import HybridClassifier

AS_IS, HEAD, BOOST, REFIT = "as it is", "new head", "more trees", "refit"
SOURCE_WEIGHTS = (0.1, 0.5)
"""Of a source row where the model is refitted on both domains, next to 1 of a target row."""
_MOST_ROUNDS = 200
_FOLDS = 3
_FEWEST_ROWS = 10


@dataclass(frozen=True)
class Adaptation:
    """How a model was carried to a new domain.

    Parameters
    ----------
    way : str
        "as it is", "new head" (the trees stay), "more trees" (on the target's rows) or "refit, source weight w".
    losses : mapping from way to float
        Log loss on the target's rows, each predicted by what had not seen it.
    n_rows : int
        Labelled rows of the target.
    """

    way: str
    losses: Mapping[str, float]
    n_rows: int


def adapt(
    model: HybridClassifier,
    X: Frame,
    y: Any,
    events: Frame | None,
    *,
    source: tuple[Frame, Any] | None,
    groups: np.ndarray | None,
    times: Callable[[pl.DataFrame], np.ndarray | None],
    progress: Progress | None,
) -> HybridClassifier:
    """Compare the ways out of fold on the target's rows and follow the best with all of them; see ``HybridClassifier.adapt``."""
    if len(X) < _FEWEST_ROWS:
        raise ParameterError(f"adapt needs at least {_FEWEST_ROWS} labelled rows of the new domain, not {len(X)}")
    if source is not None:
        codes = encode(as_labels(source[1], len(source[0]), "labels of source"), model.classes_, "labels of source")[1]
        absent = np.setdiff1d(np.arange(len(model.classes_)), codes)
        if len(absent):
            raise LabelError(
                f"source has no row of the class {model.classes_[absent].tolist()[0]!r}; give rows of every class"
            )
    target = _Target.read(model, X, y, events, groups, times)
    say: Progress = progress or (lambda step, done, total: None)
    intact = target.matrix_with(model.builder_.head, model.head_.mode, None)
    found = {AS_IS: row_losses(target.codes, model.booster_.predict_proba(intact))}
    fit = target.fit_head(model) if model.head_.mode is not None else None
    if fit is not None:
        renewed = target.matrix_with(fit.head, model.head_.mode, fit.logits)
        found[HEAD] = row_losses(target.codes, model.booster_.predict_proba(renewed))
    say("adapt", 1, 3)
    rounds = 0
    if model.booster_.continues:
        rounds = _more_rounds(model, intact, target)
        found[BOOST] = _boosted_losses(model, intact, target, rounds)
    say("adapt", 2, 3)
    if source is not None:
        for weight in SOURCE_WEIGHTS:
            found[f"{REFIT}, source weight {weight:g}"] = _refit_losses(model, target, source, events, weight)
    say("adapt", 3, 3)

    way = _best(found, target.groups)
    losses = {name: float(of_rows.mean()) for name, of_rows in found.items()}
    if way.startswith(REFIT):
        weight = float(way.rpartition(" ")[2])
        adapted = _refit(model, target.frame, target.labels, source, events, weight, target.groups)
    else:
        adapted = copy.copy(model)
        adapted.builder_ = target.builder
        if way == HEAD and fit is not None:
            target.builder.give_head(fit.head, model.head_.mode, model.classes_)
            why = Sentence(message("the head is the new domain’s, the trees are not"))
            adapted.head_ = HeadChoice(model.head_.mode, why, {})
        elif way == BOOST:
            adapted.booster_ = _more_trees(model, intact, target.codes, rounds)
        if way != AS_IS:
            adapted.reference_ = Reference.draw(intact, model.random_state)
    adapted.adaptation_ = Adaptation(way, losses, len(target.codes))
    return adapted


@dataclass(frozen=True, eq=False)
class _Target:
    """The new domain's labelled rows, as the model reads them."""

    builder: MatrixBuilder
    frame: pl.DataFrame
    labels: np.ndarray
    codes: np.ndarray
    encoded: EncodedTexts
    matrix: FeatureMatrix
    folds: np.ndarray
    groups: np.ndarray | None
    model: HybridClassifier

    @classmethod
    def read(
        cls,
        model: HybridClassifier,
        X: Frame,
        y: Any,
        events: Frame | None,
        groups: np.ndarray | None,
        times: Callable[[pl.DataFrame], np.ndarray | None],
    ) -> _Target:
        builder = copy.copy(model.builder_)
        frame = builder.check(X, "examples")
        labels = as_labels(y, frame.height, "y")
        codes = encode(labels, model.classes_, "y")[1]
        if events is not None:
            builder.replace_log(events)
        encoded = builder.encode(frame)
        matrix = builder.join(frame, encoded)
        folds = head_folds(codes, groups, times(frame), _FOLDS, model.random_state)
        return cls(builder, frame, labels, codes, encoded, matrix, folds, groups, model)

    def matrix_with(self, head: Any, mode: str | None, logits: np.ndarray | None) -> FeatureMatrix:
        """The rows' matrix with a head's logits; its own, unless others are given."""
        if head is None or mode is None:
            return self.model.select(self.matrix)
        if logits is None:
            logits = head.logits(self.encoded)
        return self.model.select(with_head(self.matrix, logits, head, mode, self.model.classes_))

    def fit_head(self, model: HybridClassifier) -> HeadFit:
        """A head of the target's rows; tuned layers go on from the model's own."""
        declared, own = model.channels().head, model.builder_.head
        assert declared is not None  # the model has one
        return fit_head(
            declared,
            self.encoded,
            self.codes,
            n_classes=len(model.classes_),
            folds=self.folds,
            random_state=model.random_state,
            start=None if own is None else own.tuned,
        )

    def splits(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [
            (np.flatnonzero(self.folds != fold), np.flatnonzero(self.folds == fold)) for fold in np.unique(self.folds)
        ]


def _best(found: Mapping[str, np.ndarray], groups: np.ndarray | None) -> str:
    """The way of the least loss, where it is below that of the model as it is by more than a standard error; else that.

    The one-standard-error rule (Breiman et al., "Classification and Regression Trees", 1984): the best of several ways is flattered by
    chance, the more so the fewer labels there are. Rows of a group count as one.
    """
    best = min(found, key=lambda name: found[name].mean())
    gain = found[AS_IS] - found[best]
    units = np.arange(len(gain)) if groups is None else np.unique(groups, return_inverse=True)[1]
    apart = np.bincount(units, weights=gain - gain.mean())
    if len(apart) < 2:  # nothing tells how much one group differs from another
        return AS_IS
    error = np.sqrt((apart**2).sum() * len(apart) / (len(apart) - 1)) / len(gain)
    return best if gain.mean() > error else AS_IS


def _more_rounds(model: HybridClassifier, matrix: FeatureMatrix, target: _Target) -> int:
    """How many rounds of trees that continue the model have the least mean held-out loss."""
    curves: list[np.ndarray] = []
    for train, held in target.splits():
        curve: list[float] = []

        def follow(_: int, value: float, curve: list[float] = curve) -> None:
            curve.append(value)

        valid = (matrix.rows(held), target.codes[held])
        _more_trees(model, matrix.rows(train), target.codes[train], _MOST_ROUNDS, valid, follow)
        curves.append(np.array(curve) * len(held))
    return int(np.sum(curves, axis=0).argmin()) + 1


def _boosted_losses(model: HybridClassifier, matrix: FeatureMatrix, target: _Target, rounds: int) -> np.ndarray:
    losses = np.empty(len(target.codes))
    for train, held in target.splits():
        trees = _more_trees(model, matrix.rows(train), target.codes[train], rounds)
        losses[held] = row_losses(target.codes[held], trees.predict_proba(matrix.rows(held)))
    return losses


def _more_trees(
    model: HybridClassifier,
    matrix: FeatureMatrix,
    codes: np.ndarray,
    rounds: int,
    valid: tuple[FeatureMatrix, np.ndarray] | None = None,
    on_round: Callable[[int, float], None] | None = None,
) -> Booster:
    """The model's trees with more trees after them, grown on these rows."""
    return model.booster_.continued(
        matrix,
        codes,
        parameters=dataclasses.replace(model.tree_parameters(), n_estimators=rounds),
        valid=valid,
        random_state=model.random_state,
        n_jobs=model.n_jobs,
        on_round=on_round,
    )


def _refit_losses(
    model: HybridClassifier, target: _Target, source: tuple[Frame, Any], events: Frame | None, weight: float
) -> np.ndarray:
    losses = np.empty(len(target.codes))
    for train, held in target.splits():
        groups = None if target.groups is None else target.groups[train]
        fitted = _refit(model, target.frame[train], target.labels[train], source, events, weight, groups)
        losses[held] = row_losses(target.codes[held], fitted.predict_proba(target.frame[held]))
    return losses


def _refit(
    model: HybridClassifier,
    frame: pl.DataFrame,
    labels: np.ndarray,
    source: tuple[Frame, Any] | None,
    events: Frame | None,
    weight: float,
    groups: np.ndarray | None,
) -> HybridClassifier:
    """The model fitted anew to both domains' rows."""
    assert source is not None
    before = to_polars(source[0], "source")
    both = pl.concat([before, frame], how="diagonal_relaxed")
    y = np.concatenate([as_labels(source[1], before.height, "labels of source"), labels])
    weights = np.repeat([weight, 1.0], [before.height, len(labels)])
    if groups is not None:  # a row of the source is a group of its own
        groups = np.concatenate([-1 - np.arange(before.height), groups])
    settings = {
        "n_estimators": model.booster_.best_iteration,
        "early_stopping_rounds": None,
        "head": model.head_.mode,
        "calibration": None,  # the target may be too small to hold rows out for it: the model's own is carried over
    }
    fresh: HybridClassifier = clone(model).set_params(**settings)
    fresh.fit(both, y, events=events, groups=groups, sample_weight=weights)
    fresh.booster_ = fresh.booster_.calibrated(model.booster_.calibrator)
    return fresh.set_params(**{name: getattr(model, name) for name in settings})
