"""Folds: which examples a trial learns from, and which it is judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedKFold

from features.frames import closest
from hybrid.languages import Sentence, message
from hybrid.metrics import Metric
from tuning.errors import FoldError

KINDS = ("time", "group", "group_time", "stratified")


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows to train on and rows to validate on.

    Parameters
    ----------
    name : Sentence
        For messages and reports: "fold 1 of 3".
    train, valid : numpy.ndarray of int64
        Positions of rows; they share none.
    """

    name: Sentence
    train: np.ndarray
    valid: np.ndarray


def time_folds(times: np.ndarray, n_folds: int, *, gap: int = 0, span: int | None = None) -> tuple[Fold, ...]:
    """Cut time into ``n_folds + 1`` stretches of about equally many rows; each but the first is validated by what is before it.

    Parameters
    ----------
    times : numpy.ndarray of int64, shape (n_rows,)
        Microseconds. Rows of one time are never parted.
    n_folds : int
    gap : int, default 0
        Microseconds before the validation rows of which no row is trained on: as long as a label looks ahead.
    span : int, optional
        Microseconds that training rows reach back, from the gap on; by default to the first row.
    """
    moments, counts = np.unique(times, return_counts=True)
    if len(moments) <= n_folds:
        raise FoldError(
            f"{n_folds} time folds need examples of at least {n_folds + 1} different times, there are {len(moments)}; "
            "use fewer folds, or pass the pairs of rows as cv"
        )
    before = np.cumsum(counts) - counts
    order = np.arange(n_folds)
    ideal = len(times) * (order + 1) / (n_folds + 1)
    cuts = np.searchsorted(before, ideal).clip(1, len(moments) - 1)
    cuts -= ideal - before[cuts - 1] < before[cuts] - ideal  # the nearer of the two times around it
    # Where many rows share a time, cuts may fall together: move them apart, leaving a time for each stretch.
    cuts = np.maximum.accumulate(cuts - order) + order
    cuts = np.clip(cuts, order + 1, len(moments) - n_folds + order)
    starts = moments[cuts]
    ends = [*starts[1:], moments[-1] + 1]
    first = -np.inf if span is None else starts - gap - span
    earliest = np.broadcast_to(first, n_folds)
    return tuple(
        Fold(
            Sentence(
                message("fold {i} of {n} (valid from {start})"),
                {"i": i, "n": n_folds, "start": f"{datetime.fromtimestamp(start / 1e6, UTC):%Y-%m-%d %H:%M}"},
            ),
            np.flatnonzero((times < start - gap) & (times >= least)),
            np.flatnonzero((times >= start) & (times < end)),
        )
        for i, (least, start, end) in enumerate(zip(earliest, starts, ends, strict=True), start=1)
    )


def group_time_folds(
    times: np.ndarray, groups: np.ndarray, n_folds: int, random_state: int, *, gap: int = 0, span: int | None = None
) -> tuple[Fold, ...]:
    """Time folds of which each is validated by its own draw of the groups and trained on the others: on new users of a later time."""
    if n_folds < 2:
        raise FoldError("group_time folds draw the groups into folds, at least 2 of them")
    drawn = group_folds(groups, n_folds, random_state)
    return tuple(
        Fold(fold.name, np.intersect1d(fold.train, others.train), np.intersect1d(fold.valid, others.valid))
        for fold, others in zip(time_folds(times, n_folds, gap=gap, span=span), drawn, strict=True)
    )


def group_folds(groups: np.ndarray, n_folds: int, random_state: int) -> tuple[Fold, ...]:
    """Draw the groups into folds; rows of one group are never parted."""
    n_groups = len(np.unique(groups))
    if n_groups < n_folds:
        raise FoldError(f"{n_folds} group folds need at least {n_folds} groups, there are {n_groups}")
    splitter = GroupKFold(n_folds, shuffle=True, random_state=random_state)
    return _numbered(list(splitter.split(groups, groups=groups)))


def stratified_folds(codes: np.ndarray, n_folds: int, random_state: int) -> tuple[Fold, ...]:
    """Draw the rows into folds that have each class in proportion."""
    fewest = int(np.bincount(codes).min())
    if fewest < n_folds:
        raise FoldError(f"{n_folds} stratified folds need {n_folds} rows of each class, the rarest class has {fewest}")
    splitter = StratifiedKFold(n_folds, shuffle=True, random_state=random_state)
    return _numbered(list(splitter.split(codes, codes)))


def given_folds(pairs: Sequence[Any], n_rows: int) -> tuple[Fold, ...]:
    """The user's own pairs of row positions (or of boolean masks), checked."""
    checked = []
    for i, pair in enumerate(pairs, start=1):
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise FoldError(
                f"cv: fold {i} of {len(pairs)} must be a pair (train, valid) of row positions, not {pair!r}"
            )
        train = _positions(pair[0], n_rows, f"fold {i} of {len(pairs)}: train")
        valid = _positions(pair[1], n_rows, f"fold {i} of {len(pairs)}: valid")
        shared = np.intersect1d(train, valid)
        if len(shared):
            raise FoldError(
                f"fold {i} of {len(pairs)}: {len(shared):,} rows, the first is {shared[0]}, are in train and in valid"
            )
        checked.append((train, valid))
    if not checked:
        raise FoldError("cv holds no fold")
    return _numbered(checked)


def check_kind(cv: object) -> None:
    """Raise FoldError for a ``cv`` that is neither a kind of fold nor a list."""
    if isinstance(cv, str) and cv not in KINDS:
        raise FoldError(f"no folds {cv!r}{closest(cv, KINDS)}")
    if not isinstance(cv, str | Sequence):
        raise FoldError(f"cv must be one of {', '.join(map(repr, KINDS))} or a list of (train, valid), not {cv!r}")


def check_folds(folds: Sequence[Fold], codes: np.ndarray, classes: np.ndarray, metric: Metric) -> None:
    """Raise FoldError for the first fold that cannot be trained on, or on which the metric is not defined."""
    for fold in folds:
        for rows, part in ((fold.train, "training"), (fold.valid, "validation")):
            if not len(rows):
                raise FoldError(
                    f"{fold.name} has no {part} rows; fewer folds, a shorter gap or a longer train_span leave more"
                )
            present = np.unique(codes[rows])
            if len(present) == 1:
                raise FoldError(
                    f"{fold.name}: its {len(rows):,} {part} rows hold one class only, {classes.tolist()[present[0]]!r}; use other folds"
                )
        even = np.full((len(fold.valid), len(classes)), 1 / len(classes))
        if np.isnan(metric(codes[fold.valid], even)):
            raise FoldError(
                f"{fold.name}: {metric.name} cannot be computed, its {len(fold.valid):,} validation rows lack a class"
            )


def _positions(rows: Any, n_rows: int, what: str) -> np.ndarray:
    array = np.asarray(rows)
    if array.ndim != 1 or (len(array) and array.dtype.kind not in "iub"):
        raise FoldError(f"{what} must be whole numbers or a mask of shape ({n_rows},), not {array.dtype} {array.shape}")
    if array.dtype == bool:
        if len(array) != n_rows:
            raise FoldError(f"{what} is a mask of {len(array):,} rows, the examples have {n_rows:,}")
        return np.flatnonzero(array)
    array = array.astype(np.int64)
    outside = array[(array < 0) | (array >= n_rows)]
    if len(outside):
        raise FoldError(f"{what} has the row {outside[0]}, the examples have rows 0 to {n_rows - 1}")
    if len(np.unique(array)) < len(array):
        raise FoldError(f"{what} has a row twice")
    return array


def _numbered(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[Fold, ...]:
    named = message("fold {i} of {n}")
    return tuple(
        Fold(Sentence(named, {"i": i, "n": len(pairs)}), train, valid)
        for i, (train, valid) in enumerate(pairs, start=1)
    )
