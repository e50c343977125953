"""The as-of rule, once: events sorted by key and time, and where each example stands among them.

Every behaviour feature reads a log through these two classes. Times become ranks among the log's distinct times, a key and a
rank become one integer, and "how many events of this key come strictly before t" becomes one binary search over sorted needles.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from features.errors import ColumnError
from features.event_log import KIND, TIME
from features.window import Window

MICROSECONDS = 1_000_000
_WORTH_THREADS = (
    200_000  # examples; below, threads cost more than they save, above all where others score at the same time
)
_ZERO = np.zeros(1, dtype=np.int32)


@dataclass(frozen=True)
class Moments:
    """The times of a batch of examples: microseconds, Int64 of shape (n_examples,)."""

    times: np.ndarray

    @cached_property
    def order(self) -> np.ndarray:
        """Examples sorted by time; ties in any order, since results go back to their rows."""
        return pl.Series(self.times).arg_sort().to_numpy()

    @cached_property
    def _sorted(self) -> np.ndarray:
        return self.times[self.order]

    def ranks(self, clock: np.ndarray, window: Window | None = None) -> np.ndarray:
        """Number of distinct log times strictly before each example, or before the start of its window."""
        if window is not None and window.seconds is None:
            return np.zeros(len(self.times), dtype=np.int64)
        shift = 0 if window is None or window.seconds is None else window.seconds * MICROSECONDS
        ranks = np.empty(len(self.times), dtype=np.int64)
        ranks[self.order] = np.searchsorted(clock, self._sorted - shift, side="left")
        return ranks


class Timeline:
    """All events of one key (a column or a tuple of columns), sorted by key and then by time.

    Parameters
    ----------
    log : polars.DataFrame
        What ``EventLog.read`` returned: sorted by time.
    columns : sequence of str
        Columns of the key; none for all events as one key. Events with a null in any of them are left out.
    """

    def __init__(self, log: pl.DataFrame, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        if self.columns:
            keyed = log.select(columns).with_row_index("row").drop_nulls(self.columns)
            self._codes = keyed.select(self.columns).unique(maintain_order=True).with_row_index("code")
            codes = keyed.join(self._codes, on=self.columns, how="left", maintain_order="left")["code"].to_numpy()
            by_key = np.argsort(codes, kind="stable")
            self.rows = keyed["row"].to_numpy()[by_key]  # row of the log for each event, in key order
            self.codes = codes[by_key].astype(np.int64)
        else:
            self.rows = np.arange(log.height)
            self.codes = np.zeros(log.height, dtype=np.int64)
        self.times = log[TIME].to_numpy()[self.rows]
        self.clock = log[TIME].unique().sort().to_numpy()
        self._stride = len(self.clock) + 1
        self._places = self.codes * self._stride + np.searchsorted(self.clock, log[TIME].to_numpy())[self.rows]
        self._log = log
        self._kinds: dict[str, np.ndarray] = {}
        self._kind_times: dict[str, np.ndarray] = {}
        self._sums: dict[tuple[str, str], np.ndarray] = {}
        self.kept: dict[
            Hashable, Any
        ] = {}  # what a family computes from the log alone, for further batches of examples

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def keys(self) -> pl.DataFrame:
        """The key's columns, a row a code, in the order of the codes."""
        return self._codes.drop("code")

    def codes_of(self, keys: pl.DataFrame) -> np.ndarray:
        """Code of each key, Int64; -1 for a key without events."""
        return self._find(keys)

    @cached_property
    def first_times(self) -> np.ndarray:
        """Time of each code's first event."""
        return self.times[np.flatnonzero(np.diff(self.codes, prepend=-1))]

    def values(self, column: str) -> pl.Series:
        """A column of the log in key order."""
        return self._log[column].gather(self.rows)

    def kinds_before(self, kind: str) -> np.ndarray:
        """Events of a kind among the first i of the timeline, Int32 of shape (n_events + 1,)."""
        if kind not in self._kinds:
            matches = (self._log[KIND] == kind).fill_null(False).to_numpy()[self.rows]
            self._kinds[kind] = np.concatenate([_ZERO, np.cumsum(matches, dtype=np.int32)])
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
            before = self.kinds_before(kind)
            self._kind_times[kind] = self.times[before[1:] > before[:-1]]
        return self._kind_times[kind]

    def running_sum(self, kind: str, value: str) -> np.ndarray:
        """Sum of a value over a key's events of a kind, up to and with its event i - 1; Float64 of shape (n_events + 1,).

        The sum restarts at each key, so that no key loses digits to another.
        """
        if (kind, value) not in self._sums:
            matches = np.diff(self.kinds_before(kind)) > 0
            added = self.values(value).fill_null(0.0).to_numpy()
            column = pl.DataFrame({"code": self.codes, "value": np.where(matches, added, 0.0)})
            running = column.select(pl.col("value").cum_sum().over("code"))["value"].to_numpy()
            self._sums[kind, value] = np.concatenate([[0.0], running])
        return self._sums[kind, value]

    def stand(self, examples: pl.DataFrame, moments: Moments) -> Standing:
        """Find where each example stands.

        Parameters
        ----------
        examples : polars.DataFrame
            With the key's columns, in the dtypes of the log's.
        moments : Moments
            The examples' times.
        """
        return Standing(self, self._find(examples), moments)

    def rows_of(self, examples: pl.DataFrame) -> np.ndarray:
        """Rows of the log with any of the examples' keys."""
        wanted = np.unique(self._find(examples))
        wanted = wanted[wanted >= 0]
        starts = np.searchsorted(self.codes, wanted, side="left")
        lengths = np.searchsorted(self.codes, wanted, side="right") - starts
        offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return self.rows[np.repeat(starts, lengths) + offsets]

    def _find(self, examples: pl.DataFrame) -> np.ndarray:
        """Code of each example's key; -1 for a key without events."""
        if not self.columns:
            return np.zeros(examples.height, dtype=np.int64)
        keys = self._codes
        for name in self.columns:
            asked, known = examples[name].dtype, keys[name].dtype
            if asked != known and pl.Null not in (asked, known) and keys.height:
                raise ColumnError(f"key column {name!r} is {asked} in examples and {known} in events; cast one of them")
        if any(examples[name].dtype != keys[name].dtype for name in self.columns):
            return np.full(examples.height, -1, dtype=np.int64)  # a column of nulls only, on either side
        found = examples.select(self.columns).join(keys, on=self.columns, how="left", maintain_order="left")["code"]
        return found.cast(pl.Int64).fill_null(-1).to_numpy()


class Standing:
    """A batch of examples against a timeline, held sorted by key and time; ``give`` returns results to the examples' order."""

    def __init__(self, timeline: Timeline, codes: np.ndarray, moments: Moments) -> None:
        self.timeline = timeline
        self._moments = moments
        self._order = moments.order[np.argsort(codes[moments.order], kind="stable")]
        self._bases = codes[self._order] * timeline._stride
        self._known = codes[self._order] >= 0
        self._starts: dict[Window, np.ndarray] = {}
        self._before: dict[str, np.ndarray] = {}

    def _search(self, ranks: np.ndarray) -> np.ndarray:
        # An example of an unknown key would fall before the first event; keep it there, whatever its time.
        needles = np.where(self._known, self._bases + ranks[self._order], 0)
        return np.searchsorted(self.timeline._places, needles, side="left")

    @cached_property
    def stop(self) -> np.ndarray:
        """Position in the timeline behind the last event that is strictly before each example."""
        return self._search(self._moments.ranks(self.timeline.clock))

    def locate(self, windows: Sequence[Window]) -> None:
        """Find the starts of several windows at once, on all cores where that is worth it: the searches release the interpreter."""
        threads = os.cpu_count() if len(self._order) >= _WORTH_THREADS else 1
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(self.start, windows))

    def start(self, window: Window) -> np.ndarray:
        """Position of the first event in the window of each example; equal to ``stop`` where there is none."""
        if window not in self._starts:
            self._starts[window] = self._search(self._moments.ranks(self.timeline.clock, window))
        return self._starts[window]

    @cached_property
    def times(self) -> np.ndarray:
        """Times of the examples, in this standing's order."""
        return self._moments.times[self._order]

    @cached_property
    def codes(self) -> np.ndarray:
        """Key codes of the examples, in this standing's order; negative for a key without events."""
        return np.where(self._known, self._bases // self.timeline._stride, -1)

    def count(self, kind: str, window: Window) -> np.ndarray:
        """Events of a kind in the window, Int32, in this standing's order."""
        if kind not in self._before:
            self._before[kind] = self.timeline.kinds_before(kind)[self.stop]
        return self._before[kind] - self.timeline.kinds_before(kind)[self.start(window)]

    def give(self, values: np.ndarray) -> np.ndarray:
        """Values from this standing's order in the examples' order."""
        given = np.empty_like(values)
        given[self._order] = values
        return given
