"""The session that a key is in: what happened in it before the example."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import polars as pl

from features.errors import ColumnError, DeclarationError
from features.event_log import EventLog
from features.family import Declared, Key, key_name
from features.history import Batch
from features.timeline import MICROSECONDS, Standing, Timeline
from features.window import Window
from features.windowed import KindFamily

_GAP = "30m"
Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True, eq=False)
class Sessions(KindFamily):
    """The current session of a key, strictly before the example.

    Events of a key whose successive gaps are at most ``gap`` are one session. An example at most ``gap`` after the key's last event is
    in that event's session, a later one begins a session that is empty so far. With ``session=True`` a session is what the log's
    session column says, the example's own, and the key's events in it.

    - ``{key}__session_events`` and ``{key}__session_{event}``: events so far, of all kinds that are counted and of each, Int32.
    - ``{key}__session_position``: 1 + the distinct times of those events, Int32: which step of the session the example is, where the
      events of one time, such as the impressions of one page, are one step.
    - ``{key}__session_length``: seconds since the session's first event, Float64; null in an empty session.
    - ``{key}__session_queries``: distinct queries; ``{key}__session_reformulations``: how often a query differs from the query before it
      (null queries are passed over; queries of the same time follow each other as in the log). Int32, for logs with queries.
    - ``{key}__session_items``: distinct items, Int32, for logs with items.
    - ``{key}__session_dwell``: sum of ``dwell``, Float64, where it is declared; nulls count as 0.

    Parameters
    ----------
    gap : str, optional
        Longest time between two events of a session, such as "30m". Default: "30m", unless ``session=True``. Thirty minutes is the
        convention of web analytics (L. D. Catledge and J. E. Pitkow, "Characterizing browsing strategies in the World-Wide Web",
        1995, found 25.5).
    session : bool, default False
        Take the session ids of the log (``EventLog(session=...)``) instead; examples then carry one too.
    query, item : str, optional
        Role or column of the queries and items. Default: those of the log, if it has them.
    dwell : str, optional
        Numeric column of the log, in whatever unit; never negative.
    """

    name: ClassVar[str] = "session"

    gap: str | None = None
    session: bool = False
    query: str | None = None
    item: str | None = None
    dwell: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.session, bool):
            raise DeclarationError(
                f'session: session={self.session!r} must be true or false; the column is declared in EventLog(session="...")'
            )
        if self.session:
            if self.gap is not None:
                raise DeclarationError(
                    f"session: gap={self.gap!r} and session=True contradict each other; leave one out"
                )
            return
        window = Window.of(_GAP if self.gap is None else self.gap)
        if window.seconds is None:
            raise DeclarationError('session: gap="all" must be a length of time such as "30m"')
        self._set(gap=window.name)

    def describes(self, key: Key) -> bool:
        return key == ("user",)

    def over(self, names: EventLog) -> Self:
        query = self.query or ("query" if names.query else None)
        return dataclasses.replace(self, query=query, item=self.item or ("item" if names.item else None))

    def bound(self, declared: Declared) -> Self:
        if self.keys is None and not any(self.describes(key) for key in declared.keys):
            raise DeclarationError(
                'session: there is no key "user" to take over; say whose sessions are meant, such as keys=["session"]'
            )
        return super().bound(declared)

    def log_parts(self) -> tuple[str, ...]:
        return tuple(part for part in (self.query, self.item, "session" if self.session else None) if part)

    def value_columns(self) -> tuple[str, ...]:
        return (self.dwell,) if self.dwell else ()

    def example_parts(self) -> tuple[str, ...]:
        return ("session",) if self.session else ()

    def reads(self, key: Key) -> tuple[Key, ...]:
        return (self._held_by(key),)

    def check_log(self, log: pl.DataFrame) -> None:
        if self.dwell:
            negative = int((log[self.dwell] < 0).sum())
            if negative:
                raise ColumnError(
                    f"column {self.dwell!r} of events is negative in {negative:,} of {log.height:,} rows and is declared as "
                    "dwell, a time spent; set those values to null or mend the clock that they come from"
                )

    def columns(self, key: Key) -> list[str]:
        found = ["events", *self.kinds(), "position", "length"]
        found += ["queries", "reformulations"] if self.query else []
        found += ["items"] if self.item else []
        found += ["dwell"] if self.dwell else []
        return [f"{key_name(key)}__session_{feature}" for feature in found]

    def compute(self, key: Key, batch: Batch) -> Iterator[np.ndarray]:
        standing = batch.standing(self._held_by(key))
        cut = _Cut.of(standing.timeline, self.gap)
        stop, start = standing.stop, cut.start(standing)
        some = stop > start

        def since_start(running: np.ndarray) -> np.ndarray:
            return standing.give(running[stop] - running[start])

        yield standing.give((stop - start).astype(np.int32))
        for event in self.kinds():
            yield since_start(standing.timeline.kinds_before(event))
        yield 1 + since_start(cut.steps)
        yield standing.give(np.where(some, (standing.times - cut.time(start)) / MICROSECONDS, np.nan))
        if self.query:
            column = batch.history.column(self.query)
            yield since_start(cut.distinct(column))
            yield since_start(cut.changes(column))
        if self.item:
            yield since_start(cut.distinct(batch.history.column(self.item)))
        if self.dwell:
            yield standing.give(np.where(some, cut.sums(self.dwell)[stop], 0.0))

    def _held_by(self, key: Key) -> Key:
        """The key whose events are cut into sessions."""
        return (*key, "session") if self.session and "session" not in key else key


@dataclass(frozen=True, eq=False)
class _Cut:
    """A timeline cut into sessions.

    ``ids`` numbers the session of each event, ``firsts`` is where the session of each event starts. The running counts are of shape
    (n_events + 1,), of the first i events; the difference of two of them counts a session, or as much of it as has happened.
    """

    timeline: Timeline
    gap: int | None
    ids: np.ndarray
    firsts: np.ndarray

    @classmethod
    def of(cls, timeline: Timeline, gap: str | None) -> _Cut:
        """Cut where nothing happens for longer than a gap, or, without one, nowhere within a key."""
        place: Hashable = (Sessions, gap)
        if place not in timeline.kept:
            seconds = None if gap is None else Window.of(gap).seconds
            length = None if seconds is None else seconds * MICROSECONDS
            begins = np.diff(timeline.codes, prepend=-1) != 0
            if length is not None:
                begins[1:] |= np.diff(timeline.times) > length
            ids = np.cumsum(begins) - 1
            timeline.kept[place] = cls(timeline, length, ids, np.flatnonzero(begins)[ids])
        cut: _Cut = timeline.kept[place]
        return cut

    def start(self, standing: Standing) -> np.ndarray:
        """Position of the first event of each example's session; ``stop`` where that is empty."""
        first = standing.start(Window.all())
        if self.gap is None or not len(self.firsts):
            return first
        last = np.maximum(standing.stop - 1, 0)
        inside = (standing.stop > first) & (standing.times - self.timeline.times[last] <= self.gap)
        return np.where(inside, self.firsts[last], standing.stop)

    def time(self, positions: np.ndarray) -> np.ndarray:
        """Times of events; they mean nothing behind the last one."""
        times = self.timeline.times
        return times.take(positions, mode="clip") if len(times) else np.zeros(len(positions), dtype=np.int64)

    @property
    def steps(self) -> np.ndarray:
        """Distinct times."""
        return self._kept("steps", lambda: _running(self._fresh(self.timeline.times)))

    def distinct(self, column: str) -> np.ndarray:
        """Distinct values of a column."""
        return self._kept(("distinct", column), lambda: self._distinct(column))

    def changes(self, column: str) -> np.ndarray:
        """Values of a column that differ from the value before them in the session."""
        return self._kept(("changes", column), lambda: self._changes(column))

    def sums(self, column: str) -> np.ndarray:
        """Sum of a column, which begins anew with each session, so that no session loses digits to another."""
        return self._kept(("sums", column), lambda: self._sums(column))

    def _distinct(self, column: str) -> np.ndarray:
        held, values = self._values(column)
        order = np.lexsort((values, self.ids[held]))  # stable: within session and value the earliest event comes first
        ids, values = self.ids[held][order], values[order]
        flags = np.zeros(len(self.ids), dtype=bool)
        first = np.ones(len(held), dtype=bool)
        first[1:] = (np.diff(ids) != 0) | (np.diff(values) != 0)
        flags[held[order[first]]] = True
        return _running(flags)

    def _changes(self, column: str) -> np.ndarray:
        held, values = self._values(column)
        flags = np.zeros(len(self.ids), dtype=bool)
        flags[held[1:]] = (np.diff(values) != 0) & (np.diff(self.ids[held]) == 0)
        return _running(flags)

    def _sums(self, column: str) -> np.ndarray:
        frame = pl.DataFrame({"id": self.ids, "value": self.timeline.values(column).fill_null(0.0)})
        return np.concatenate([[0.0], frame.select(pl.col("value").cum_sum().over("id"))["value"].to_numpy()])

    def _values(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the events that have a value, and a code of each value."""
        values = self.timeline.values(column)
        # As in Distinct: hashing strings to codes is several times faster than ranking them.
        values = values.cast(pl.Categorical).to_physical() if values.dtype == pl.String else values.rank("dense")
        return np.flatnonzero(values.is_not_null().to_numpy()), values.drop_nulls().to_numpy().astype(np.int64)

    def _fresh(self, values: np.ndarray) -> np.ndarray:
        """Whether each event is the first of its session with its value, where equal values are neighbours."""
        fresh = np.ones(len(values), dtype=bool)
        fresh[1:] = (np.diff(values) != 0) | (np.diff(self.ids) != 0)
        return fresh

    def _kept(self, what: Any, make: Callable[[], Made]) -> Made:
        place: Hashable = (Sessions, self.gap, what)
        if place not in self.timeline.kept:
            self.timeline.kept[place] = make()
        made: Made = self.timeline.kept[place]
        return made


def _running(flags: np.ndarray) -> np.ndarray:
    """How many flags are set among the first i, Int32 of shape (n + 1,)."""
    return np.concatenate([np.zeros(1, dtype=np.int32), np.cumsum(flags, dtype=np.int32)])
