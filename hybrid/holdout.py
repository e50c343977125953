"""Rows held out of a training set, to stop boosting early where the user gives no validation set."""

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
