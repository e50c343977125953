"""How many different values of a column a key has met in a trailing window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from features.family import Family, key_name
from features.timeline import MICROSECONDS, Moments, Standing, Timeline
from features.window import Window

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Distinct(Family):
    """``{key}__distinct_{target}__{window}``: distinct values of a target over the declared events, Int32.

    A value counts while its latest event lies in the window. Each event is therefore alive from its own time to the earlier of its
    expiry and the next event of the same key and value, and the count at ``t`` is births before ``t`` less deaths before ``t``.

    Parameters
    ----------
    targets : tuple of (name, column)
    windows : tuple of Window
    """

    name: ClassVar[str] = "distinct count"
    targets: tuple[tuple[str, str], ...]
    windows: tuple[Window, ...]

    def columns(self, key: tuple[str, ...]) -> list[str]:
        return [
            f"{key_name(key)}__distinct_{target}__{window.name}"
            for target, _ in self._foreign(key)
            for window in self.windows
        ]

    def compute(self, key: tuple[str, ...], standing: Standing) -> Iterator[np.ndarray]:
        timeline = standing.timeline
        moments = Moments(standing.times)
        for _, column in self._foreign(key):
            target = timeline.values(column).rank("dense").to_numpy().astype(np.float64)
            held = np.flatnonzero(~np.isnan(target))
            born = np.concatenate([[0], np.cumsum(~np.isnan(target))])[standing.stop]
            followed = _next_of_same(timeline, held, target[held].astype(np.int64))
            for window in self.windows:
                yield standing.give((born - self._died(standing, moments, held, followed, window)).astype(np.int32))

    def _foreign(self, key: tuple[str, ...]) -> list[tuple[str, str]]:
        """Targets that are no part of the key: a key has only one value of its own parts."""
        return [(target, column) for target, column in self.targets if target not in key]

    def _died(
        self, standing: Standing, moments: Moments, held: np.ndarray, followed: np.ndarray, window: Window
    ) -> np.ndarray:
        timeline = standing.timeline
        deaths = followed
        if window.seconds is not None:
            deaths = np.minimum(followed, timeline.times[held] + window.seconds * MICROSECONDS)
        clock = np.unique(deaths)
        stride = len(clock) + 1
        places = np.sort(timeline.codes[held] * stride + np.searchsorted(clock, deaths))
        codes = standing.codes
        needles = np.where(codes >= 0, codes * stride + moments.ranks(clock), 0)
        return np.searchsorted(places, needles, side="left")


def _next_of_same(timeline: Timeline, held: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Time of the next event with the same key and target, for each held event; the end of time where there is none."""
    codes = timeline.codes[held]
    order = np.lexsort((target, codes))  # stable: times stay sorted within key and target
    times = timeline.times[held][order]
    same = (codes[order][1:] == codes[order][:-1]) & (target[order][1:] == target[order][:-1])
    following = np.full(len(held), _NEVER)
    following[:-1][same] = times[1:][same]
    unsorted = np.empty_like(following)
    unsorted[order] = following
    return unsorted
