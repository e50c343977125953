"""Folds for out-of-fold logits: whole groups, blocks of time, or each class spread evenly."""

from __future__ import annotations

import numpy as np

from hybrid.holdout import assign_folds


def head_folds(
    codes: np.ndarray, groups: np.ndarray | None, times: np.ndarray | None, n_folds: int, random_state: int
) -> np.ndarray:
    """The fold of each row: whole groups where groups are given, else blocks of time where times are, else each class spread evenly.

    So it is too where all rows are of one group or of one moment, which could not be parted otherwise.

    A block of time is predicted by a head that was trained on all other blocks, also later ones: rows of one moment stay together, and
    the first block is predicted as well as the last.

    Parameters
    ----------
    codes : numpy.ndarray of int64, shape (n_rows,)
        Class codes; a class may have fewer rows than there are folds.
    groups, times : numpy.ndarray of int64, shape (n_rows,), optional
    n_folds : int
    random_state : int

    Returns
    -------
    numpy.ndarray of int64, shape (n_rows,)
        Numbered from 0; fewer folds where there are fewer groups or moments.
    """
    if groups is not None and len(np.unique(groups)) < 2:
        groups = None
    if groups is None and times is not None and len(np.unique(times)) > 1:
        moments, place = np.unique(times, return_inverse=True)
        rows_before = np.append(0, np.cumsum(np.bincount(place, minlength=len(moments))))[:-1]
        folds = np.unique(rows_before * n_folds // len(codes), return_inverse=True)[1]
        return folds[place] if folds[-1] else (place > 0).astype(np.int64)  # nearly all rows of one moment
    return assign_folds(codes, groups, n_folds, random_state)
