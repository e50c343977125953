"""The columns of a log as whole numbers, each hashed once, whatever keys it is part of."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from features.event_log import KIND, TIME

UNKNOWN = -1


class EncodedColumn:
    """A column's distinct values, numbered in the order in which they first come.

    Parameters
    ----------
    column : polars.Series
        String, Int64, Boolean or Null.
    """

    def __init__(self, column: pl.Series) -> None:
        # PyArrow 26 hashes on one core what takes Polars 2.1 longer on two, and holds no lock on the interpreter.
        encoded = pc.dictionary_encode(_arrow(column))
        self.dtype = column.dtype
        self.codes = _codes(encoded.indices)
        self._values = encoded.dictionary

    def __len__(self) -> int:
        return len(self._values)

    def find(self, column: pl.Series) -> np.ndarray:
        """Number of each value of another column of the same dtype, Int32; -1 for a null and for what this column lacks."""
        asked = _arrow(column)
        if not len(self) or asked.type != self._values.type:  # no values, or nulls only on one of the sides
            return np.full(len(column), UNKNOWN, dtype=np.int32)
        return _codes(pc.index_in(asked, value_set=self._values, skip_nulls=True))


class EncodedLog:
    """A log that is sorted by time, its columns and times as whole numbers; each is made when it is first asked for.

    Parameters
    ----------
    log : polars.DataFrame
        What ``EventLog.read`` returned.
    """

    def __init__(self, log: pl.DataFrame) -> None:
        self.log = log
        self._columns: dict[str, EncodedColumn] = {}

    def column(self, name: str) -> EncodedColumn:
        """A column of the log."""
        if name not in self._columns:
            self._columns[name] = EncodedColumn(self.log[name])
        return self._columns[name]

    @cached_property
    def times(self) -> np.ndarray:
        """Time of each event."""
        return self.log[TIME].to_numpy()

    @cached_property
    def ranks(self) -> np.ndarray:
        """How many distinct times come before that of each event, Int64."""
        return np.cumsum(self._first, dtype=np.int64) - 1

    @cached_property
    def clock(self) -> np.ndarray:
        """The distinct times, sorted."""
        return self.times[self._first]

    @cached_property
    def _first(self) -> np.ndarray:
        first = np.ones(len(self.times), dtype=bool)
        np.not_equal(self.times[1:], self.times[:-1], out=first[1:])
        return first

    def is_kind(self, kind: str) -> np.ndarray:
        """Which events are of a kind."""
        kinds = self.column(KIND)
        code = kinds.find(pl.Series([kind]))[0]
        return kinds.codes == code if code != UNKNOWN else np.zeros(len(self.log), dtype=bool)


def _arrow(column: pl.Series) -> pa.Array:
    return column.to_arrow(compat_level=pl.CompatLevel.oldest())  # strings that compute functions know


def _codes(indices: pa.Array) -> np.ndarray:
    if indices.null_count:
        indices = indices.fill_null(UNKNOWN)
    return indices.to_numpy()
