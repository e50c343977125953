"""Exponentially decayed counts and sums: every event counts, half as much for each half-life that it is old."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from features.errors import DeclarationError
from features.family import Declared, Key, key_name
from features.history import Batch
from features.statistics import checked_values
from features.timeline import MICROSECONDS, Timeline
from features.window import Window
from features.windowed import KindFamily


@dataclass(frozen=True, kw_only=True, eq=False)
class Decay(KindFamily):
    """Sums over all events of a kind before ``t``, each weighted ``2 ** (-(t - s) / half_life)`` for its time ``s``.

    - ``{key}__{event}_decayed__{half_life}``: the sum of the weights, Float64; 0 when there are no events.
    - ``{key}__{event}_decayed_{value}__{half_life}``: the weighted sum of a value, nulls counting as 0.

    Only decays, never growths, are computed, so years of log overflow nothing; a weight below 5e-324 is 0.

    Parameters
    ----------
    half_lives : sequence of str, default ("1d", "7d", "30d")
    values : sequence of str, optional
        Numeric columns of the log. Default: the values of the ``EventLog``.
    """

    name: ClassVar[str] = "decay"

    half_lives: Sequence[str | Window] = ("1d", "7d", "30d")
    values: Sequence[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.half_lives, str) or not self.half_lives:
            raise DeclarationError(f"decay: half_lives must be a list such as ['1d', '7d'], not {self.half_lives!r}")
        half_lives = tuple(Window.of(half_life) for half_life in self.half_lives)
        if any(half_life.seconds is None for half_life in half_lives) or len(set(half_lives)) < len(half_lives):
            raise DeclarationError(
                f"decay: half_lives must be different lengths such as '7d', not {[window.name for window in half_lives]!r}"
            )
        self._set(half_lives=half_lives, values=checked_values(self.name, self.values))

    def bound(self, declared: Declared) -> Self:
        filled = dataclasses.replace(self, values=declared.log.values if self.values is None else self.values)
        return super(Decay, filled).bound(declared)

    def value_columns(self) -> tuple[str, ...]:
        return tuple(self.values or ())

    def columns(self, key: Key) -> list[str]:
        return [
            f"{key_name(key)}__{event}_decayed{value and f'_{value}'}__{half_life.name}"
            for event in self.kinds()
            for value in ("", *self.value_columns())
            for half_life in map(Window.of, self.half_lives)
        ]

    def compute(self, key: Key, batch: Batch) -> Iterator[np.ndarray]:
        standing = batch.standing(key)
        for event in self.kinds():
            before = standing.timeline.kinds_before(event)
            times = standing.timeline.kind_times(event)
            last = before[standing.stop] - 1
            seen = last >= before[standing.start(Window.all())]
            if len(times):
                age = np.where(seen, standing.times - times.take(last, mode="clip"), 0)
            for value in (None, *self.value_columns()):
                for half_life in map(Window.of, self.half_lives):
                    if not len(times):
                        yield np.zeros(len(batch))
                        continue
                    upto = _decayed(standing.timeline, event, value, half_life).take(last, mode="clip")
                    yield standing.give(np.where(seen, upto * _weight(age, half_life), 0.0))


def _weight(age: np.ndarray, half_life: Window) -> np.ndarray:
    """Weight of events of an age in microseconds."""
    return np.exp2(age / (-(half_life.seconds or 1) * float(MICROSECONDS)))


def _decayed(timeline: Timeline, event: str, value: str | None, half_life: Window) -> np.ndarray:
    """The decayed sum as of each event of a kind, that event included; kept for further batches.

    A scan by doubling (Hillis and Steele, 1986): when the sums hold each event and the 2^d - 1 before it, adding the sum of the event 2^d
    places before, decayed by the time between, makes them hold 2^(d+1). Events in their key's first 2^d places are done and drop out.
    """
    place = (Decay, event, value, half_life)
    if place not in timeline.kept:
        held = np.diff(timeline.kinds_before(event)) > 0
        codes, times = timeline.codes[held], timeline.kind_times(event)
        worth = np.ones(len(timeline)) if value is None else timeline.values(value).fill_null(0.0).to_numpy()
        sums = worth[held].astype(np.float64)
        first = np.flatnonzero(np.diff(codes, prepend=-1))
        place_in_key = np.arange(len(codes)) - np.repeat(first, np.diff(first, append=len(codes)))
        reach, left = 1, np.flatnonzero(place_in_key >= 1)
        while len(left):
            earlier = left - reach
            sums[left] += sums[earlier] * _weight(times[left] - times[earlier], half_life)
            reach *= 2
            left = left[place_in_key[left] >= reach]
        timeline.kept[place] = sums
    kept: np.ndarray = timeline.kept[place]
    return kept
