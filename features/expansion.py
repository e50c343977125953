"""Lists of different lengths laid out one behind the other, and cut into blocks that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def within(sizes: np.ndarray) -> np.ndarray:
    """0, 1, 2 ... within each run of the given sizes."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes, sizes)


def blocks(sizes: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Ranges of positions whose sizes sum to no more than ``most``, one position at least."""
    ends = np.cumsum(sizes)
    low = 0
    while low < len(sizes):
        before = ends[low - 1] if low else 0
        high = max(low + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield low, high
        low = high
