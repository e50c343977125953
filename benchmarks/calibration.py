"""Class weights with and without calibration on a real search log: log loss and order of the clicks of later weeks, and what a study finds.

    python benchmarks/calibration.py FOLDER

FOLDER holds search_clicks.parquet and search_candidates.parquet (see benchmarks/README.md). Behaviour alone, every sixth search; fitted to
those before 26 September 2011 and judged on the later ones.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
from sklearn.metrics import log_loss, roc_auc_score

from features import BehaviorFeatures, EventLog
from hybrid import HybridClassifier
from tuning import tune

LOG = EventLog(user="user", item="sku", query="query", timestamp="ts")
CUT = datetime(2011, 9, 26)
N_TRIALS = 24


def model(**options: Any) -> HybridClassifier:
    """Counts of clicks of items, queries and both, as of the search."""
    behavior = BehaviorFeatures(LOG, keys=["item", "query", ("query", "item")], windows=["1d", "7d", "all"])
    return HybridClassifier(behavior=behavior, n_estimators=300, n_jobs=1, **options)


def main(folder: Path) -> None:
    """Print a row for each model, then the best trial of a study of each way."""
    query = pl.col("query").str.to_lowercase().str.strip_chars()
    clicks = pl.read_parquet(folder / "search_clicks.parquet")
    events = clicks.select("user", query, "sku", ts="click_time").sort("ts")
    rows = pl.read_parquet(folder / "search_candidates.parquet").filter(pl.col("search") % 6 == 0)
    rows = rows.with_columns(query, ts="query_time")
    old, new = rows.filter(pl.col("ts") < CUT), rows.filter(pl.col("ts") >= CUT)
    truth = new["label"].to_numpy()
    print(f"{old.height:,} rows to learn from, {new.height:,} later ones, {truth.mean():.2%} of them clicked")

    def show(name: str, fitted: HybridClassifier, started: float) -> None:
        proba = fitted.predict_proba(new)[:, 1]
        print(
            f"{name:44} log loss {log_loss(truth, proba):.4f}  ROC AUC {roc_auc_score(truth, proba):.4f}  "
            f"mean prediction {proba.mean():.2%}  {time.perf_counter() - started:.0f} s"
        )

    for options in ({}, {"calibration": "temperature"}):
        for weighing in ({}, {"class_weight": "balanced"}):
            started = time.perf_counter()
            fitted = model(**options, **weighing).fit(old, old["label"], events=events)
            show(", ".join([*weighing.values(), *options.values()]) or "as declared", fitted, started)

    space = {"booster": "xgboost", "class_weight": [None, "balanced"], "calibration": [None, "temperature"]}
    started = time.perf_counter()
    study = tune(model(), old, old["label"], events, space=space, folds=2, n_trials=N_TRIALS)
    ways = study.trials.group_by("class_weight", "calibration").agg(
        trials=pl.len(), finished=pl.col("value").count(), best=pl.col("value").min()
    )
    print(ways.sort("best", nulls_last=True))
    show(f"best of the study: trial {study.best_trial.number}", study.best_model(), started)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
