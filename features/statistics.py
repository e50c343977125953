"""Mean, least and greatest value of a key's events in trailing windows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Self

import numpy as np

from features.errors import DeclarationError
from features.family import Declared, Key, key_name
from features.frames import closest
from features.history import Batch
from features.ranges import range_extremes, range_sums
from features.timeline import Timeline
from features.windowed import WindowedFamily


def _means(values: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    counts = stops - starts
    return np.where(counts > 0, range_sums(values, starts, stops) / np.maximum(counts, 1), np.nan)


_STATISTICS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "mean": _means,
    "min": partial(range_extremes, np.minimum),
    "max": partial(range_extremes, np.maximum),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics(WindowedFamily):
    """``{key}__{event}_{mean|min|max}_{value}__{window}``: of a value over the events of a kind in the window, Float64.

    Events whose value is null do not count; null when no event is left. A window costs log2 of its longest range in passes over the
    log (``features.ranges``), and a mean loses no digits to values outside its window.

    Parameters
    ----------
    values : sequence of str, optional
        Numeric columns of the log. Default: the values of the ``EventLog``.
    statistics : sequence of str, default ("mean", "min", "max")
    """

    name: ClassVar[str] = "statistic"

    values: Sequence[str] | None = None
    statistics: Sequence[str] = ("mean", "min", "max")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(values=checked_values(self.name, self.values))
        if isinstance(self.statistics, str) or not self.statistics or len(set(self.statistics)) < len(self.statistics):
            raise DeclarationError(
                f"statistic: statistics must be a list of different statistics, not {self.statistics!r}"
            )
        for statistic in self.statistics:
            if statistic not in _STATISTICS:
                raise DeclarationError(
                    f"statistic: there is no statistic {statistic!r}{closest(statistic, _STATISTICS)}"
                )
        self._set(statistics=tuple(self.statistics))

    def bound(self, declared: Declared) -> Self:
        filled = dataclasses.replace(self, values=declared.log.values if self.values is None else self.values)
        if not filled.values:
            raise DeclarationError('statistic: name the values, such as values=["price"]; the EventLog has none either')
        return super(Statistics, filled).bound(declared)

    def value_columns(self) -> tuple[str, ...]:
        return tuple(self.values or ())

    def columns(self, key: Key) -> list[str]:
        return [
            f"{key_name(key)}__{event}_{statistic}_{value}__{window.name}"
            for event in self.kinds()
            for value in self.value_columns()
            for statistic in self.statistics
            for window in self.spans()
        ]

    def compute(self, key: Key, batch: Batch) -> Iterator[np.ndarray]:
        standing = batch.standing(key)
        for event in self.kinds():
            for value in self.value_columns():
                before, held = _held(standing.timeline, event, value)
                stop = before[standing.stop]
                for statistic in self.statistics:
                    for window in self.spans():
                        start = before[standing.start(window)]
                        yield standing.give(_STATISTICS[statistic](held, start, stop))


def checked_values(family: str, values: Sequence[str] | None) -> tuple[str, ...] | None:
    """Different columns of values, or None for those of the log."""
    if values is None:
        return None
    if isinstance(values, str) or len(set(values)) < len(values):
        raise DeclarationError(f"{family}: values must be a list of different columns, not {values!r}")
    return tuple(values)


def _held(timeline: Timeline, event: str, value: str) -> tuple[np.ndarray, np.ndarray]:
    """How many events of a kind with a value lie before each event, and those values; kept for further batches."""
    place = (Statistics, event, value)
    if place not in timeline.kept:
        column = timeline.values(value)
        held = (np.diff(timeline.kinds_before(event)) > 0) & column.is_not_null().to_numpy()
        before = np.concatenate([[0], np.cumsum(held)]).astype(np.int32)
        timeline.kept[place] = before, column.fill_null(0.0).to_numpy()[held]
    kept: tuple[np.ndarray, np.ndarray] = timeline.kept[place]
    return kept
