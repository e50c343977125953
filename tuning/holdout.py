"""The final holdout: rows that no trial sees, drawn as the folds are."""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, StratifiedShuffleSplit

from tuning.errors import FoldError


def hold_back(
    share: float,
    cv: str,
    *,
    codes: np.ndarray,
    times: np.ndarray | None,
    groups: np.ndarray | None,
    gap: int,
    random_state: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into those that a study may use and those that it must not see.

    With times the latest rows are held back, and rows within the gap before them are used by neither; with groups whole groups are;
    else rows drawn so that each class keeps its share.

    Parameters
    ----------
    share : float
        Of the rows, between 0 and 1.
    cv : str
        The kind of the folds.
    codes : numpy.ndarray of int64, shape (n_rows,)
    times, groups : numpy.ndarray of int64, shape (n_rows,), or None
    gap : int
        Microseconds.
    random_state : int

    Returns
    -------
    (numpy.ndarray, numpy.ndarray) of int64
        Positions to use and positions held back.

    Raises
    ------
    FoldError
        A share that leaves nothing on a side, or folds that the user gave as rows.
    """
    if cv == "given":
        raise FoldError(
            "holdout needs a kind of folds; where cv lists rows, leave the held-out rows out of the examples"
        )
    if cv in ("time", "group_time"):
        assert times is not None
        start = np.quantile(times, 1 - share, method="higher")
        used, held = np.flatnonzero(times < start - gap), np.flatnonzero(times >= start)
    elif cv == "group":
        assert groups is not None
        used, held = next(GroupShuffleSplit(1, test_size=share, random_state=random_state).split(codes, groups=groups))
    else:
        try:
            splitter = StratifiedShuffleSplit(1, test_size=share, random_state=random_state)
            used, held = next(splitter.split(codes, codes))
        except ValueError as error:  # scikit-learn's words say which side lacks rows of a class
            raise FoldError(f"holdout={share}: {error}") from None
    for rows, words in ((used, "nothing to tune on"), (held, "nothing to hold back")):
        if not len(rows):
            raise FoldError(f"holdout={share} of {len(codes):,} rows leaves {words}")
    if len(np.unique(codes[held])) < 2:
        raise FoldError(f"the {len(held):,} rows of holdout={share} hold one class only; give a larger share")
    return used, held
