"""How sure a mean, an AUC or a difference of two is, where rows come in groups: standard errors, intervals and p-values.

A statistic is written as a sum of what each row contributes to its error (its influence function). The standard error follows from the
sums over groups of rows, whatever the sizes of the groups, and Student's t with one degree of freedom less than there are groups gives
the interval. Closed forms, so that hundreds of slices cost no resampling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A number with the standard error that groups of rows give it.

    Parameters
    ----------
    value : float
    error : float
        NaN where fewer than two groups tell nothing.
    freedom : int
        Degrees of freedom.
    """

    value: float
    error: float
    freedom: int

    def interval(self, least: float = -np.inf, most: float = np.inf) -> tuple[float, float]:
        """Ends of the 95 % interval, cut at what the number can be."""
        if not self.error >= 0:
            return np.nan, np.nan
        half = float(stats.t.ppf(0.975, self.freedom)) * self.error
        return max(self.value - half, least), min(self.value + half, most)

    @property
    def p_above_zero(self) -> float:
        """One-sided: how often a number that is truly 0 would come out as high as this one."""
        return self._tail(self.value)

    @property
    def p_not_zero(self) -> float:
        """Two-sided: how often a number that is truly 0 would come out as far from it."""
        return float(np.minimum(1.0, 2 * self._tail(abs(self.value))))  # which keeps NaN

    def _tail(self, value: float) -> float:
        if not self.error >= 0:
            return np.nan
        if self.error == 0:
            return 0.0 if value > 0 else 1.0
        return float(stats.t.sf(value / self.error, self.freedom))


@dataclass(frozen=True)
class Statistic:
    """A number, and what each row contributes to its error.

    Parameters
    ----------
    value : float
    influence : numpy.ndarray of float64, shape (n_rows,)
        Sums to 0; 0 for rows that the number does not read.
    """

    value: float
    influence: np.ndarray

    def __sub__(self, other: Statistic) -> Statistic:
        return Statistic(self.value - other.value, self.influence - other.influence)

    def estimate(self, groups: np.ndarray | None) -> Estimate:
        """With its standard error; ``groups`` are codes 0 .. n_groups - 1, by default each row is its own."""
        if np.isnan(self.value):
            return Estimate(np.nan, np.nan, 1)
        used = self.influence != 0
        if not used.any():  # all rows alike: no error, as far as these rows can tell
            whole = _count(groups, np.ones(len(used), dtype=bool))
            return Estimate(self.value, 0.0 if whole > 1 else np.nan, max(whole - 1, 1))
        n_groups = _count(groups, used)
        if n_groups < 2:
            return Estimate(self.value, np.nan, 1)
        sums = self.influence if groups is None else np.bincount(groups, weights=self.influence)
        error = float(np.sqrt((sums**2).sum() * n_groups / (n_groups - 1)))
        return Estimate(self.value, error, n_groups - 1)


def _count(groups: np.ndarray | None, used: np.ndarray) -> int:
    """How many groups the used rows belong to."""
    return int(used.sum() if groups is None else np.count_nonzero(np.bincount(groups[used])))


def renumbered(groups: np.ndarray) -> np.ndarray:
    """Codes 0 .. n - 1 of the groups that occur, in their order."""
    return (np.cumsum(np.bincount(groups) > 0) - 1)[groups]


def mean(values: np.ndarray, inside: np.ndarray | None = None) -> Statistic:
    """The mean over all rows, or over those ``inside``."""
    inside = np.ones(len(values), dtype=bool) if inside is None else inside
    n = int(inside.sum())
    if n == 0:
        return Statistic(np.nan, np.zeros(len(values)))
    value = float(values[inside].mean())
    return Statistic(value, np.where(inside, (values - value) / n, 0.0))


class Ordering:
    """How well a score puts the positive rows first, over all rows or over parts of them: sorted once, however many parts are asked for.

    Parameters
    ----------
    positive : numpy.ndarray of bool, shape (n_rows,)
    score : numpy.ndarray, shape (n_rows,)
    """

    def __init__(self, positive: np.ndarray, score: np.ndarray) -> None:
        self._order = np.argsort(-score)
        self._hit = positive[self._order].astype(bool)
        self._score = score[self._order]

    def roc_auc(self, inside: np.ndarray | None = None) -> Statistic:
        """The area under the ROC curve (DeLong et al. 1988): each row contributes how many rows of the other kind it stands right of."""
        ranked = self._ranked(inside)
        if ranked.n_hit == 0 or ranked.n_miss == 0:
            return self._statistic(np.nan, ranked, np.zeros(len(ranked.hit)))
        of_hit = 1 - (ranked.misses - ranked.block_misses / 2) / ranked.n_miss
        of_miss = (ranked.hits - ranked.block_hits / 2) / ranked.n_hit
        value = float((of_hit * ranked.block_hits).sum() / ranked.n_hit)
        placed = np.where(ranked.hit, ranked.of_rows(of_hit), ranked.of_rows(of_miss))
        return self._statistic(value, ranked, (placed - value) / np.where(ranked.hit, ranked.n_hit, ranked.n_miss))

    def average_precision(self, inside: np.ndarray | None = None) -> Statistic:
        """The mean, over the positive rows, of the precision down to each, rows of one score taken together.

        A row contributes the derivative by its own weight: a positive one the precision at its place, and what it adds to the precision at
        all places below; any other one what it takes from those.
        """
        ranked = self._ranked(inside)
        if ranked.n_hit == 0:
            return self._statistic(np.nan, ranked, np.zeros(len(ranked.hit)))
        rows = ranked.hits + ranked.misses
        precision = ranked.hits / rows
        value = float((precision * ranked.block_hits).sum() / ranked.n_hit)
        below = np.cumsum((ranked.block_hits / rows)[::-1])[::-1]
        taken = np.cumsum((ranked.block_hits * precision / rows)[::-1])[::-1]
        gained = np.where(ranked.hit, ranked.of_rows(precision + below) - value, 0.0)
        return self._statistic(value, ranked, (gained - ranked.of_rows(taken)) / ranked.n_hit)

    def _ranked(self, inside: np.ndarray | None) -> _Ranked:
        if inside is None:
            return _Ranked(self._order, self._hit, self._score)
        kept = inside[self._order]
        return _Ranked(self._order[kept], self._hit[kept], self._score[kept])

    def _statistic(self, value: float, ranked: _Ranked, influence: np.ndarray) -> Statistic:
        of_all = np.zeros(len(self._order))
        of_all[ranked.rows] = influence
        return Statistic(value, of_all)


class _Ranked:
    """Rows by falling score, those of one score as a block: positive and other rows of each block, and down to its end."""

    def __init__(self, rows: np.ndarray, hit: np.ndarray, score: np.ndarray) -> None:
        self.rows, self.hit = rows, hit
        ends = np.append(np.flatnonzero(score[1:] != score[:-1]), len(score) - 1) if len(score) else np.empty(0, int)
        self._size = np.diff(ends, prepend=-1)
        self.hits = np.cumsum(hit)[ends]
        self.misses = ends + 1 - self.hits
        self.block_hits = np.diff(self.hits, prepend=0)
        self.block_misses = self._size - self.block_hits
        self.n_hit = int(hit.sum())
        self.n_miss = len(hit) - self.n_hit

    def of_rows(self, of_blocks: np.ndarray) -> np.ndarray:
        """Each row's value of its block."""
        return np.repeat(of_blocks, self._size)


def holm(p: np.ndarray) -> np.ndarray:
    """p-values corrected for their number (Holm 1979); NaN stays NaN and is not counted.

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.03])).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted
