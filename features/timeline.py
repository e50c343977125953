"""The as-of rule, once: events sorted by key and time, and where each example stands among them.

Every behaviour feature reads a log through these two classes. Times become ranks among the log's distinct times, a key and a
rank become one integer, and "how many events of this key come strictly before t" becomes a merge of two sorted lists.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from features.encoded import UNKNOWN, EncodedLog
from features.errors import ColumnError
from features.order import counted_before, running_sums, stable_order
from features.window import Window

MICROSECONDS = 1_000_000
_WORTH_THREADS = (
    200_000  # examples; below, threads cost more than they save, above all where others score at the same time
)


@dataclass(frozen=True)
class Moments:
    """The times of a batch of examples: microseconds, Int64 of shape (n_examples,)."""

    times: np.ndarray

    @cached_property
    def order(self) -> np.ndarray:
        """Examples sorted by time."""
        return stable_order(self.times)

    @cached_property
    def _sorted(self) -> np.ndarray:
        return self.times.take(self.order)

    def sorted_ranks(self, clock: np.ndarray, window: Window | None = None) -> np.ndarray:
        """Number of distinct log times strictly before each example, or before the start of its window; sorted by time."""
        if window is not None and window.seconds is None:
            return np.zeros(len(self.times), dtype=np.int64)
        shift = 0 if window is None or window.seconds is None else window.seconds * MICROSECONDS
        return counted_before(clock, self._sorted - shift)

    def ranks(self, clock: np.ndarray, window: Window | None = None) -> np.ndarray:
        """``sorted_ranks`` in the examples' order."""
        ranks = np.empty(len(self.times), dtype=np.int64)
        ranks[self.order] = self.sorted_ranks(clock, window)
        return ranks


class Timeline:
    """All events of one key (a column or a tuple of columns), sorted by key and then by time.

    Parameters
    ----------
    log : polars.DataFrame
        What ``EventLog.read`` returned: sorted by time.
    columns : sequence of str
        Columns of the key; none for all events as one key. Events with a null in any of them are left out.
    encoded : EncodedLog, optional
        The same log, where other timelines share its numbers.
    """

    def __init__(self, log: pl.DataFrame, columns: Sequence[str], encoded: EncodedLog | None = None) -> None:
        self.columns = tuple(columns)
        self._log = log
        self._encoded = encoded or EncodedLog(log)
        if self.columns:
            ids, self._bases = self._ids_of([self._encoded.column(name).codes for name in self.columns])
            known = ids != UNKNOWN
            rows = None if known.all() else np.flatnonzero(known)
            ids = ids if rows is None else ids[rows]
            by_key = stable_order(ids)
            self.rows = by_key if rows is None else rows.take(by_key)  # row of the log for each event, in key order
            ids = ids.take(by_key)
            first = np.ones(len(ids), dtype=bool)
            np.not_equal(ids[1:], ids[:-1], out=first[1:])
            self.codes = np.cumsum(first, dtype=np.int64) - 1
            self._firsts = np.flatnonzero(first)
            self._ids = ids[self._firsts]
        else:
            self.rows = np.arange(log.height)
            self.codes = np.zeros(log.height, dtype=np.int64)
            self._firsts = np.zeros(min(log.height, 1), dtype=np.int64)
        self._kinds: dict[str, np.ndarray] = {}
        self._kind_times: dict[str, np.ndarray] = {}
        self._sums: dict[tuple[str, str], np.ndarray] = {}
        self.kept: dict[
            Hashable, Any
        ] = {}  # what a family computes from the log alone, for further batches of examples

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def times(self) -> np.ndarray:
        """Times of the events, in key order."""
        return self._encoded.times.take(self.rows)

    @property
    def clock(self) -> np.ndarray:
        """The distinct times of the log, sorted."""
        return self._encoded.clock

    @property
    def stride(self) -> int:
        """Places of a code: one more than there are distinct times."""
        return len(self.clock) + 1

    @cached_property
    def places(self) -> np.ndarray:
        """``codes * stride`` plus the rank of the event's time, sorted."""
        return self.codes * self.stride + self._encoded.ranks.take(self.rows)

    @property
    def keys(self) -> pl.DataFrame:
        """The key's columns, a row a code, in the order of the codes."""
        return self._log.select(self.columns)[self.rows[self._firsts]]

    def codes_of(self, keys: pl.DataFrame) -> np.ndarray:
        """Code of each key, Int64; -1 for a key without events."""
        return self._find(keys, {})

    @cached_property
    def first_times(self) -> np.ndarray:
        """Time of each code's first event."""
        return self.times[self._firsts]

    @property
    def ends(self) -> np.ndarray:
        """Position behind each code's last event."""
        return np.append(self._firsts[1:], len(self)) if len(self) else self._firsts

    def values(self, column: str) -> pl.Series:
        """A column of the log in key order."""
        return self._log[column].gather(self.rows)

    def value_codes(self, column: str) -> np.ndarray:
        """A column of the log in key order as whole numbers, a number a distinct value; -1 for nulls."""
        return self._encoded.column(column).codes.take(self.rows)

    def kinds_before(self, kind: str) -> np.ndarray:
        """Events of a kind among the first i of the timeline, Int32 of shape (n_events + 1,)."""
        if kind not in self._kinds:
            matches = self._encoded.is_kind(kind).take(self.rows)
            before = np.zeros(len(matches) + 1, dtype=np.int32)
            np.cumsum(matches, out=before[1:])
            self._kinds[kind] = before
        return self._kinds[kind]

    def of_kinds(self, kinds: Sequence[str]) -> np.ndarray:
        """Whether each event is of one of the kinds, in key order."""
        matches = np.zeros(len(self), dtype=bool)
        for kind in kinds:
            matches |= np.diff(self.kinds_before(kind)) > 0
        return matches

    def kind_times(self, kind: str) -> np.ndarray:
        """Times of the events of a kind, in key order."""
        if kind not in self._kind_times:
            self._kind_times[kind] = self.times[self._of_kind(kind)]
        return self._kind_times[kind]

    def running_sum(self, kind: str, value: str) -> np.ndarray:
        """Sum of a value over a key's events of a kind, up to and with its event i - 1; Float64 of shape (n_events + 1,)."""
        before = self.kinds_before(kind)
        met = before[1:] > before[self._firsts].take(self.codes)
        return np.concatenate([[0.0], np.where(met, self.kind_sums(kind, value).take(before[1:]), 0.0)])

    def kind_sums(self, kind: str, value: str) -> np.ndarray:
        """The same by events of the kind, up to and with the timeline's i - 1 of them; Float64 of shape (n_of_kind + 1,).

        The sum restarts at each key, so that no key loses digits to another.
        """
        if (kind, value) not in self._sums:
            of_kind = self._of_kind(kind)
            added = self._log[value].gather(self.rows[of_kind]).fill_null(0.0).to_numpy()
            self._sums[kind, value] = np.concatenate([[0.0], running_sums(self.codes[of_kind], added)])
        return self._sums[kind, value]

    def _of_kind(self, kind: str) -> np.ndarray:
        before = self.kinds_before(kind)
        return np.flatnonzero(before[1:] > before[:-1])

    def stand(
        self, examples: pl.DataFrame, moments: Moments, found: MutableMapping[str, np.ndarray] | None = None
    ) -> Standing:
        """Find where each example stands.

        Parameters
        ----------
        examples : polars.DataFrame
            With the key's columns, in the dtypes of the log's.
        moments : Moments
            The examples' times.
        found : mapping from column to codes, optional
            Where these examples' columns are kept as the log's numbers, for other timelines of the same log.
        """
        return Standing(self, self._find(examples, {} if found is None else found), moments)

    def rows_of(self, examples: pl.DataFrame) -> np.ndarray:
        """Rows of the log with any of the examples' keys."""
        wanted = np.unique(self._find(examples, {}))
        wanted = wanted[wanted >= 0]
        starts = self._firsts[wanted]
        lengths = self.ends[wanted] - starts
        offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return self.rows[np.repeat(starts, lengths) + offsets]

    def _ids_of(self, parts: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """One number for each combination of the parts' codes, -1 where any is unknown; and the tables that make it so.

        Where the product of the parts' sizes would overflow, what stands so far is numbered anew by rank.
        """
        ids, size, bases = parts[0].astype(np.int64), len(self._encoded.column(self.columns[0])), []
        for name, part in zip(self.columns[1:], parts[1:], strict=True):
            more = len(self._encoded.column(name))
            base = np.unique(ids[ids != UNKNOWN]) if size * max(more, 1) >= 2**62 else np.zeros(0, dtype=np.int64)
            ids, size = _combined(ids, base, part, more), (len(base) or size) * more
            bases.append(base)
        return ids, bases

    def _find(self, examples: pl.DataFrame, found: MutableMapping[str, np.ndarray]) -> np.ndarray:
        """Code of each example's key; -1 for a key without events."""
        if not self.columns:
            return np.zeros(examples.height, dtype=np.int64)
        for name in self.columns:
            asked, known = examples[name].dtype, self._log[name].dtype
            if asked != known and pl.Null not in (asked, known) and len(self):
                raise ColumnError(f"key column {name!r} is {asked} in examples and {known} in events; cast one of them")
            if name not in found:
                found[name] = self._encoded.column(name).find(examples[name])
        ids = found[self.columns[0]].astype(np.int64)
        for name, base in zip(self.columns[1:], self._bases, strict=True):
            ids = _combined(ids, base, found[name], len(self._encoded.column(name)))
        return _places_of(ids, self._ids)


class Standing:
    """A batch of examples against a timeline, held sorted by key and time; ``give`` returns results to the examples' order."""

    def __init__(self, timeline: Timeline, codes: np.ndarray, moments: Moments) -> None:
        self.timeline = timeline
        self._moments = moments
        by_time = codes.take(moments.order)
        self._by_key = stable_order(by_time)  # of the examples sorted by time
        self._order = moments.order.take(self._by_key)
        self.codes = by_time.take(self._by_key)  # of the examples' keys, in this standing's order; -1 without events
        self._n_unknown = int(np.searchsorted(self.codes, 0))
        self._starts: dict[Window, np.ndarray] = {}
        self._before: dict[tuple[str, Window | None], np.ndarray] = {}

    def _search(self, window: Window | None = None) -> np.ndarray:
        ranks = self._moments.sorted_ranks(self.timeline.clock, window)
        needles = self.codes * self.timeline.stride + ranks.take(self._by_key)
        # An example of an unknown key falls before the first event, whatever its time.
        needles[: self._n_unknown] = 0
        return counted_before(self.timeline.places, needles)

    @cached_property
    def stop(self) -> np.ndarray:
        """Position in the timeline behind the last event that is strictly before each example."""
        return self._search()

    def locate(self, windows: Sequence[Window]) -> None:
        """Find the starts of several windows at once, on all cores where that is worth it: the searches release the interpreter."""
        threads = os.cpu_count() if len(self._order) >= _WORTH_THREADS else 1
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(self.start, windows))

    def start(self, window: Window) -> np.ndarray:
        """Position of the first event in the window of each example; equal to ``stop`` where there is none."""
        if window not in self._starts:
            self._starts[window] = self._search(window)
        return self._starts[window]

    @cached_property
    def times(self) -> np.ndarray:
        """Times of the examples, in this standing's order."""
        return self._moments.times.take(self._order)

    def count(self, kind: str, window: Window) -> np.ndarray:
        """Events of a kind in the window, Int32, in this standing's order."""
        return self.before(kind) - self.before(kind, window)

    def before(self, kind: str, window: Window | None = None) -> np.ndarray:
        """Events of a kind in the timeline before each example, or before its window; Int32, in this standing's order."""
        if (kind, window) not in self._before:
            positions = self.stop if window is None else self.start(window)
            self._before[kind, window] = self.timeline.kinds_before(kind).take(positions)
        return self._before[kind, window]

    def give(self, values: np.ndarray) -> np.ndarray:
        """Values from this standing's order in the examples' order."""
        given = np.empty_like(values)
        given[self._order] = values
        return given


def _combined(ids: np.ndarray, base: np.ndarray, part: np.ndarray, size: int) -> np.ndarray:
    """Numbers of the combinations of ids, or of their ranks in ``base`` where it holds any, with the codes of one more part."""
    ranks = _places_of(ids, base) if len(base) else ids
    return np.where((ranks == UNKNOWN) | (part == UNKNOWN), UNKNOWN, ranks * size + part)


def _places_of(asked: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Place of each number in sorted, distinct ones; -1 for those that are not there."""
    if not len(known):
        return np.full(len(asked), UNKNOWN, dtype=np.int64)
    if known[-1] < 4 * len(known) + 1_000:  # a table of all numbers is small
        table = np.full(known[-1] + 2, UNKNOWN, dtype=np.int64)
        table[known] = np.arange(len(known))
        return table[np.where(asked > known[-1], UNKNOWN, asked)]  # the table ends with -1, which -1 reads
    places = pc.index_in(pa.array(asked), value_set=pa.array(known)).fill_null(UNKNOWN)
    return places.to_numpy().astype(np.int64)
