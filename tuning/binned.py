"""Binned matrices kept in memory, so that trials that read the same columns bin them once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from hybrid import FeatureMatrix
from hybrid.boosters import BinnedData
from tuning.memory import available

BYTES_PER_VALUE = {"xgboost": 2, "lightgbm": 6}
"""Rough size of a binned value: its bin in both libraries' layouts, and for LightGBM the raw float32 that it keeps beside."""

_MATRICES, _SHARE = 8, 4
_LEAST = 64 << 20

Pair = tuple[BinnedData, BinnedData]
"""Training data, and validation data binned like them."""


def budget(memory: int | None, matrix: FeatureMatrix, n_workers: int) -> int:
    """Bytes of binned data that each worker of a study keeps.

    Without ``memory``, what all workers share: eight times the joined matrix, which holds the columns of the last few trials and costs
    a long study no more than a short one, but no more than a quarter of what the machine has free.
    """
    if memory is None:
        memory = max(min(_MATRICES * 4 * len(matrix) * len(matrix.columns), available() // _SHARE), _LEAST)
    return memory // n_workers


@dataclass
class BinnedStore:
    """The pairs used last, as many as the budget holds.

    Parameters
    ----------
    budget : int
        Bytes. A pair that is larger alone is handed out and not kept.
    """

    budget: int
    _kept: OrderedDict[Hashable, tuple[Pair, int]] = field(default_factory=OrderedDict)

    def get(self, key: Hashable, make: Callable[[], Pair], size: int) -> Pair:
        """The pair of that key, made where it is not there; pairs that were not asked for longest make room for it first."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][0]
        while self._kept and size + sum(kept for _, kept in self._kept.values()) > self.budget:
            self._kept.popitem(last=False)
        pair = make()
        if size <= self.budget:
            self._kept[key] = (pair, size)
        return pair
