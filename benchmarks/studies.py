"""Tuning studies: what workers gain, what a kill costs, and what memory a long study takes.

    python benchmarks/studies.py FOLDER [--only PART ...]

FOLDER holds query_product_relevance.parquet (benchmarks/README.md says where it is from): 5,076 real shop queries with a product's title,
embedded by all-MiniLM-L6-v2, which must be installed. Parts:

workers  trials per minute of one worker and of two, in turn, on the same trials
kill     ten kill -9 of workers at random moments: is any finished trial lost, or any counted twice?
memory   the largest memory of a study of 60 trials against that of its first 5, in this process and with two workers
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import psutil

from hybrid import HybridClassifier
from tuning import Study, StudyStatus, tune

PARTS = ("workers", "kill", "memory")


def relevant(folder: Path, n_jobs: int | None = None, **settings: Any) -> Study:
    """A study of whether a product answers a query perfectly, in two folds of whole queries."""
    rows = pl.read_parquet(folder / "query_product_relevance.parquet")
    model = HybridClassifier(
        text={"query": "query", "item": "title"},
        n_estimators=200,
        early_stopping_rounds=None,
        device="cpu",
        n_jobs=n_jobs,
    )
    chosen: dict[str, Any] = {"cv": "group", "groups": "query", "folds": 2, "metric": "log_loss"}
    return tune(model, rows.drop("relevance"), rows["relevance"] == 4, **chosen | settings)


def by_workers(folder: Path) -> None:
    """Trials per minute, from the first trial's start to the last one's end: building and starting are paid once a study.

    The first ten trials of TPE are drawn at random, so that all runs train the same ones. The pruner needs eight before it prunes any.
    """
    space = {"booster": "xgboost", "use text head": False, "max_depth": (4, 7)}
    ways = {"one worker, all cores": (1, None), "one worker, one core": (1, 1), "two workers": (2, None)}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    values = set()
    for _ in range(3):
        for name, (n_workers, n_jobs) in ways.items():
            study = relevant(folder, n_jobs, n_trials=8, n_workers=n_workers, isolate=True, space=space)
            trials = study.optuna_study.trials
            values.add(tuple(sorted(round(trial.value, 4) for trial in trials)))
            span = max(t.datetime_complete for t in trials) - min(t.datetime_start for t in trials)
            rates[name].append(60 * len(trials) / span.total_seconds())
    print(f"the same {len(trials)} trials in every run: {len(values) == 1}")
    best = {name: statistics.median(rate) for name, rate in rates.items()}
    for name, rate in best.items():
        shown = ", ".join(f"{one:.1f}" for one in rates[name])
        print(
            f"{name}: {rate:.1f} trials a minute (runs: {shown}), two workers have {best['two workers'] / rate:.2f} times that"
        )


def killed(folder: Path) -> None:
    """Two workers; one of them is killed ten times while it trains, after a random part of the time that a trial takes."""
    rng = random.Random(0)
    kills: list[int] = []
    ended = threading.Event()

    def kill() -> None:
        while len(kills) < 10 and not ended.wait(rng.uniform(1.0, 6.0)):
            children = [child for child in psutil.Process().children() if "tuning.worker" in child.cmdline()]
            busy = [child for child in children if _trains(child)]
            if busy:
                kills.append(rng.choice(busy).pid)
                os.kill(kills[-1], 9)

    killer = threading.Thread(target=kill, daemon=True)
    standing: list[StudyStatus] = []

    def look(status: StudyStatus) -> None:
        standing.append(status)
        if status.finished and not killer.ident:
            killer.start()

    started = time.perf_counter()
    study = relevant(folder, n_trials=40, n_workers=2, on_trial=look, space={"booster": "xgboost"})
    ended.set()
    killer.join()
    trials = study.optuna_study.trials
    again = {number for trial in trials for number in trial.user_attrs.get("retry of", [])}
    counted = [trial for trial in trials if trial.number not in again]
    finished = [status.finished for status in standing]
    states = {state: sum(trial.state.name == state for trial in counted) for state in ("COMPLETE", "PRUNED", "FAIL")}
    settings = {tuple(sorted(trial.params.items())) for trial in counted}
    print(
        f"{len(kills)} workers killed in {time.perf_counter() - started:.0f} s; {len(again)} trials lost and tried again"
    )
    print(f"{len(counted)} of 40 trials counted: {states}; running in the end: {standing[-1].running}")
    print(
        f"finished trials never became fewer: {finished == sorted(finished)}; settings counted twice: {len(counted) - len(settings)}"
    )


def _trains(worker: psutil.Process) -> bool:
    """Whether it has opened the plan and computes."""
    try:
        return any("matrix.npy" in mapped.path for mapped in worker.memory_maps()) and worker.cpu_percent(0.1) > 10
    except psutil.Error:
        return False


def in_memory(folder: Path) -> None:
    """Proportional set size, which counts a page that processes share once: of this process and its workers together."""
    for n_workers in (1, 2):
        # What libraries take when they are first used is no growth, so that all is warm before the first trial.
        relevant(folder, 1, n_trials=2)
        largest: list[float] = []

        def look(status: StudyStatus, largest: list[float] = largest) -> None:
            if not largest:  # before the first trial
                memory.largest = 0.0
            largest.append(memory.largest)

        with sampled() as memory:
            relevant(folder, 1, n_trials=60, n_workers=n_workers, on_trial=look)
        print(
            f"{n_workers} worker{'s' * (n_workers > 1)}: largest {largest[5] / 1e9:.2f} GB in the first 5 trials, "
            f"{largest[-1] / 1e9:.2f} GB in {len(largest) - 1}: {largest[-1] / largest[5]:.2f} times"
        )


class Memory:
    """The largest memory seen."""

    largest = 0.0


@contextmanager
def sampled() -> Iterator[Memory]:
    """Look at the memory ten times a second."""
    memory, ended = Memory(), threading.Event()

    def look() -> None:
        while not ended.wait(0.1):
            total = 0
            for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:  # it has just ended
                    continue
            memory.largest = max(memory.largest, total)

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    try:
        yield memory
    finally:
        ended.set()
        looker.join()


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    for part, run in (("workers", by_workers), ("kill", killed), ("memory", in_memory)):
        if part in options.only:
            print(f"--- {part}; load of the machine {os.getloadavg()[0]:.1f}", flush=True)
            run(options.folder)


if __name__ == "__main__":
    main()
