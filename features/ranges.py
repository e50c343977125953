"""Sums, minima and maxima over ranges of an array, from blocks of one, two, four ... values."""

from __future__ import annotations

import numpy as np


def reduce_ranges(
    ufunc: np.ufunc, values: np.ndarray, starts: np.ndarray, stops: np.ndarray, empty: float
) -> np.ndarray:
    """Reduce ``values[start:stop]`` for each of many ranges.

    A range of length 13 is a block of 1, one of 4 and one of 8 values; all blocks of one size come from those of half the size in one
    pass. That is log2(longest range) passes over the values and the ranges, in memory proportional to both. A sum so taken has
    pairwise summation's error, reads nothing outside its range, and depends on nothing but the range's own values.

    Parameters
    ----------
    ufunc : numpy.add, numpy.minimum or numpy.maximum
    values : numpy.ndarray of shape (n_values,), float64
    starts, stops : numpy.ndarray of shape (n_ranges,), integer
    empty : float
        The result of an empty range.

    Returns
    -------
    numpy.ndarray of shape (n_ranges,), float64
    """
    reduced = np.full(len(starts), empty, dtype=np.float64)
    lengths = stops.astype(np.int64) - starts
    left = np.flatnonzero(lengths > 0)
    at, rest, blocks, size = starts[left].astype(np.int64), lengths[left], values, 1
    begun = np.zeros(len(left), dtype=bool)
    while len(left):
        odd = np.flatnonzero(rest & size)
        taken, into = blocks[at[odd]], left[odd]
        reduced[into] = np.where(begun[odd], ufunc(reduced[into], taken), taken)
        begun[odd] = True
        at[odd] += size
        rest[odd] -= size
        longer = np.flatnonzero(rest)
        left, at, rest, begun = left[longer], at[longer], rest[longer], begun[longer]
        blocks = ufunc(blocks[:-size], blocks[size:]) if len(left) else blocks
        size *= 2
    return reduced
