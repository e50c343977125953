"""Which columns of a log are what, and the log itself checked and sorted by time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from features.errors import ColumnError, DeclarationError, TimestampError
from features.frames import Frame, require_columns, require_finite, require_rows, to_polars
from features.order import stable_order

TIME = "__time"
KIND = "__event"
ROLES = ("user", "item", "query", "session")


@dataclass(frozen=True, kw_only=True)
class EventLog:
    """Names of the columns of an event log; every role but the timestamp may be absent.

    Parameters
    ----------
    user, item, query, session : str, optional
        Columns of the keys. Values may be strings or integers; an event without a value counts for no such key.
    event : str, optional
        Column with the kind of event ("click", "purchase"). Without it every row is of the one kind ``"event"``.
    timestamp : str
        Column of dtype Datetime (any unit, with or without a time zone) or Date. Times are compared in microseconds.
    values : sequence of str, default ()
        Numeric columns that can be summed (price, quantity, dwell). Nulls count as 0.
    duplicates : {"keep", "drop"}, default "keep"
        What becomes of rows that are equal in every column: kept, each is an event of its own; else the first of them counts.

    Examples
    --------
    >>> EventLog(user="user_id", item="sku", timestamp="ts").columns_of(("user", "item"))
    ('user_id', 'sku')
    """

    timestamp: str
    user: str | None = None
    item: str | None = None
    query: str | None = None
    session: str | None = None
    event: str | None = None
    values: Sequence[str] = ()
    duplicates: str = "keep"

    def __post_init__(self) -> None:
        if self.duplicates not in ("keep", "drop"):
            raise DeclarationError(f'EventLog(duplicates={self.duplicates!r}) must be "keep" or "drop"')
        if isinstance(self.values, str):
            raise DeclarationError(f"EventLog(values={self.values!r}) must be a list of columns: [{self.values!r}]")
        object.__setattr__(self, "values", tuple(self.values))
        named = [name for name in (*(getattr(self, role) for role in ROLES), self.event, self.timestamp) if name]
        twice = {name for name in named if named.count(name) > 1}
        if twice:
            raise DeclarationError(f"EventLog names column {sorted(twice)[0]!r} for two roles")

    def columns_of(self, key: Sequence[str]) -> tuple[str, ...]:
        """Columns behind the parts of a key: a role's declared column, else a column of that very name."""
        columns = []
        for part in key:
            column = getattr(self, part) if part in ROLES else part
            if column is None:
                raise DeclarationError(
                    f'key part {part!r} is not in the log: declare its column, EventLog({part}="...")'
                )
            columns.append(column)
        return tuple(columns)

    def read(self, events: Frame, keys: Iterable[str], values: Iterable[str] = ()) -> pl.DataFrame:
        """Check a log and sort it by time.

        Parameters
        ----------
        events : frame
        keys : iterable of str
            Columns of keys and categories that are needed.
        values : iterable of str, default ()
            Numeric columns that are needed.

        Returns
        -------
        polars.DataFrame
            The key and value columns (Float64) under their own names, ``__time`` (Int64, microseconds) and ``__event`` (String), sorted by
            time; events of the same time keep their order.

        Raises
        ------
        ColumnError, TimestampError, EmptyFrameError
        """
        frame = to_polars(events, "events")
        keys = list(dict.fromkeys(keys))
        values = [name for name in dict.fromkeys(values) if name not in keys]
        require_columns(frame, [*keys, self.timestamp, *([self.event] if self.event else []), *values], "events")
        require_rows(frame, "events")
        require_finite(frame, values, "events")
        if self.duplicates == "drop":
            frame = frame.unique(maintain_order=True)
        kind = pl.lit("event") if self.event is None else pl.col(self.event).cast(pl.String)
        log = frame.select(
            *(key_values(frame[name], "events") for name in keys),
            *(pl.col(name).cast(pl.Float64) for name in values),
            microseconds(frame[self.timestamp], "events").alias(TIME),
            kind.alias(KIND),
        )
        return sorted_by_time(log)


def sorted_by_time(log: pl.DataFrame) -> pl.DataFrame:
    """A log sorted by time; events of the same time keep their order."""
    times = log[TIME].to_numpy()
    if bool((times[1:] >= times[:-1]).all()):
        return log
    return log[pl.Series(stable_order(times))]


def microseconds(timestamps: pl.Series, what: str) -> pl.Series:
    """Timestamps as Int64 microseconds (of UTC where they carry a zone).

    Raises
    ------
    TimestampError
        If the column is not temporal or holds nulls.
    """
    if timestamps.dtype == pl.Date:
        timestamps = timestamps.cast(pl.Datetime("us"))
    if not isinstance(timestamps.dtype, pl.Datetime):
        hint = "; parse it with str.to_datetime()" if timestamps.dtype == pl.String else ""
        if timestamps.dtype.is_integer():
            hint = "; convert it with pl.from_epoch()"
        raise TimestampError(
            f"timestamp column {timestamps.name!r} of {what} must be a datetime, not {timestamps.dtype}{hint}"
        )
    if timestamps.null_count():
        raise TimestampError(
            f"timestamp column {timestamps.name!r} of {what} has {timestamps.null_count():,} nulls in "
            f"{timestamps.len():,} rows; drop those rows"
        )
    return timestamps.dt.epoch("us")


def has_zone(timestamps: pl.Series) -> bool:
    """Whether a datetime column carries a time zone."""
    return isinstance(timestamps.dtype, pl.Datetime) and timestamps.dtype.time_zone is not None


def key_values(column: pl.Series, what: str) -> pl.Series:
    """Key values in one of the dtypes that keys are compared in: String, Int64 or Boolean.

    A float column of whole numbers counts as integers, since pandas makes such a column of integers with missing values.
    """
    dtype = column.dtype
    if dtype in (pl.String, pl.Boolean, pl.Int64, pl.Null):
        return column
    if dtype in (pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    if dtype.is_integer():
        return column.cast(pl.Int64)
    if dtype.is_float():
        whole = column.fill_nan(None)
        if bool((whole.drop_nulls() == whole.drop_nulls().floor()).all()) and bool(
            whole.drop_nulls().is_finite().all()
        ):
            return whole.cast(pl.Int64)
    raise ColumnError(f"key column {column.name!r} of {what} must hold strings or integers, not {dtype}")
