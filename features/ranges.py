"""Sums, minima and maxima over ranges of an array, from blocks of one, two, four ... values.

The blocks of one size come from those of half the size in one pass, so that many ranges cost log2 of the longest in passes over the
values, in memory proportional to values and ranges. No range reads a value outside it, and its result depends on nothing but
its own values, so that one key's sums are the same whatever other keys did.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def range_sums(values: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """``values[start:stop].sum()`` of each range, with pairwise summation's error; 0 of an empty one.

    A range of 13 values is a block of 1, one of 4 and one of 8.

    Parameters
    ----------
    values : numpy.ndarray of shape (n_values,), float64
    starts, stops : numpy.ndarray of shape (n_ranges,), integer
        ``start <= stop``.
    """
    sums = np.zeros(len(starts))
    left = np.flatnonzero(stops > starts)
    at, lengths = starts[left].astype(np.int64), (stops - starts)[left].astype(np.int64)
    for size, blocks in _blocks(np.add, values, int(lengths.max(initial=0))):
        longer = np.flatnonzero(lengths >= size)
        if len(longer) < len(lengths) // 2:
            left, at, lengths = left[longer], at[longer], lengths[longer]
        odd = np.flatnonzero(lengths & size)
        sums[left[odd]] += blocks[at[odd]]
        at[odd] += size
    return sums


def range_extremes(ufunc: np.ufunc, values: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """``values[start:stop].min()``, or ``max()``, of each range; NaN of an empty one.

    A range is two blocks that may overlap.

    Parameters
    ----------
    ufunc : numpy.minimum or numpy.maximum
    values : numpy.ndarray of shape (n_values,), float64
    starts, stops : numpy.ndarray of shape (n_ranges,), integer
        ``start <= stop``.
    """
    extremes = np.full(len(starts), np.nan)
    lengths = stops - starts
    power = np.frexp(lengths.astype(np.float64))[1].astype(np.int8)  # of the largest block within, plus one; 0 for none
    order = np.argsort(power, kind="stable")
    ends = np.searchsorted(power[order], np.arange(int(power.max(initial=0)) + 1), side="right")
    for i, (size, blocks) in enumerate(_blocks(ufunc, values, int(lengths.max(initial=0)))):
        rows = order[ends[i] : ends[i + 1]]
        extremes[rows] = ufunc(blocks[starts[rows]], blocks[stops[rows] - size])
    return extremes


def _blocks(ufunc: np.ufunc, values: np.ndarray, longest: int) -> Iterator[tuple[int, np.ndarray]]:
    """Each power of two up to the longest, with the values reduced over as many from each place on."""
    size = 1
    while size <= longest:
        yield size, values
        values = ufunc(values[:-size], values[size:])
        size *= 2
