"""Slices that an event log makes: new and returning users, frequent and rare queries, and the periods of the rows."""

from __future__ import annotations

import numpy as np
import polars as pl

from features import BehaviorFeatures
from features.event_log import TIME, key_values, microseconds
from hybrid.reports.slices import parts_of

USER, QUERY, TIME_SLICE = "user", "query", "time"


def history_slices(behavior: BehaviorFeatures, frame: pl.DataFrame) -> list[pl.Series]:
    """What the log of fitted features says of each example, as slices.

    Parameters
    ----------
    behavior : BehaviorFeatures
        Fitted.
    frame : polars.DataFrame of n_rows examples

    Returns
    -------
    list of polars.Series of n_rows parts
        ``user``: "new" where the log has no event of the user strictly before the example, else "returning". ``query``: "unseen", or which
        third of the examples of seen queries it falls into, by the number of the query's events before: "tail", "torso", "head".
        ``time``: calendar periods. What the log or the examples lack is not there.
    """
    log = behavior.log
    times = microseconds(frame[log.timestamp], "examples")
    columns = []
    if (seen := _events_before(behavior, log.user, frame, times)) is not None:
        named = pl.Series(["new", "returning", None], dtype=pl.Enum(["new", "returning"]))
        columns.append(named.gather(np.where(np.isnan(seen), 2, seen > 0).astype(np.int64)).alias(USER))
    if (seen := _events_before(behavior, log.query, frame, times)) is not None:
        columns.append(_frequency(seen))
    columns.append(parts_of(frame[log.timestamp].alias(TIME_SLICE)))
    return columns


def _events_before(
    behavior: BehaviorFeatures, key: str | None, frame: pl.DataFrame, times: pl.Series
) -> np.ndarray | None:
    """How many events of its key are strictly before each example, float64; NaN where the key is null."""
    if key is None or key not in frame.columns or key not in behavior.log_.columns:
        return None
    events = behavior.log_.select(pl.col(key), pl.col(TIME), n=pl.int_range(1, pl.len() + 1).over(key))
    asked = pl.DataFrame({key: key_values(frame[key], "examples"), TIME: times}).with_row_index("row")
    asked = asked.with_columns(pl.col(key).cast(events.schema[key])).sort(TIME, maintain_order=True)
    found = asked.join_asof(
        events.drop_nulls(key), on=TIME, by=key, strategy="backward", allow_exact_matches=False, check_sortedness=False
    )
    known = pl.when(pl.col(key).is_not_null()).then(pl.col("n").fill_null(0).cast(pl.Float64))
    return found.sort("row").select(known.alias("n"))["n"].to_numpy().astype(np.float64)


def _frequency(seen: np.ndarray) -> pl.Series:
    order = ["unseen", "tail", "torso", "head"]
    known = seen[seen > 0]
    low, high = np.quantile(known, [1 / 3, 2 / 3], method="inverted_cdf") if len(known) else (0.0, 0.0)
    code = np.where(np.isnan(seen), 4, (seen > 0) * (1 + (seen > low) + (seen > high)))
    return pl.Series(QUERY, [*order, None], dtype=pl.Enum(order)).gather(code.astype(np.int64))
