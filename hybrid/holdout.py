"""Rows held out: to stop boosting early where the user gives no validation set, and in folds."""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, StratifiedShuffleSplit

SHARE = 0.1
_FEWEST_ROWS = 50


def hold_out(
    codes: np.ndarray, groups: np.ndarray | None, times: np.ndarray | None, random_state: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Split a tenth off: whole groups where groups are given, else the latest rows where times are, else stratified by class.

    Returns
    -------
    (train, held out) : indices of rows, or None
        None where no split leaves every class on both sides, or the rows are fewer than 50.
    """
    if len(codes) < _FEWEST_ROWS:
        return None
    if groups is not None:
        if len(np.unique(groups)) < 2:
            return None
        splitter = GroupShuffleSplit(1, test_size=SHARE, random_state=random_state)
        train, held = next(splitter.split(codes, groups=groups))
    elif times is not None:
        cut = np.quantile(times, 1 - SHARE, method="higher")
        train, held = np.flatnonzero(times < cut), np.flatnonzero(times >= cut)
    elif np.bincount(codes).min() < 2 or len(np.unique(codes)) > len(codes) * SHARE:
        return None
    else:
        train, held = next(StratifiedShuffleSplit(1, test_size=SHARE, random_state=random_state).split(codes, codes))
    n_classes = codes.max() + 1
    if min(len(np.unique(codes[train])), len(np.unique(codes[held]))) < n_classes:
        return None
    return train, held


def assign_folds(y: np.ndarray, groups: np.ndarray | None, n_folds: int, random_state: int) -> np.ndarray:
    """The fold of each row: whole groups of rows drawn to folds, or, without groups, each class spread evenly.

    Parameters
    ----------
    y : numpy.ndarray of int64, shape (n_rows,)
        Class codes; a class may have fewer rows than there are folds.
    groups : numpy.ndarray of int64, shape (n_rows,), optional
        The group of each row, 0 .. n_groups - 1.
    n_folds : int
    random_state : int

    Returns
    -------
    numpy.ndarray of int64, shape (n_rows,)
    """
    rng = np.random.default_rng(random_state)
    if groups is not None:
        present, codes = np.unique(groups, return_inverse=True)
        return rng.permutation(len(present))[codes] % n_folds
    folds = np.empty(len(y), dtype=np.int64)
    folds[np.lexsort((rng.random(len(y)), y))] = np.arange(len(y)) % n_folds
    return folds
