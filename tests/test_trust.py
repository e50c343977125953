"""Leaks, drift and stability of a report: planted ones are found, absent ones are not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as skm
from shop import hybrid, shop

from hybrid import ArtifactError, HybridClassifier, load
from hybrid.boosters import TreeParameters, booster_class
from hybrid.matrix import Column, FeatureMatrix
from hybrid.reference import Reference
from hybrid.reports.trust import domain_table, drift_table, stability_table, strength_table

COLUMNS = (
    *(Column(f"count_{i}", "user behaviour") for i in range(4)),
    Column("kind", "attributes", categories=3),
    *(Column(f"text_{i}", "item text") for i in range(8)),
)


def rows(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = np.hstack([rng.exponential(size=(n, 4)), rng.integers(0, 3, (n, 1)), rng.normal(size=(n, 8))])
    values[rng.random(n) < 0.2, 1] = np.nan
    return values.astype(np.float32)


def matrix(values: np.ndarray) -> FeatureMatrix:
    return FeatureMatrix(values, COLUMNS)


def any_booster():
    kind, y = booster_class("xgboost"), np.arange(200) % 2
    return kind.train(
        kind.bin(matrix(rows(200, 0)), y, n_jobs=1), n_classes=2, parameters=TreeParameters(n_estimators=2), n_jobs=1
    )


def test_a_column_that_knows_the_label_is_told() -> None:
    values, rng = rows(1_000, 1), np.random.default_rng(2)
    y = (values[:, 0] + rng.normal(size=1_000) > 1).astype(np.int64)
    values[:, 2] = y + 0.01 * rng.normal(size=1_000)
    table = strength_table(matrix(values), y)
    assert table.filter("suspicious")["column"].to_list() == ["count_2"]
    auc = dict(table.select("column", "auc").iter_rows())
    assert auc["count_0"] == pytest.approx(skm.roc_auc_score(y, values[:, 0]))
    assert not any(name.startswith("text_") for name in auc)  # coordinates are not listed one by one


def test_psi_is_that_of_tenths_of_the_training_rows() -> None:
    then, now = rows(2_000, 3), rows(1_500, 4)
    now[:, 0] = now[:, 0] * 2 + 0.5
    table = drift_table(matrix(now), Reference(then, 9_999))
    psi = dict(table.select("column", "psi").iter_rows())
    edges = np.quantile(then[:, 0], np.linspace(0, 1, 11)[1:-1], method="inverted_cdf")
    before, after = (
        np.array([(np.digitize(part[:, 0], edges, right=True) == i).sum() + 0.5 for i in range(10)])
        for part in (then, now)
    )
    before, after = before / before.sum(), after / after.sum()
    assert psi["count_0"] == pytest.approx(((after - before) * np.log(after / before)).sum(), rel=1e-6)
    assert table["column"][0] == "count_0"
    assert psi["count_0"] > 0.25
    assert max(value for name, value in psi.items() if name != "count_0") < 0.05
    row = table.row(by_predicate=pl.col("column") == "count_1", named=True)
    assert row["missing_then"] == pytest.approx(np.isnan(then[:, 1]).mean())
    assert row["missing_now"] == pytest.approx(np.isnan(now[:, 1]).mean())
    assert not table["gone"].any()


def test_a_column_that_is_gone_and_a_category_that_is_new_are_told() -> None:
    then, now = rows(2_000, 5), rows(1_000, 6)
    now[:, 3], then[:, 4] = np.nan, np.minimum(then[:, 4], 1)
    table = drift_table(matrix(now), Reference(then, 2_000))
    assert table.filter("gone")["column"].to_list() == ["count_3"]
    assert set(table["column"].head(2)) == {"count_3", "kind"}


def test_a_group_that_moved_is_told_apart_and_others_are_not() -> None:
    then, now = rows(2_000, 7), rows(3_000, 8)
    now[:, 5:] += 0.7  # every coordinate of the texts, none of them listed one by one
    table = domain_table(any_booster(), matrix(now), Reference(then, 2_000), 0, 1)
    first, *others = table.iter_rows(named=True)
    assert first["group"] == "item text"
    assert first["low"] > 0.8
    for other in others:
        assert other["low"] < 0.53
        assert other["low"] < other["auc"] < other["high"]


def test_stability_is_the_rank_correlation_of_the_groups() -> None:
    shares = [{"a": 0.6, "b": 0.3, "c": 0.1}, {"a": 0.5, "b": 0.3, "c": 0.2}, {"a": 0.1, "b": 0.3, "c": 0.6}]
    table = stability_table(shares)
    assert table.select("fold", "correlation").unique().sort("fold").rows() == [(0, 1.0), (1, 1.0), (2, -1.0)]
    assert table.filter(fold=2)["rank"].to_list() == [3, 2, 1]
    assert stability_table([]).is_empty()


def test_the_report_of_a_saved_model_still_knows_its_training_rows(tmp_path: Path) -> None:
    X, y, _ = shop(900)
    model = hybrid(text=None, behavior=None, encoder="none").fit(X[:500], y[:500])
    model.save(tmp_path / "artifact")
    moved = X[500:].with_columns(pl.col("price") + 1)
    own = model.report(moved, y[500:], ablation_folds=2)
    again = load(tmp_path / "artifact").report(moved, y[500:], ablation_folds=2)
    assert own.drift.equals(again.drift)
    assert own.drift["column"][0] == "price"
    assert own.basis.reference_rows == 500
    assert own.stability["fold"].unique().sort().to_list() == [0, 1, 2]
    kept = pl.read_parquet(tmp_path / "artifact" / "reference.parquet")
    assert kept.shape == (500, 2)
    assert all(kind == pl.Float32 for kind in kept.dtypes)  # numbers of the matrix alone: no ids, no texts
    assert "Moved since training: “price”" in own.to_markdown()


def test_an_artifact_of_an_older_format_is_refused_with_the_way_out(tmp_path: Path) -> None:
    X, y, _ = shop(100)
    HybridClassifier(numeric=["price"], n_estimators=2, n_jobs=1).fit(X, y).save(tmp_path / "artifact")
    manifest = json.loads((tmp_path / "artifact" / "manifest.json").read_text())
    manifest["format"] = 3
    (tmp_path / "artifact" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="of format 3; this version reads format 7: fit and save the model again"):
        load(tmp_path / "artifact")
