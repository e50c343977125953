"""Binned matrices kept in memory, so that trials that read the same columns bin them once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from hybrid.boosters import BinnedData

BUDGET = 2 << 30
"""Bytes of binned data that a study keeps."""

BYTES_PER_VALUE = {"xgboost": 2, "lightgbm": 6}
"""Rough size of a binned value: its bin in both libraries' layouts, and for LightGBM the raw float32 that it keeps beside."""

Pair = tuple[BinnedData, BinnedData]
"""Training data, and validation data binned like them."""


@dataclass
class BinnedStore:
    """The pairs used last, as many as the budget holds; safe for several threads.

    Parameters
    ----------
    budget : int, default ``BUDGET``
        Bytes. A pair that is larger alone is handed out and not kept.
    """

    budget: int = BUDGET
    _kept: OrderedDict[Hashable, tuple[Pair, int]] = field(default_factory=OrderedDict)
    _making: dict[Hashable, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: Hashable, make: Callable[[], Pair], size: int) -> Pair:
        """The pair of that key, made by the first thread that asks for it while others wait."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key][0]
            pair = make()
            with self._lock:
                self._kept[key] = (pair, size)
                while self._kept and sum(kept for _, kept in self._kept.values()) > self.budget:
                    dropped, _ = self._kept.popitem(last=False)
                    self._making.pop(dropped, None)
            return pair
