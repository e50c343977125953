"""How long ago a key last did something, and how often it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from features.family import Key, key_name
from features.history import Batch
from features.timeline import MICROSECONDS, Standing
from features.window import Window
from features.windowed import KindFamily


@dataclass(frozen=True, kw_only=True, eq=False)
class Recency(KindFamily):
    """``{key}__since__{event}``: seconds since the key's last event of a kind, Float64; null when it never had one."""

    name: ClassVar[str] = "recency"

    def columns(self, key: Key) -> list[str]:
        return [f"{key_name(key)}__since__{event}" for event in self.kinds()]

    def compute(self, key: Key, batch: Batch) -> Iterator[np.ndarray]:
        standing = batch.standing(key)
        for event in self.kinds():
            _, last, seen = _first_and_last(standing, event)
            yield standing.give(np.where(seen > 0, (standing.times - last) / MICROSECONDS, np.nan))


@dataclass(frozen=True, kw_only=True, eq=False)
class Gaps(KindFamily):
    """``{key}__gap__{event}``: mean seconds between the key's successive events of a kind, Float64; null with fewer than two."""

    name: ClassVar[str] = "gap"

    def columns(self, key: Key) -> list[str]:
        return [f"{key_name(key)}__gap__{event}" for event in self.kinds()]

    def compute(self, key: Key, batch: Batch) -> Iterator[np.ndarray]:
        standing = batch.standing(key)
        for event in self.kinds():
            first, last, seen = _first_and_last(standing, event)
            gaps = (last - first) / MICROSECONDS / np.maximum(seen - 1, 1)
            yield standing.give(np.where(seen > 1, gaps, np.nan))


def _first_and_last(standing: Standing, event: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times of the first and last event of a kind before each example, and how many there are; times mean nothing where that is 0."""
    times = standing.timeline.kind_times(event)
    start, stop = standing.before(event, Window.all()), standing.before(event)
    if len(times) == 0:
        return np.zeros_like(start), np.zeros_like(start), np.zeros_like(start)
    return times.take(start, mode="clip"), times.take(stop - 1, mode="clip"), stop - start
