"""How regularly a key comes back, whether it is due, and at which hours and on which days it comes."""

from __future__ import annotations

import difflib
import zoneinfo
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
from polars.exceptions import ComputeError

from features.errors import DeclarationError
from features.family import Key, key_name
from features.history import Batch
from features.timeline import MICROSECONDS, Standing, Timeline
from features.window import Window
from features.windowed import KindFamily, checked_windows

_GATHERED = 2_000_000  # gaps held at once
_HOURS, _DAYS = 24, 7
_NEAR = (-1, 0, 1)  # hours around the example's that count as its own


@dataclass(frozen=True, kw_only=True, eq=False)
class Rhythm(KindFamily):
    """The gaps between a key's successive events of a kind, and its profile over the day and the week.

    - ``{key}__gap_median__{event}``: median of the last ``last`` gaps in seconds; null with fewer than two events.
    - ``{key}__gap_deviation__{event}``: their sample standard deviation in seconds; null with fewer than three events.
    - ``{key}__due__{event}``: time since the last event over the mean of all gaps, (t - last) / ((last - first) / (n - 1)): 1 when a
      key of this pace is due again; null with fewer than two events or a mean gap of 0.
    - ``{key}__{event}_hour_share__{window}``: how much more often than evenly the key's events fall in the example's hour of the day or
      the one before or after, ``(near + 3/24 * prior_events) / (all + prior_events) / (3/24)``; 1 without events, or without preference.
    - ``{key}__{event}_weekday_share__{window}``: the same for the example's day of the week, of 1/7.

    All are Float64. The median of a whole history cannot be kept up to date without sorting it anew; that of the last few gaps can, and
    says how the key behaves now.

    Parameters
    ----------
    zone : str, default "UTC"
        IANA name of the shop's time zone. Timestamps with a zone are converted to it, through every change of the clocks; timestamps
        without one are the shop's wall clock already, and ``zone`` changes nothing.
    last : int, default 10
        How many gaps the median and the deviation look back; at least 2.
    merge_ties : bool, default True
        Whether events of the same key, kind and time are one event, for the three columns of gaps: a basket of ten lines is one visit.
        Else ties are gaps of 0, as they are for ``{key}__gap__{event}``, and ``due`` is ``since`` over that column.
    windows : sequence of str or Window, default ("all",)
        For the profiles.
    prior_events : float, default 10.0
        How many evenly spread events every profile starts from.
    """

    name: ClassVar[str] = "rhythm"

    zone: str = "UTC"
    last: int = 10
    merge_ties: bool = True
    windows: Sequence[str | Window] = ("all",)
    prior_events: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_zone(self.zone)
        if not isinstance(self.last, int) or isinstance(self.last, bool) or self.last < 2:
            raise DeclarationError(f"rhythm: last={self.last!r} must be a whole number of gaps, at least 2")
        if not isinstance(self.prior_events, int | float) or not 0 < self.prior_events < np.inf:
            raise DeclarationError(f"rhythm: prior_events={self.prior_events!r} must be a number above 0")
        if not isinstance(self.merge_ties, bool):
            raise DeclarationError(f"rhythm: merge_ties={self.merge_ties!r} must be true or false")
        if isinstance(self.windows, str):
            raise DeclarationError(f"rhythm: windows must be a list of windows: [{self.windows!r}]")
        self._set(windows=checked_windows(self.windows))

    def columns(self, key: Key) -> list[str]:
        name = key_name(key)
        return [
            column
            for event in self.kinds()
            for column in (
                *(f"{name}__{feature}__{event}" for feature in ("gap_median", "gap_deviation", "due")),
                *(
                    f"{name}__{event}_{profile}_share__{Window.of(window).name}"
                    for profile in ("hour", "weekday")
                    for window in self.windows
                ),
            )
        ]

    def compute(self, key: Key, batch: Batch) -> Iterator[np.ndarray]:
        standing = batch.standing(key)
        zoned = batch.history.zoned
        hours, days = _clock(standing.times, self.zone, zoned)
        cycles = _Cycle.of(hours, _NEAR, _HOURS), _Cycle.of(days, (0,), _DAYS)
        for event in self.kinds():
            visits = _Visits.of(standing.timeline, event, self.merge_ties)
            start, stop = visits.before[standing.start(Window.all())], visits.before[standing.stop]
            median, deviation = _spread(visits.times, start, stop, self.last)
            yield standing.give(median)
            yield standing.give(deviation)
            yield standing.give(_due(visits.times, start, stop, standing.times))
            profiles = _profiles(standing.timeline, event, self.zone, zoned)
            for cycle, profile in zip(cycles, profiles, strict=True):
                yield from self._shares(standing, event, cycle, profile)

    def _shares(self, standing: Standing, event: str, cycle: _Cycle, profile: np.ndarray) -> Iterator[np.ndarray]:
        """Share of the key's events in the example's slots of a day or week over the even share, for each window."""
        stride = len(standing.timeline) + 1
        upto = cycle.count(profile, standing.stop, stride)
        for window in map(Window.of, self.windows):
            near = upto - cycle.count(profile, standing.start(window), stride)
            whole = standing.count(event, window)
            yield standing.give((near + cycle.even * self.prior_events) / (whole + self.prior_events) / cycle.even)


@dataclass(frozen=True)
class _Cycle:
    """A day of hours or a week of days: the slots that count for each example, and the examples in the order of their slots.

    Examples of one slot stand together, sorted by position, so that their binary searches walk through memory in one direction:
    several times faster than in the standing's order.
    """

    slots: tuple[np.ndarray, ...]
    order: np.ndarray
    even: float

    @classmethod
    def of(cls, slots: np.ndarray, shifts: Sequence[int], length: int) -> _Cycle:
        order = np.argsort(slots.astype(np.int8), kind="stable")
        slots = slots[order]
        return cls(tuple((slots + shift) % length for shift in shifts), order, len(shifts) / length)

    def count(self, profile: np.ndarray, positions: np.ndarray, stride: int) -> np.ndarray:
        """Events in the slots of each example and before its position in the timeline."""
        ordered = positions[self.order]
        counts = np.empty(len(ordered), dtype=np.int64)
        counts[self.order] = sum(np.searchsorted(profile, slots * stride + ordered) for slots in self.slots)
        return counts


@dataclass(frozen=True)
class _Visits:
    """Times of the events of a kind in a timeline's order, and how many of them are among its first i events."""

    before: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, timeline: Timeline, event: str, merge_ties: bool) -> _Visits:
        if not merge_ties:
            return cls(timeline.kinds_before(event), timeline.kind_times(event))
        place: Hashable = (Rhythm, event)
        if place not in timeline.kept:
            held = np.flatnonzero(np.diff(timeline.kinds_before(event)))
            codes, times = timeline.codes[held], timeline.times[held]
            first = np.ones(len(held), dtype=bool)
            first[1:] = (codes[1:] != codes[:-1]) | (times[1:] != times[:-1])
            before = np.zeros(len(timeline) + 1, dtype=np.int32)
            before[held[first] + 1] = 1
            # An example is strictly after all events of a tie or after none of them, so that it never stands within one.
            timeline.kept[place] = cls(np.cumsum(before, dtype=np.int32), times[first])
        visits: _Visits = timeline.kept[place]
        return visits


def _spread(times: np.ndarray, start: np.ndarray, stop: np.ndarray, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Median and sample standard deviation, in seconds, of the last gaps between ``times[start:stop]`` of each example."""
    median, deviation = np.full(len(stop), np.nan), np.full(len(stop), np.nan)
    several = np.flatnonzero(stop - start > 1)
    if not len(several):
        return median, deviation
    # Examples come sorted by key and time, so those that saw the same events are neighbours: each history is sorted once.
    fresh = np.diff(stop[several], prepend=-1) != 0
    firsts, ends = start[several][fresh], stop[several][fresh]
    medians, deviations = np.empty(len(ends)), np.empty(len(ends))
    back = np.arange(last)
    for low in range(0, len(ends), max(1, _GATHERED // last)):
        block = slice(low, low + max(1, _GATHERED // last))
        later = ends[block, None] - 1 - back
        missing = later <= firsts[block, None]  # a key's first event closes no gap
        gaps = (times.take(later, mode="clip") - times.take(later - 1, mode="clip")) / MICROSECONDS
        gaps[missing] = np.inf
        gaps.sort(axis=1)
        n = last - missing.sum(axis=1)
        row = np.arange(len(n))
        medians[block] = (gaps[row, (n - 1) // 2] + gaps[row, n // 2]) / 2
        held = np.where(np.arange(last) < n[:, None], gaps, 0.0)
        centred = np.where(np.arange(last) < n[:, None], held - (held.sum(axis=1) / n)[:, None], 0.0)
        deviations[block] = np.where(n > 1, np.sqrt((centred * centred).sum(axis=1) / np.maximum(n - 1, 1)), np.nan)
    which = np.cumsum(fresh) - 1
    median[several], deviation[several] = medians[which], deviations[which]
    return median, deviation


def _due(times: np.ndarray, start: np.ndarray, stop: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Time since the last of ``times[start:stop]`` over their mean gap."""
    due = np.full(len(stop), np.nan)
    several = np.flatnonzero(stop - start > 1)
    first, last = times[start[several]], times[stop[several] - 1]
    apart = last > first
    several, first, last = several[apart], first[apart], last[apart]
    due[several] = (now[several] - last) / ((last - first) / (stop[several] - start[several] - 1))
    return due


def _profiles(timeline: Timeline, event: str, zone: str, zoned: bool) -> tuple[np.ndarray, np.ndarray]:
    """Sorted (hour, position) and (day of the week, position) of the events of a kind, each pair as one integer."""
    place: Hashable = (Rhythm, event, zone)
    if place not in timeline.kept:
        held = np.flatnonzero(np.diff(timeline.kinds_before(event)))
        stride = len(timeline) + 1
        hours, days = _clock(timeline.times[held], zone, zoned)
        timeline.kept[place] = np.sort(hours * stride + held), np.sort(days * stride + held)
    profiles: tuple[np.ndarray, np.ndarray] = timeline.kept[place]
    return profiles


def _clock(times: np.ndarray, zone: str, zoned: bool) -> tuple[np.ndarray, np.ndarray]:
    """Hour of the day (0-23) and day of the week (Monday is 0) of microseconds on the shop's clock, Int64."""
    local = pl.Series(times, dtype=pl.Int64).cast(pl.Datetime("us"))
    if zoned:
        local = local.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    hours = local.dt.hour().cast(pl.Int64).to_numpy()
    return hours, local.dt.weekday().cast(pl.Int64).to_numpy() - 1


def _require_zone(zone: object) -> None:
    """Raise DeclarationError unless the zone is an IANA name that Polars, which converts to it, knows."""
    known = isinstance(zone, str) and zone[:1].isalpha()
    try:
        if known:
            pl.Series([], dtype=pl.Datetime("us", "UTC")).dt.convert_time_zone(str(zone))
    except ComputeError:
        known = False
    if not known:
        names = zoneinfo.available_timezones()  # none on a system without the database
        near = difflib.get_close_matches(str(zone), sorted(names), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DeclarationError(
            f'rhythm: zone={zone!r} is not the IANA name of a time zone such as "Europe/Berlin"{hint}'
        )
