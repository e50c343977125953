"""As-of features against Featuretools with cut-off times and DuckDB: 100 thousand events, the state of every item at each midnight.

    python -m venv .venv-featuretools
    .venv-featuretools/bin/pip install featuretools==1.31.0 "pandas<3" "setuptools<81"
    python benchmarks/cutoffs.py --python .venv-featuretools/bin/python

Featuretools 1.31 fails on pandas 3 (WoodworkNotInitError in ``add_dataframe``), so it runs in an environment of its own, in turn with ours.
It works cut-off time by cut-off time: with the events themselves as examples, each would be a time of its own. The midnights are the
workload that suits it; what it takes a time says what the other would take. DuckDB counts by window functions over events and examples
in one table.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from features import BehaviorFeatures, EventLog

DAYS = 90
START = datetime(2026, 1, 1)
WINDOWS = ("7d", "30d")

THEIRS = """
import sys, time, warnings
warnings.filterwarnings("ignore")
import featuretools as ft, pandas as pd
folder = sys.argv[1]
events = pd.read_csv(folder + "/events.csv", parse_dates=["ts"])
cutoffs = pd.read_csv(folder + "/examples.csv", parse_dates=["ts"]).rename(columns={"ts": "time"})
started = time.perf_counter()
log = ft.EntitySet("log").add_dataframe(dataframe_name="events", dataframe=events, index="event", time_index="ts")
log = log.normalize_dataframe("events", "items", "item", make_time_index=False)
log.add_last_time_indexes()
tables = []
for window in ("7 days", "30 days"):
    table, _ = ft.dfs(entityset=log, target_dataframe_name="items", cutoff_time=cutoffs, agg_primitives=["count", "sum"],
                      trans_primitives=[], training_window=window, include_cutoff_time=False, cutoff_time_in_index=True)
    tables.append(table[["COUNT(events)", "SUM(events.price)"]].add_suffix(" " + window))
result = pd.concat(tables, axis=1)
seconds = time.perf_counter() - started
result.reset_index().to_csv(folder + "/theirs.csv", index=False)
print(seconds)
"""


def by_duckdb(events: pl.DataFrame, examples: pl.DataFrame) -> pl.DataFrame:
    """Counts and sums of each example, in the examples' order."""
    asked = examples.with_row_index("row")
    both = pl.concat([events.select("item", "ts", "price"), asked], how="diagonal")
    columns = []
    for window in WINDOWS:
        over = (
            f"OVER (PARTITION BY item ORDER BY ts RANGE BETWEEN INTERVAL {window[:-1]} DAY PRECEDING "
            "AND INTERVAL 1 MICROSECOND PRECEDING)"
        )
        columns.append(f"count(price) {over} AS item__event__{window}")
        columns.append(f"coalesce(sum(price) {over}, 0) AS item__event_sum_price__{window}")
    with duckdb.connect() as connection:
        connection.register("rows", both.to_arrow())
        query = f"SELECT * FROM (SELECT row, {', '.join(columns)} FROM rows) WHERE row IS NOT NULL ORDER BY row"
        return pl.DataFrame(connection.sql(query).to_arrow_table())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", required=True, help="of an environment with featuretools")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=1_000)
    options = parser.parse_args()
    rng, n = np.random.default_rng(0), options.events
    weights = 1 / np.arange(1, options.items + 1)
    seconds_of = rng.integers(0, DAYS * 86_400, n).astype("timedelta64[s]")
    events = pl.DataFrame({
        "event": np.arange(n), "item": rng.choice(options.items, n, p=weights / weights.sum()),
        "ts": np.datetime64(START, "us") + seconds_of, "price": rng.integers(1, 100, n).astype(float),
    })  # fmt: skip
    # Half a second off the events, whose times are whole seconds: the two count an event at a window's edge differently.
    midnights = pl.DataFrame({"ts": [START + timedelta(days=d, milliseconds=500) for d in range(1, DAYS + 1)]})
    examples = events.select(pl.col("item").unique().sort()).join(midnights, how="cross").sort("ts", "item")
    with tempfile.TemporaryDirectory() as folder:
        events.write_csv(Path(folder) / "events.csv", datetime_format="%Y-%m-%d %H:%M:%S%.6f")
        examples.write_csv(Path(folder) / "examples.csv", datetime_format="%Y-%m-%d %H:%M:%S%.6f")
        ran = subprocess.run([options.python, "-c", THEIRS, folder], check=True, capture_output=True, text=True)
        theirs_seconds = float(ran.stdout.split()[-1])
        theirs = pl.read_csv(Path(folder) / "theirs.csv", try_parse_dates=True).sort("time", "item")
    log = EventLog(item="item", timestamp="ts", values=["price"])
    ours_seconds = np.inf
    for _ in range(2):
        behavior = BehaviorFeatures(log, ["item"], WINDOWS, recency=False, gap=False)
        started = time.perf_counter()
        ours = behavior.fit(events).transform(examples)
        ours_seconds = min(ours_seconds, time.perf_counter() - started)
    duckdb_seconds = np.inf
    for _ in range(2):
        started = time.perf_counter()
        counted = by_duckdb(events, examples)
        duckdb_seconds = min(duckdb_seconds, time.perf_counter() - started)
    for name in counted.columns[1:]:
        assert np.allclose(ours[name].to_numpy(), counted[name].cast(pl.Float64).to_numpy()), name
    assert theirs["item"].equals(examples["item"])
    for window, days in zip(WINDOWS, ("7 days", "30 days"), strict=True):
        for mine, other in (
            (f"item__event__{window}", "COUNT(events)"),
            (f"item__event_sum_price__{window}", "SUM(events.price)"),
        ):
            expected = theirs[f"{other} {days}"].cast(pl.Float64).fill_nan(0).fill_null(0).to_numpy()
            assert np.allclose(ours[mine].to_numpy(), expected), mine
    print(f"{n:,} events, {examples.height:,} examples at {DAYS} times, {ours.width} features, equal in all")
    print(f"intentree    {ours_seconds:8.3f} s")
    print(f"DuckDB       {duckdb_seconds:8.3f} s   {duckdb_seconds / ours_seconds:6.1f} times")
    each = theirs_seconds / DAYS / len(WINDOWS)
    print(
        f"Featuretools {theirs_seconds:8.1f} s   {theirs_seconds / ours_seconds:6.0f} times, {each:.3f} s a cut-off time and window"
    )


if __name__ == "__main__":
    main()
