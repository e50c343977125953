"""Counts of events and sums of their values in trailing windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from features.family import Family, key_name
from features.timeline import Standing
from features.window import Window


@dataclass(frozen=True)
class Counts(Family):
    """``{key}__{event}__{window}``: events of a kind in the window, Int32; 0 when there are none."""

    name: ClassVar[str] = "count"
    events: tuple[str, ...]
    windows: tuple[Window, ...]

    def columns(self, key: tuple[str, ...]) -> list[str]:
        return [f"{key_name(key)}__{event}__{window.name}" for event in self.events for window in self.windows]

    def compute(self, key: tuple[str, ...], standing: Standing) -> Iterator[np.ndarray]:
        for event in self.events:
            for window in self.windows:
                yield standing.give(standing.count(event, window))


@dataclass(frozen=True)
class Sums(Family):
    """``{key}__{event}_sum_{value}__{window}``: sum of a value over those events, Float64; 0 when there are none."""

    name: ClassVar[str] = "sum"
    events: tuple[str, ...]
    values: tuple[str, ...]
    windows: tuple[Window, ...]

    def columns(self, key: tuple[str, ...]) -> list[str]:
        return [
            f"{key_name(key)}__{event}_sum_{value}__{window.name}"
            for event in self.events
            for value in self.values
            for window in self.windows
        ]

    def compute(self, key: tuple[str, ...], standing: Standing) -> Iterator[np.ndarray]:
        first = standing.start(Window.all())
        for event in self.events:
            for value in self.values:
                running = standing.timeline.running_sum(event, value)
                for window in self.windows:
                    start = standing.start(window)
                    upto = np.where(standing.stop > first, running[standing.stop], 0.0)
                    before = np.where(start > first, running[start], 0.0)
                    # With no event in the window the two are the same number, so the sum is exactly 0.
                    yield standing.give(upto - before)
