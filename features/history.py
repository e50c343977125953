"""A log by key, and a batch of examples against it: what families compute from."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from features.encoded import EncodedLog
from features.errors import DeclarationError
from features.event_log import KIND, EventLog
from features.family import Key
from features.frames import closest
from features.timeline import Moments, Standing, Timeline
from features.window import Window

if TYPE_CHECKING:
    from features.vectors import IdVectors


class History:
    """A log that ``EventLog.read`` returned, sorted by time, with a timeline for each key that is asked for.

    Parameters
    ----------
    log : polars.DataFrame
    names : EventLog
    zoned : bool, default False
        Whether the log's times are instants, in UTC, rather than the wall clock of the shop.
    vectors : mapping from role or column to IdVectors, default empty
        What ``vectors="text"`` stands for.
    """

    def __init__(
        self,
        log: pl.DataFrame,
        names: EventLog,
        zoned: bool = False,
        vectors: Mapping[str, IdVectors] | None = None,
    ) -> None:
        self.log = log
        self.names = names
        self.zoned = zoned
        self.vectors = dict(vectors or {})
        self._encoded = EncodedLog(log)
        self._timelines: dict[tuple[str, ...], Timeline] = {}

    def timeline(self, key: Key) -> Timeline:
        """All events of a key; of ``()`` all events of the log as one key."""
        columns = self.names.columns_of(key)
        if columns not in self._timelines:
            self._timelines[columns] = Timeline(self.log, columns, self._encoded)
        return self._timelines[columns]

    def column(self, part: str) -> str:
        """The log's column behind a role or a column's own name."""
        return self.names.columns_of((part,))[0]

    def kinds(self, asked: Sequence[str] | None, what: str) -> tuple[str, ...]:
        """The kinds of event that are asked for, or else all, sorted; raise DeclarationError for one that never occurs."""
        seen = sorted(self.log[KIND].drop_nulls().unique())
        for kind in asked or ():
            if kind not in seen:
                raise DeclarationError(f"{what}: event {kind!r} never occurs in the log{closest(kind, seen)}")
        return tuple(seen if asked is None else asked)


class Batch:
    """Examples and where they stand in a history.

    Parameters
    ----------
    history : History
    examples : polars.DataFrame
        Key columns and whatever else families read, in the dtypes of the log's.
    moments : Moments
        The time that each example is as of.
    windows : sequence of Window
        Windows whose starts are found together, on all cores, when a standing is first asked for.
    """

    def __init__(
        self, history: History, examples: pl.DataFrame, moments: Moments, windows: Sequence[Window] = ()
    ) -> None:
        self.history = history
        self.examples = examples
        self.moments = moments
        self._windows = tuple(windows)
        self._standings: dict[Key, Standing] = {}
        self._found: dict[str, np.ndarray] = {}
        self.kept: dict[Hashable, Any] = {}  # what a family computes once for several keys

    def __len__(self) -> int:
        return len(self.moments.times)

    @property
    def times(self) -> np.ndarray:
        """The time that each example is as of, in microseconds, in the examples' order."""
        return self.moments.times

    def standing(self, key: Key) -> Standing:
        """Where each example stands among its key's events."""
        if key not in self._standings:
            standing = self.history.timeline(key).stand(self.examples, self.moments, self._found)
            standing.locate(self._windows)
            self._standings[key] = standing
        return self._standings[key]

    def values(self, part: str) -> pl.Series:
        """The examples' own values of a role or column, in the examples' order."""
        return self.examples[self.history.column(part)]
