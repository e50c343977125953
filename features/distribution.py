"""How a key's events spread over the values of a column: counts by category as of some moments, and what is read off them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from features.expansion import blocks, within
from features.family import Key
from features.history import History
from features.timeline import Moments, Standing, Timeline
from features.window import Window

_ROWS = 1_000_000  # (moment, category) pairs held at once


@dataclass(frozen=True, eq=False)
class Categories:
    """The categories that each key of a log ever had an event in.

    Parameters
    ----------
    own : Timeline
        Of the key.
    pairs : Timeline
        Of the key and the category; its codes are called pairs.
    order : numpy.ndarray
        The pairs, sorted by the key's code.
    starts : numpy.ndarray of shape (n_keys + 1,)
        Where each key's pairs begin in ``order``.
    owner, place : numpy.ndarray of shape (n_pairs,)
        The key's code of each pair, and which of its key's pairs it is.
    """

    own: Timeline
    pairs: Timeline
    order: np.ndarray
    starts: np.ndarray
    owner: np.ndarray
    place: np.ndarray

    @classmethod
    def of(cls, history: History, key: Key, category: str) -> Categories:
        """The categories of a key, found once for a log."""
        own, pairs = history.timeline(key), history.timeline((*key, category))
        if Categories not in pairs.kept:
            owner = own.codes_of(pairs.keys.select(own.columns))
            order = np.argsort(owner, kind="stable")
            starts = np.searchsorted(owner[order], np.arange(own.keys.height + 1))
            place = np.empty(len(order), dtype=np.int64)
            place[order] = within(np.diff(starts))
            pairs.kept[Categories] = cls(own, pairs, order, starts, owner, place)
        found: Categories = pairs.kept[Categories]
        return found

    def spreads(self, codes: np.ndarray, times: np.ndarray) -> Iterator[Spread]:
        """Every category of each key at each moment, in blocks that fit into memory.

        Parameters
        ----------
        codes : numpy.ndarray
            The key's code at each moment, -1 for a key without events.
        times : numpy.ndarray
            The moments, in microseconds.
        """
        sizes = np.where(codes >= 0, np.diff(self.starts)[codes], 0) if len(self.starts) > 1 else np.zeros_like(codes)
        for low, high in blocks(sizes, _ROWS):
            size = sizes[low:high]
            pair = self.order[np.repeat(self.starts[codes[low:high]], size) + within(size)]
            yield Spread(self.pairs, low, high, np.repeat(np.arange(high - low), size), pair, times[low:high])


@dataclass(frozen=True, eq=False)
class Spread:
    """The categories of the keys at moments ``low`` to ``high``: a row a category, those of one moment together.

    Parameters
    ----------
    pairs : Timeline
    low, high : int
    moment : numpy.ndarray
        Which moment each row is of, counted from ``low``.
    pair : numpy.ndarray
        Its key and category.
    times : numpy.ndarray of shape (high - low,)
    """

    pairs: Timeline
    low: int
    high: int
    moment: np.ndarray
    pair: np.ndarray
    times: np.ndarray

    def counts(self, kinds: Sequence[str], windows: Sequence[Window], earlier: int = 0) -> list[np.ndarray]:
        """Events of the kinds in each window before the moments, or before so many microseconds earlier; Float64, by row."""
        standing = Standing(self.pairs, self.pair, Moments(self.times[self.moment] - earlier))
        return [
            standing.give(sum((standing.count(kind, window) for kind in kinds), np.zeros(len(self.pair))))
            for window in windows
        ]

    def total(self, of_rows: np.ndarray) -> np.ndarray:
        """Sums over the rows of each moment."""
        return np.bincount(self.moment, of_rows, minlength=self.high - self.low)

    def shares(self, counts: np.ndarray) -> np.ndarray:
        """Share of each row in its moment's counts; NaN where these are all 0."""
        total = self.total(counts)[self.moment]
        return np.divide(counts, total, out=np.full(len(counts), np.nan), where=total > 0)

    def largest(self, of_rows: np.ndarray) -> np.ndarray:
        """The largest of each moment's rows; NaN where it has none."""
        found = np.full(self.high - self.low, np.nan)
        begins = np.flatnonzero(np.diff(self.moment, prepend=-1))
        found[self.moment[begins]] = np.maximum.reduceat(of_rows, begins) if len(begins) else 0
        return found

    def ranks(self, of_rows: np.ndarray) -> np.ndarray:
        """1 and the number of rows of the same moment that are larger."""
        order = np.lexsort((-of_rows, self.moment))
        value, moment = of_rows[order], self.moment[order]
        at = np.arange(len(order))
        begins = np.diff(moment, prepend=-1) > 0
        runs = begins | (np.diff(value, prepend=np.nan) != 0)
        ranks = np.empty(len(order))
        ranks[order] = np.maximum.accumulate(np.where(runs, at, 0)) - np.maximum.accumulate(np.where(begins, at, 0)) + 1
        return ranks

    def entropy(self, shares: np.ndarray) -> np.ndarray:
        """``-sum p ln p`` of each moment's shares, in nats; NaN where they are NaN."""
        return self._known(shares, np.maximum(self.total(-_times_log(shares, shares)), 0.0))

    def divergence(self, p: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Jensen-Shannon divergence of each moment's shares, in bits, from 0 to 1 (J. Lin, 1991); NaN where either is NaN."""
        middle = (p + q) / 2
        both = self.total(_times_log(p, p / _or_one(middle)) + _times_log(q, q / _or_one(middle))) / (2 * np.log(2))
        return self._known(p + q, np.clip(both, 0.0, 1.0))

    def _known(self, shares: np.ndarray, of_moments: np.ndarray) -> np.ndarray:
        """What was measured at the moments, NaN where the shares are NaN or none."""
        return np.where(np.isfinite(self.largest(shares)), of_moments, np.nan)


def _times_log(weight: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """``weight * ln(ratio)``, and 0 where the weight is 0 or NaN."""
    return np.where(weight > 0, weight, 0.0) * np.log(np.where(weight > 0, ratio, 1.0))


def _or_one(shares: np.ndarray) -> np.ndarray:
    return np.where(shares > 0, shares, 1.0)
