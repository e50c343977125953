"""How sure a mean, an AUC or a difference of two is, where rows come in groups: standard errors, intervals and p-values.

A statistic is written as a sum of what each row contributes to its error (its influence function). The standard error follows from the
sums over groups of rows, whatever the sizes of the groups, and Student's t with one degree of freedom less than there are groups gives
the interval. Closed forms, so that hundreds of slices cost no resampling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.stats import rankdata


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


def mean(values: np.ndarray, inside: np.ndarray | None = None) -> Statistic:
    """The mean over all rows, or over those ``inside``."""
    inside = np.ones(len(values), dtype=bool) if inside is None else inside
    n = int(inside.sum())
    if n == 0:
        return Statistic(np.nan, np.zeros(len(values)))
    value = float(values[inside].mean())
    return Statistic(value, np.where(inside, (values - value) / n, 0.0))


def roc_auc(positive: np.ndarray, score: np.ndarray, inside: np.ndarray | None = None) -> Statistic:
    """The area under the ROC curve (DeLong et al. 1988): each row contributes how many rows of the other kind it stands right of."""
    inside = np.ones(len(score), dtype=bool) if inside is None else inside
    influence = np.zeros(len(score))
    rows = np.flatnonzero(inside)
    hit = positive[rows].astype(bool)
    n_hit, n_miss = int(hit.sum()), int((~hit).sum())
    if n_hit == 0 or n_miss == 0:
        return Statistic(np.nan, influence)
    scores = score[rows].astype(np.float64)
    ranks = rankdata(scores)
    placed = np.empty(len(rows))
    placed[hit] = (ranks[hit] - rankdata(scores[hit])) / n_miss
    placed[~hit] = 1 - (ranks[~hit] - rankdata(scores[~hit])) / n_hit
    value = float(placed[hit].mean())
    influence[rows] = (placed - value) / np.where(hit, n_hit, n_miss)
    return Statistic(value, influence)


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
