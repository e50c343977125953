"""How many different values of a column a key has met in a trailing window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from features.family import Key, key_name
from features.history import Batch
from features.timeline import MICROSECONDS, Moments, Timeline
from features.window import Window
from features.windowed import SpanFamily

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, kw_only=True, eq=False)
class Distinct(SpanFamily):
    """``{key}__distinct_{target}__{window}``: distinct values of a target over all events that are counted, Int32.

    A value counts while its latest event lies in the window. Each event is therefore alive from its own time to the earlier of its
    expiry and the next event of the same key and value, and the count at ``t`` is births before ``t`` less deaths before ``t``.

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
        moments = Moments(standing.times)
        for target in self._foreign(key):
            for window in self.spans():
                lives = _kept(standing.timeline, batch.history.column(target), window)
                needles = np.where(standing.codes >= 0, standing.codes * lives.stride + moments.ranks(lives.clock), 0)
                died = np.searchsorted(lives.deaths, needles, side="left")
                yield standing.give((lives.born[standing.stop] - died).astype(np.int32))

    def _foreign(self, key: Key) -> list[str]:
        return [target for target in self.targets if target not in key]


@dataclass(frozen=True)
class _Lives:
    """Births and deaths of a timeline's values: how many were born before each event, and the sorted places of the deaths."""

    born: np.ndarray
    deaths: np.ndarray
    clock: np.ndarray
    stride: int


def _kept(timeline: Timeline, column: str, window: Window) -> _Lives:
    """The lives of a column's values, computed once for a timeline."""
    place = (Distinct, column, window)
    if place not in timeline.kept:
        timeline.kept[place] = _lives(timeline, column, window)
    lives: _Lives = timeline.kept[place]
    return lives


def _lives(timeline: Timeline, column: str, window: Window) -> _Lives:
    known, held, following = _successors(timeline, column)
    deaths = following
    if window.seconds is not None:
        deaths = np.minimum(following, timeline.times[held] + window.seconds * MICROSECONDS)
    died = pl.Series(deaths)
    clock = died.unique().sort().to_numpy()
    stride = len(clock) + 1
    places = pl.Series(timeline.codes[held] * stride + died.rank("dense").to_numpy().astype(np.int64) - 1).sort()
    return _Lives(np.concatenate([[0], np.cumsum(known)]), places.to_numpy(), clock, stride)


def _successors(timeline: Timeline, column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which events have a value, their positions, and the time of the next event of the same key and value; computed once."""
    place = (Distinct, column)
    if place not in timeline.kept:
        target = timeline.values(column)
        # Hashing strings to codes is several times faster than ranking them; which code a string gets does not matter.
        target = target.cast(pl.Categorical).to_physical() if target.dtype == pl.String else target.rank("dense")
        known = target.is_not_null().to_numpy()
        held = np.flatnonzero(known)
        codes, values = timeline.codes[held], target.drop_nulls().to_numpy().astype(np.int64)
        pairs = codes * (int(values.max(initial=0)) + 1) + values
        order = np.argsort(pairs, kind="stable")  # times stay sorted within key and value
        times = timeline.times[held][order]
        same = pairs[order][1:] == pairs[order][:-1]
        following = np.full(len(held), _NEVER)
        following[:-1][same] = times[1:][same]
        unsorted = np.empty_like(following)
        unsorted[order] = following
        timeline.kept[place] = known, held, unsorted
    kept: tuple[np.ndarray, np.ndarray, np.ndarray] = timeline.kept[place]
    return kept
