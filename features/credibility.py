"""Totals of labels by key, and how many labels the mean of all is worth beside a key's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

FLAT_STRENGTH = 2.0
"""Where nothing tells how keys differ."""
_BOUNDS = (1e-2, 1e6)


@dataclass(frozen=True)
class Totals:
    """Counts, sums and squared deviations from their own mean of the labels of keys."""

    counts: np.ndarray
    sums: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray, labels: np.ndarray, n_keys: int) -> Self:
        """Of labels, Float64, with the codes of their keys, Int64 below ``n_keys``, -1 for none."""
        codes, labels = codes[codes >= 0], labels[codes >= 0]
        counts = np.bincount(codes, minlength=n_keys)
        sums = np.bincount(codes, labels, minlength=n_keys)
        off = labels - (sums / np.maximum(counts, 1))[codes]
        return cls(counts, sums, np.bincount(codes, off * off, minlength=n_keys))

    def strength(self) -> float:
        """Variance within keys over variance between them, both by moments; keys that differ no more than chance give 1e6."""
        held = self.counts > 0
        n = self.counts[held].astype(np.float64)
        total, free = n.sum(), n.sum() - len(n)
        room = total - (n * n).sum() / total if total else 0.0
        if free <= 0 or room <= 0:  # every key has one label, or there is one key: nothing tells how keys differ
            return FLAT_STRENGTH
        within = self.squares.sum() / free
        means = self.sums[held] / n
        apart = (n * (means - self.sums.sum() / total) ** 2).sum()
        between = (apart - (len(n) - 1) * within) / room
        return float(np.clip(within / between if between > 0 else np.inf, *_BOUNDS))
