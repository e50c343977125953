"""Counts of events and sums of their values in trailing windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from features.family import Key, key_name
from features.history import Batch
from features.window import Window
from features.windowed import WindowedFamily


@dataclass(frozen=True, kw_only=True, eq=False)
class Counts(WindowedFamily):
    """``{key}__{event}__{window}``: events of a kind in the window, Int32; 0 when there are none."""

    name: ClassVar[str] = "count"

    def columns(self, key: Key) -> list[str]:
        return [f"{key_name(key)}__{event}__{window.name}" for event, window in self.pairs()]

    def compute(self, key: Key, batch: Batch) -> Iterator[np.ndarray]:
        standing = batch.standing(key)
        for event, window in self.pairs():
            yield standing.give(standing.count(event, window))


@dataclass(frozen=True, kw_only=True, eq=False)
class Sums(WindowedFamily):
    """``{key}__{event}_sum_{value}__{window}``: sum of a value over those events, Float64; 0 when there are none.

    Parameters
    ----------
    values : sequence of str
        Numeric columns of the log. Nulls count as 0.
    """

    name: ClassVar[str] = "sum"

    values: Sequence[str] = ()

    def value_columns(self) -> tuple[str, ...]:
        return tuple(self.values)

    def columns(self, key: Key) -> list[str]:
        return [
            f"{key_name(key)}__{event}_sum_{value}__{window.name}"
            for event in self.kinds()
            for value in self.values
            for window in self.spans()
        ]

    def compute(self, key: Key, batch: Batch) -> Iterator[np.ndarray]:
        standing = batch.standing(key)
        for event in self.kinds():
            first, stop = standing.before(event, Window.all()), standing.before(event)
            for value in self.values:
                running = standing.timeline.kind_sums(event, value)
                upto = np.where(stop > first, running.take(stop), 0.0)
                for window in self.spans():
                    start = standing.before(event, window)
                    # With no event in the window the two are the same number, so the sum is exactly 0.
                    yield standing.give(upto - np.where(start > first, running.take(start), 0.0))
