"""Small logs for property tests: few keys, coarse times, many ties."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
from hypothesis import strategies as st

START = datetime(2026, 3, 1)
EVENTS = ["view", "buy"]

# Few keys and times on a coarse grid with exact window edges, so that ties, null keys, one-event keys and examples at or before the
# first event are drawn often.
moment = st.sampled_from([0, 1, 1800, 3600, 3601, 7200, 86400, 86401, 90000, 100_000]).map(
    lambda s: START + timedelta(seconds=s)
)
key = st.sampled_from(["a", "b", "c", None])
event = st.fixed_dictionaries({
    "user_id": key, "item_id": key, "event": st.sampled_from([*EVENTS, "other", None]), "ts": moment,
    "price": st.one_of(st.none(), st.floats(-1e3, 1e3)),
})  # fmt: skip
example = st.fixed_dictionaries({"user_id": key | st.just("new"), "item_id": key, "ts": moment})
EVENT_SCHEMA = {
    "user_id": pl.String,
    "item_id": pl.String,
    "event": pl.String,
    "ts": pl.Datetime("us"),
    "price": pl.Float64,
}
EXAMPLE_SCHEMA = {"user_id": pl.String, "item_id": pl.String, "ts": pl.Datetime("us")}
