"""What is audited: any computation of features from examples and events, asked in the ways that the checks need."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from features.errors import ColumnError
from features.event_log import TIME, key_values, microseconds
from features.frames import Frame, is_pandas, require_columns, require_rows, to_polars
from features.timeline import MICROSECONDS
from features.vectors import VectorFamily, VectorTable
from features.window import Window
from features.windowed import SpanFamily

if TYPE_CHECKING:
    from features.behavior import BehaviorFeatures

EVENTS_READ = 20_000_000
"""Events that all cut logs of one recomputation may hold together."""
CUTS = 5
"""Cut logs that are read whatever they hold."""


class Subject(ABC):
    """Features of some examples from a log.

    Parameters
    ----------
    examples : polars.DataFrame
    timestamp : str
        The column of their time.
    keys : sequence of str
        Other columns that examples and events have in common.
    times : numpy.ndarray of int64
        The time that each example is as of, in microseconds.
    log : polars.DataFrame
        The events, with ``__time`` in microseconds.
    """

    def __init__(
        self, examples: pl.DataFrame, timestamp: str, keys: Sequence[str], times: np.ndarray, log: pl.DataFrame
    ) -> None:
        self.examples = examples
        self.timestamp = timestamp
        self.keys = tuple(keys)
        self.times = times
        self.log = log

    @abstractmethod
    def values(self, later: int = 0) -> pl.DataFrame:
        """The features of all examples, Float64, with every event moved later by so many microseconds."""

    @abstractmethod
    def before(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, pl.DataFrame]]:
        """The features of some examples, each from the events before its own time alone.

        Yields
        ------
        rows, features
            In parts, of some rows and some of the columns. Parts are left out when the cut logs would hold more events than
            ``EVENTS_READ``; the first rows come first.
        """

    @abstractmethod
    def counts(self) -> list[str]:
        """Columns that count events of all time before the example."""

    @abstractmethod
    def longest_window(self) -> int | None:
        """Microseconds; None where no trailing window is known."""

    def tied(self) -> np.ndarray:
        """Whether some event that shares a key's column with the example has the very time that the example is as of."""
        found = np.zeros(len(self.times), dtype=bool)
        asked = self.examples.select(self.keys).with_columns(pl.Series(TIME, self.times)).with_row_index("row")
        for name in self.keys:
            if asked[name].dtype == self.log[name].dtype:
                rows = asked.join(self.log.select(name, TIME), on=[name, TIME], how="semi")["row"].to_numpy()
                found[rows] = True
        return found

    def name(self, row: int) -> str:
        """A row as a user finds it again."""
        shown = [f"{key}={self.examples[key][row]!r}" for key in self.keys]
        return f"row {row} ({', '.join([*shown, f'{self.timestamp}={self.examples[self.timestamp][row]}'])})"


class BehaviorSubject(Subject):
    """Fitted ``BehaviorFeatures``; what they learned from the log stays.

    Families whose features need the histories of some keys alone are recomputed from those, which is what ``Family.reads`` promises; a
    family that breaks the promise differs, too.
    """

    def __init__(self, behavior: BehaviorFeatures, examples: pl.DataFrame) -> None:
        frame = behavior.check_examples(examples)
        keys = behavior.key_columns()
        keyed = frame.with_columns(key_values(frame[name], "examples") for name in keys)
        super().__init__(keyed, behavior.log.timestamp, keys, behavior.times_of(frame), behavior.log_)
        self._behavior = _with_tables(behavior, keyed)

    def values(self, later: int = 0) -> pl.DataFrame:
        moved = self._behavior.with_log(self.log.with_columns(pl.col(TIME) + later)) if later else self._behavior
        return numbers(moved.compute(self.examples), "the features")

    def before(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, pl.DataFrame]]:
        reads: dict[int, set[Any]] = {}
        for key, family in self._behavior.plan():
            reads.setdefault(id(family), set()).add(family.reads(key))
        narrow = [family for family in self._behavior.families_ if None not in reads.get(id(family), {None})]
        keys = sorted({tuple(key) for family in narrow for found in reads[id(family)] for key in found})
        whole = [family for family in self._behavior.families_ if family not in narrow and id(family) in reads]
        for families in (narrow, whole):
            part = copy.copy(self._behavior)
            part.families_ = tuple(families)
            read = 0
            for cut, (time, mine) in enumerate(_by_time(rows, self.times) if families else ()):
                log = self.log
                if families is narrow:
                    asked = self.examples[mine]
                    held = [self._behavior.history_.timeline(key).rows_of(asked) for key in keys]
                    log = self.log[np.unique(np.concatenate(held))]
                log = log.filter(pl.col(TIME) < time)
                read += log.height
                if cut >= CUTS and read > EVENTS_READ:
                    break
                yield mine, numbers(part.with_log(log).compute(self.examples[mine]), "the features")

    def counts(self) -> list[str]:
        named = {"count", "distinct count"}
        return [c.name for c in self._behavior.columns() if c.family in named and c.name.endswith("__all")]

    def longest_window(self) -> int | None:
        windows = [Window.of(window) for window in self._behavior.windows]
        for family in self._behavior.families_:
            windows += family.spans() if isinstance(family, SpanFamily) else ()
        return max((w.seconds * MICROSECONDS for w in windows if w.seconds is not None), default=None)


class TransformerSubject(Subject):
    """Anything with ``transform(examples, events=...)``; it is asked with frames of the kind that it was given with.

    Parameters
    ----------
    transformer : object
    events, examples : frame
    timestamp : str
        The column of the time, in both.

    Attributes
    ----------
    given : polars.DataFrame
        The examples with all their columns.
    """

    def __init__(self, transformer: Any, events: Frame, examples: Frame, timestamp: str) -> None:
        self._transformer = transformer
        self._kind_of_events, self._kind_of_examples = events, examples
        self._events, frame = to_polars(events, "events"), to_polars(examples, "examples")
        for one, what in ((self._events, "events"), (frame, "examples")):
            require_columns(one, [timestamp], what)
            require_rows(one, what)
        keys = [
            name
            for name in frame.columns
            if name != timestamp
            and name in self._events.columns
            and _is_key(frame[name])
            and _is_key(self._events[name])
        ]
        log = self._events.select(
            *(key_values(self._events[name], "events") for name in keys),
            microseconds(self._events[timestamp], "events").alias(TIME),
        )
        keyed = frame.with_columns(key_values(frame[name], "examples") for name in keys)
        super().__init__(keyed, timestamp, keys, microseconds(frame[timestamp], "examples").to_numpy(), log)
        self.given = frame

    def values(self, later: int = 0) -> pl.DataFrame:
        return self._ask(self.given, self._later(later) if later else self._events)

    def with_examples(self, examples: pl.DataFrame) -> pl.DataFrame:
        """The features of other examples."""
        return self._ask(examples, self._events)

    def before(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, pl.DataFrame]]:
        read = 0
        for cut, (time, mine) in enumerate(_by_time(rows, self.times)):
            log = self._events.filter(self.log[TIME] < time)
            read += log.height
            if cut >= CUTS and read > EVENTS_READ:
                break
            if log.height:  # few transformers take a log without events
                yield mine, self._ask(self.given[mine], log)

    def counts(self) -> list[str]:
        return []  # which columns count, and from when on, only their author knows

    def longest_window(self) -> None:
        return None

    def _later(self, microseconds_later: int) -> pl.DataFrame:
        time = pl.col(self.timestamp)
        zone = getattr(self._events[self.timestamp].dtype, "time_zone", None)
        return self._events.with_columns(
            time.cast(pl.Datetime("us", zone)) + pl.duration(microseconds=microseconds_later)
        )

    def _ask(self, examples: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
        asked = _in_kind(examples, self._kind_of_examples)
        given = to_polars(
            self._transformer.transform(asked, events=_in_kind(events, self._kind_of_events)),
            "the transformer's answer",
        )
        if given.height != examples.height:
            raise ColumnError(f"the transformer gave {given.height:,} rows for {examples.height:,} examples")
        return numbers(given, "the transformer's answer")


def numbers(frame: pl.DataFrame, what: str) -> pl.DataFrame:
    """All columns as Float64, NaN for null: numbers, booleans, and times as microseconds."""
    for column in frame:
        if not (column.dtype.is_numeric() or column.dtype.is_temporal() or column.dtype in (pl.Boolean, pl.Null)):
            raise ColumnError(
                f"column {column.name!r} of {what} must be numeric, not {column.dtype}; cast it or drop it"
            )
    return frame.select((pl.all().to_physical()).cast(pl.Float64).fill_null(float("nan")))


def _by_time(rows: np.ndarray, times: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Rows by time, the time of the first row first."""
    distinct, first, of_row = np.unique(times[rows], return_index=True, return_inverse=True)
    for place in np.argsort(first):
        yield int(distinct[place]), rows[of_row == place]


def _with_tables(behavior: BehaviorFeatures, examples: pl.DataFrame) -> BehaviorFeatures:
    """The features with every vector that log and examples need looked up once: a cut log must not encode its texts again."""
    families = []
    for family in behavior.families_:
        if isinstance(family, VectorFamily) and not isinstance(family.vectors, VectorTable):
            column = behavior.history_.column(family.part)
            held = [frame[column] for frame in (behavior.log_, examples) if column in frame.columns]
            held = [ids for ids in held if ids.dtype != pl.Null]
            if len({ids.dtype for ids in held}) == 1:  # of different dtypes the family itself says what is wrong
                ids = pl.concat(held).drop_nulls().unique(maintain_order=True)
                family = family.with_vectors(VectorTable(ids, family.source(behavior.history_.vectors).of(ids)))
        families.append(family)
    other = copy.copy(behavior)
    other.families_ = tuple(families)
    return other


def _is_key(column: pl.Series) -> bool:
    return column.dtype.is_integer() or column.dtype in (pl.String, pl.Categorical, pl.Enum)


def _in_kind(frame: pl.DataFrame, like: Frame) -> Frame:
    if isinstance(like, pa.Table):
        return frame.to_arrow()
    return frame.to_pandas() if is_pandas(like) else frame
