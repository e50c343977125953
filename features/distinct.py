"""How many different values of a column a key has met in a trailing window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from features.family import Key, key_name
from features.history import Batch
from features.order import stable_order
from features.timeline import MICROSECONDS, Timeline
from features.window import Window
from features.windowed import SpanFamily


@dataclass(frozen=True, kw_only=True, eq=False)
class Distinct(SpanFamily):
    """``{key}__distinct_{target}__{window}``: distinct values of a target over all events that are counted, Int32.

    A value counts while its latest event lies in the window. Each event therefore ends either by the key's next event of the same value,
    where that comes within the window's length, or by its age. The count is the events with a value before ``t``, less those before ``t``
    that ended an earlier one, less those before the window that no later event ended.

    Parameters
    ----------
    targets : sequence of str
        Roles or columns of the log. A target that is part of a key is left out for that key, which has only one value of it.
    """

    name: ClassVar[str] = "distinct count"

    targets: Sequence[str] = ()

    def log_parts(self) -> tuple[str, ...]:
        return tuple(self.targets)

    def columns(self, key: Key) -> list[str]:
        return [
            f"{key_name(key)}__distinct_{target}__{window.name}"
            for target in self._foreign(key)
            for window in self.spans()
        ]

    def compute(self, key: Key, batch: Batch) -> Iterator[np.ndarray]:
        standing = batch.standing(key)
        for target in self._foreign(key):
            for window in self.spans():
                lives = _kept(standing.timeline, batch.history.column(target), window)
                count = lives.born.take(standing.stop) - lives.aged.take(standing.start(window))
                yield standing.give(count)

    def _foreign(self, key: Key) -> list[str]:
        return [target for target in self.targets if target not in key]


@dataclass(frozen=True)
class _Lives:
    """Running counts over the first i events of a timeline, Int32 of shape (n_events + 1,).

    ``born`` counts events with a value that end no earlier one, ``aged`` those that no later one ends.
    """

    born: np.ndarray
    aged: np.ndarray


def _kept(timeline: Timeline, column: str, window: Window) -> _Lives:
    """The lives of a column's values, computed once for a timeline."""
    place = (Distinct, column, window)
    if place not in timeline.kept:
        timeline.kept[place] = _lives(timeline, column, window)
    lives: _Lives = timeline.kept[place]
    return lives


def _lives(timeline: Timeline, column: str, window: Window) -> _Lives:
    held, earlier, later = _repeats(timeline, column)
    if window.seconds is not None:
        near = timeline.times.take(later) - timeline.times.take(earlier) <= window.seconds * MICROSECONDS
        earlier, later = earlier[near], later[near]
    return _Lives(_running(held, later, len(timeline)), _running(held, earlier, len(timeline)))


def _running(held: np.ndarray, but: np.ndarray, n: int) -> np.ndarray:
    """How many events have a value, but for some of them, among the first i."""
    counted = np.zeros(n + 1, dtype=np.int32)
    counted[held + 1] = 1
    counted[but + 1] = 0
    return np.cumsum(counted, out=counted)


def _repeats(timeline: Timeline, column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of the events with a value, and the pairs of a key's successive events of the same value; computed once."""
    place = (Distinct, column)
    if place not in timeline.kept:
        values = timeline.value_codes(column)
        held = np.flatnonzero(values >= 0)
        known = values.take(held)
        pairs = timeline.codes.take(held) * (int(known.max(initial=0)) + 1) + known
        order = stable_order(pairs)  # times stay sorted within key and value
        pairs, at = pairs.take(order), held.take(order)
        same = pairs[1:] == pairs[:-1]
        timeline.kept[place] = held, at[:-1][same], at[1:][same]
    kept: tuple[np.ndarray, np.ndarray, np.ndarray] = timeline.kept[place]
    return kept
