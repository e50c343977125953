"""As-of features against the same features by DuckDB window functions: 2 million events of four kinds, skewed keys.

    python benchmarks/behavior.py [--events 2000000]

The examples are the events themselves. Three sets of features of one key are computed by both, and compared before any time is printed:

- windows: counts of all events and sums of a price in 1, 7 and 30 days;
- funnel: counts of each of four kinds of event in 1 hour, 1, 7 and 30 days and ever, and the time since the last of each;
- distinct: the number of different users in 1, 7 and 30 days.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

import duckdb
import numpy as np
import polars as pl

from features import BehaviorFeatures, EventLog

KINDS = ("impression", "click", "cart", "purchase")
INTERVALS = {"1h": "1 HOUR", "1d": "1 DAY", "7d": "7 DAY", "30d": "30 DAY"}
DAYS = ("1d", "7d", "30d")


def skewed_log(n: int, n_keys: int, seed: int) -> pl.DataFrame:
    """Keys by a Zipf law (the first holds about a tenth of all events) over 90 days, times in whole seconds, unsorted."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, n_keys + 1)
    start = np.datetime64(datetime(2026, 1, 1), "us")
    return pl.DataFrame({
        "item": rng.choice(n_keys, n, p=weights / weights.sum()),
        "user": rng.integers(0, n // 20, n),
        "event": rng.choice(KINDS, n, p=[0.8, 0.14, 0.04, 0.02]),
        "ts": start + rng.integers(0, 90 * 86_400, n).astype("timedelta64[s]"),
        "price": rng.integers(1, 100, n).astype(float),
    })  # fmt: skip


def over(window: str) -> str:
    """A frame that ends one microsecond before the row: strictly as of, as here."""
    start = "UNBOUNDED PRECEDING" if window == "all" else f"INTERVAL {INTERVALS[window]} PRECEDING"
    return f"OVER (PARTITION BY item ORDER BY ts RANGE BETWEEN {start} AND INTERVAL 1 MICROSECOND PRECEDING)"


def windows() -> tuple[BehaviorFeatures, list[str]]:
    log = EventLog(item="item", timestamp="ts", values=["price"])
    columns = [f"count(*) {over(w)} AS item__event__{w}" for w in DAYS]
    columns += [f"coalesce(sum(price) {over(w)}, 0) AS item__event_sum_price__{w}" for w in DAYS]
    return BehaviorFeatures(log, ["item"], DAYS, recency=False, gap=False), columns


def funnel() -> tuple[BehaviorFeatures, list[str]]:
    log = EventLog(item="item", event="event", timestamp="ts")
    names = [*INTERVALS, "all"]
    columns = [f"count(*) FILTER (event = '{k}') {over(w)} AS item__{k}__{w}" for k in KINDS for w in names]
    columns += [
        f"(epoch_us(ts) - epoch_us(max(ts) FILTER (event = '{k}') {over('all')})) / 1e6 AS item__since__{k}"
        for k in KINDS
    ]
    return BehaviorFeatures(log, ["item"], names, KINDS, gap=False), columns


def distinct() -> tuple[BehaviorFeatures, list[str]]:
    log = EventLog(item="item", user="user", timestamp="ts")
    columns = [f"count(DISTINCT user) {over(w)} AS item__distinct_user__{w}" for w in DAYS]
    return BehaviorFeatures(log, ["item"], DAYS, distinct=["user"], recency=False, gap=False), columns


def by_intentree(behavior: BehaviorFeatures, log: pl.DataFrame) -> pl.DataFrame:
    return behavior.fit(log).transform(log)


def by_duckdb(log: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    with duckdb.connect() as connection:
        connection.register("numbered", log.with_row_index("row").to_arrow())
        return pl.DataFrame(
            connection.sql(f"SELECT row, {', '.join(columns)} FROM numbered ORDER BY row").to_arrow_table()
        )


def best_of_two(run: Callable[[], pl.DataFrame]) -> tuple[float, pl.DataFrame]:
    """The shorter of two runs in seconds, and its result: the first run pays for loading, threads and fresh memory."""
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - started)
    return min(seconds), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--keys", type=int, default=20_000)
    options = parser.parse_args()
    log = skewed_log(options.events, options.keys, seed=0)
    largest = log["item"].value_counts()["count"].max()
    print(f"{log.height:,} events, {options.keys:,} keys, the largest {largest:,} events")
    for declared in (windows, funnel, distinct):
        behavior, columns = declared()
        our_seconds, ours = best_of_two(partial(by_intentree, behavior, log))
        their_seconds, theirs = best_of_two(partial(by_duckdb, log, columns))
        for name in theirs.columns[1:]:
            mine, other = ours[name].cast(pl.Float64), theirs[name].cast(pl.Float64)
            assert (mine.is_null() == other.is_null()).all(), f"nulls of {name} differ"
            assert np.allclose(mine.fill_null(0), other.fill_null(0)), f"{name} differs"
        print(
            f"{declared.__name__:9} {len(columns):3} features   intentree {our_seconds:6.2f} s, {log.height / our_seconds:11,.0f} events/s"
            f"   DuckDB {their_seconds:6.2f} s, {log.height / their_seconds:9,.0f} events/s   ratio {their_seconds / our_seconds:5.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
