"""How good a model's probabilities are on labelled rows, beside one who knows only the classes' shares."""

from __future__ import annotations

import numpy as np
import polars as pl

from hybrid import HybridClassifier
from hybrid.labels import as_labels, encode
from hybrid.reports.tables import base_rate, comparison
from intentree.errors import TableError
from intentree.inputs import Examples
from intentree.printing import print_table, with_interval


def require_usable(model: HybridClassifier, train: Examples, judged: Examples, name: str) -> None:
    """Raise for examples that a fitted model could not be judged on, before it is fitted."""
    model.builder().check(judged.frame, f"{name} examples")
    as_labels(judged.y, judged.frame.height, f"column {judged.y.name!r} of the {name} examples")
    known = set(train.y.unique().to_list())
    unknown = [label for label in judged.y.unique(maintain_order=True).to_list() if label not in known]
    if unknown:
        raise TableError(
            f"column {judged.y.name!r} of the {name} examples has the label {unknown[0]!r}, which the train examples lack"
        )


def print_quality(model: HybridClassifier, splits: dict[str, Examples], groups_of_rows: str | None) -> None:
    """Print the metrics of each split with 95 % intervals, by ``groups_of_rows``, else by the log's user, else over rows."""
    if groups_of_rows is None and model.behavior is not None:
        groups_of_rows = model.behavior.log.user
    tables = {name: _quality(model, examples, groups_of_rows) for name, examples in splits.items()}
    metrics = next(iter(tables.values()))["metric"].unique(maintain_order=True).to_list()
    rows = []
    for name, table in tables.items():
        for who in table["model"].unique(maintain_order=True):
            cells = table.filter(model=who).select("value", "low", "high").iter_rows()
            rows.append(
                [f"{name} ({splits[name].frame.height:,} rows), {who}", *(with_interval(*cell) for cell in cells)]
            )
    print_table(["", *metrics], rows, "Metrics with 95 % intervals")


def print_groups(model: HybridClassifier) -> None:
    """Print the groups of columns that the trees read, and the share of the loss reduction that each had."""
    groups = pl.DataFrame({"group": [column.group for column in model.columns_], "gain": model.booster_.gain()})
    shares = groups.group_by("group", maintain_order=True).agg(pl.len(), pl.col("gain").sum())
    total = max(float(shares["gain"].sum()), float(np.finfo(float).tiny))
    rows = shares.sort("gain", descending=True, maintain_order=True).iter_rows()
    print_table(
        ["group", "columns", "share of gain"], [(name, str(n), f"{gain / total:.1%}") for name, n, gain in rows]
    )


def _quality(model: HybridClassifier, examples: Examples, groups_of_rows: str | None) -> pl.DataFrame:
    labels = as_labels(examples.y, examples.frame.height, "labels")
    codes = encode(labels, model.classes_, "labels")[1]
    groups = None
    if groups_of_rows is not None and groups_of_rows in examples.frame.columns:
        groups = examples.frame[groups_of_rows].rank("dense").fill_null(0).to_numpy()
    probas = {"model": model.predict_proba(examples.frame), "base rate": base_rate(codes, len(model.classes_))}
    return comparison("model", codes, probas, groups)
