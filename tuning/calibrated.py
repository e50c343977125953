"""Probabilities that judge a calibrated trial: each part of the validation rows is calibrated on the other, none on itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hybrid.calibrator import Calibrator
from hybrid.head.folds import head_folds
from hybrid.holdout import hold_out
from tuning.distributions import choices_of
from tuning.errors import FoldError

if TYPE_CHECKING:
    from tuning.space import SearchSpace
    from tuning.task import Task

PARTS = 2
"""Each fits a calibrator to about as many rows as ``HybridClassifier.fit`` holds out for it, with three folds in time."""


def cross_calibrated(task: Task, valid: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Class probabilities of a fold's validation rows, float32 of shape (n_valid, n_classes).

    Parameters
    ----------
    task : Task
    valid : numpy.ndarray of int64, shape (n_valid,)
        Positions of the rows.
    margin : numpy.ndarray of float32, shape (n_valid, n_margins)
        Of trees that did not see them.
    """
    codes, parts = task.codes[valid], _parts(task, valid)
    n_classes = len(task.classes)
    proba = np.empty((len(valid), n_classes), dtype=np.float32)
    for part in np.unique(parts):
        inside = parts == part
        proba[inside] = Calibrator.fit(margin[~inside], codes[~inside], n_classes).probabilities(margin[inside])
    return proba


def check_calibration(task: Task, space: SearchSpace) -> None:
    """Raise FoldError where a trial of the space calibrates, and could not be judged so, or its model not be fitted."""
    choices = choices_of(space["calibration"]) if "calibration" in space else (task.model.calibration,)
    if set(choices) == {None}:
        return
    for fold in task.folds:
        parts = _parts(task, fold.valid)
        if min(len(np.unique(task.codes[fold.valid[parts == part]])) for part in range(PARTS)) < 2:
            raise FoldError(
                f"the validation rows of {fold.name} make no two parts of two classes, of which each calibrates the other: "
                "use fewer folds, or leave calibration out"
            )
    times = None if task.model.timestamp() is None else task.times
    if hold_out(task.codes, task.row_groups, times, task.model.random_state) is None:
        raise FoldError(
            f"of {len(task.codes):,} examples no tenth can be held out with every class on both sides, on which a model is calibrated: "
            "give more rows, or leave calibration out"
        )


def _parts(task: Task, valid: np.ndarray) -> np.ndarray:
    """The part of each row: whole groups, the earlier or the later rows, or each class spread evenly, as the folds are made."""
    groups = None if task.row_groups is None else task.row_groups[valid]
    times = None if task.times is None or task.cv == "stratified" else task.times[valid]
    return head_folds(task.codes[valid], groups, times, PARTS, task.model.random_state)
