"""Slices of a report: how columns are cut, their metrics against scikit-learn, weak ones that were planted, and what a log makes."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as skm
from shop import BEHAVIOR, shop

from features import BehaviorFeatures, EventLog
from hybrid.matrix import Column, FeatureMatrix
from hybrid.reports.history import history_slices
from hybrid.reports.slices import ScoredRows, corrected, parts_of, slice_table, weak_slices


def scored(n: int, seed: int, weak: np.ndarray | None = None) -> ScoredRows:
    """Well calibrated rows, but for those that are weak: there the truth is a coin."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.4, 0.4, size=n).clip(0.02, 0.98)
    truth = p if weak is None else np.where(weak, 0.5, p)
    y = (rng.random(n) < truth).astype(np.int64)
    return ScoredRows(y, np.column_stack([1 - p, p]).astype(np.float32), None)


def test_columns_are_cut_into_parts_of_enough_rows() -> None:
    rng = np.random.default_rng(0)
    names = parts_of(pl.Series("c", ["b"] * 60 + ["a"] * 90 + ["rare"] * 10 + [None] * 5))
    assert names.value_counts().sort("c").rows() == [("a", 90), ("b", 60), ("other values", 10), ("missing", 5)]
    price = pl.Series("p", rng.exponential(size=1_000))
    cut = pl.DataFrame({"part": parts_of(price).cast(pl.String), "p": price})
    ranges = cut.group_by("part").agg(pl.len(), low=pl.col("p").min(), high=pl.col("p").max()).sort("low")
    assert ranges["len"].is_between(198, 202).to_list() == [True] * 5
    for part, low, high in ranges.select("part", "low", "high").iter_rows():
        begins, ends = map(float, part.split(" to "))
        assert begins <= low * 1.0001
        assert high <= ends * 1.0001
    grades = parts_of(pl.Series("g", [10, 9, 2] * 60))
    assert grades.dtype.categories.to_list()[:3] == ["2", "9", "10"]
    days = pl.Series("t", [datetime(2026, 1, 1) + timedelta(days=int(d)) for d in rng.integers(0, 60, 1_000)])
    assert set(parts_of(days).cast(pl.String)) <= {f"2026-0{m}-{d:02d}" for m in (1, 2, 3) for d in range(1, 32)} | {
        "2025-12-29",
        "other values",
    }


def test_metrics_of_a_slice_are_scikit_learns() -> None:
    rows = scored(1_000, 1)
    part = parts_of(pl.Series("kind", np.random.default_rng(2).choice(["x", "y", "z"], 1_000)))
    table = slice_table(rows, [part])
    for row in table.iter_rows(named=True):
        inside = (part == row["part"]).to_numpy()
        assert row["rows"] == inside.sum()
        expected = {
            "log_loss": lambda i: skm.log_loss(rows.y[i], rows.proba[i]),
            "roc_auc": lambda i: skm.roc_auc_score(rows.y[i], rows.proba[i, 1]),
            "bias": lambda i: rows.proba[i, 1].mean() - rows.y[i].mean(),
        }[row["metric"]]
        assert row["value"] == pytest.approx(expected(inside), abs=1e-6)
        assert row["difference"] == pytest.approx(expected(inside) - expected(~inside), abs=1e-6)
        assert row["low"] < row["value"] < row["high"]
        assert (row["difference_p"] < 0.05) == (not row["difference_low"] <= 0 <= row["difference_high"])


def test_what_a_part_of_one_class_does_not_define_is_nan() -> None:
    rows = scored(400, 8)
    part = parts_of(pl.Series("kind", np.where(rows.y == 1, "right", "wrong")))
    table = corrected(slice_table(rows, [part]))
    for name in ("value", "low", "difference", "difference_p", "difference_p_adjusted"):
        assert table.filter(metric="roc_auc")[name].is_nan().all()
        assert not table.filter(metric="log_loss")[name].is_nan().any()
    whole = slice_table(rows, [parts_of(pl.Series("kind", ["all"] * 400))])
    assert whole["difference"].is_nan().all()
    assert whole.filter(metric="log_loss")["value"][0] == pytest.approx(skm.log_loss(rows.y, rows.proba), abs=1e-6)


def test_differences_of_slices_that_do_not_differ_are_found_at_the_nominal_rate() -> None:
    found = np.zeros(3)
    for seed in range(60):
        part = parts_of(pl.Series("kind", np.random.default_rng(seed).choice(["x", "y"], 400)))
        table = slice_table(scored(400, seed), [part]).filter(part="x")
        found += (table["difference_p"] < 0.05).to_numpy()
    assert (found <= 10).all()  # of 60; ten or fewer in 999 of 1,000


def test_a_planted_weak_slice_is_found_and_described() -> None:
    rng = np.random.default_rng(3)
    price, age = rng.random(6_000).astype(np.float32), rng.integers(18, 80, 6_000).astype(np.float32)
    country = pl.Series("country", rng.choice(["de", "cn"], 6_000))
    weak = (price > 0.7) & (country == "cn").to_numpy()
    rows = scored(6_000, 4, weak)
    matrix = FeatureMatrix(np.column_stack([price, age]), (Column("price", "attributes"), Column("age", "attributes")))
    table = corrected(weak_slices(rows, matrix, [parts_of(country)], random_state=0))
    first = table.filter(metric="log_loss").row(0, named=True)
    assert first["difference_p_adjusted"] < 0.01
    conditions = first["part"].split(", ")
    assert {condition.split()[0] for condition in conditions} >= {"price", "country"}
    (threshold,) = [float(condition.split()[-1]) for condition in conditions if condition.startswith("price >")]
    assert threshold == pytest.approx(0.7, abs=0.03)
    assert "country = cn" in conditions or "country ≠ de" in conditions


def test_a_weak_slice_of_missing_values_is_described_as_missing() -> None:
    rng = np.random.default_rng(5)
    price, age = rng.random(3_000).astype(np.float32), rng.random(3_000).astype(np.float32)
    price[rng.random(3_000) < 0.3] = np.nan
    matrix = FeatureMatrix(np.column_stack([price, age]), (Column("price", "attributes"), Column("age", "attributes")))
    table = corrected(weak_slices(scored(3_000, 6, np.isnan(price)), matrix, [], random_state=0))
    first = table.filter(metric="log_loss").row(0, named=True)
    assert first["part"].split(", ")[0] == "price missing"
    assert "inf" not in first["part"]
    assert first["rows"] <= np.isnan(price).sum() / 2 * 1.2


def test_no_weak_slice_is_made_of_chance() -> None:
    matrix_of = lambda n, rng: FeatureMatrix(  # noqa: E731 - short and local
        rng.normal(size=(n, 3)).astype(np.float32), tuple(Column(f"c{i}", "attributes") for i in range(3))
    )
    clear = 0
    for seed in range(20):
        rows = scored(600, seed)
        table = corrected(weak_slices(rows, matrix_of(600, np.random.default_rng(100 + seed)), [], random_state=seed))
        clear += (table.filter(metric="log_loss")["difference_p_adjusted"] < 0.05).any()
    assert clear <= 5  # of 20; at 5 % that many or fewer in 9,997 of 10,000


def test_a_log_tells_new_users_from_returning_ones_and_rare_queries_from_frequent_ones() -> None:
    examples, _, events = shop(300)
    events = events.with_columns(query=pl.lit("q") + (pl.col("item") ** 2 // 3).cast(pl.String))
    examples = examples.with_columns(
        query=pl.lit("q") + (pl.col("item") ** 2 // 3 + pl.col("user") % 2).cast(pl.String),
        user=pl.when(pl.col("user") < 5).then(pl.col("user") + 100).otherwise("user"),
        ts=pl.col("ts") - timedelta(hours=480),
    )
    log = EventLog(user="user", query="query", timestamp="ts")
    behavior = BehaviorFeatures(log, keys=["user", "query"], windows=["all"]).fit(events)
    made = {part.name: part.cast(pl.String).to_list() for part in history_slices(behavior, examples)}
    assert set(made) == {"user", "query", "time"}
    seen = []
    for row, user, query in zip(examples.iter_rows(named=True), made["user"], made["query"], strict=True):
        before = events.filter(pl.col("ts") < row["ts"])
        assert user == ("returning" if (before["user"] == row["user"]).any() else "new")
        n = int((before["query"] == row["query"]).sum())
        assert (query == "unseen") == (n == 0)
        if n:
            seen.append((n, query))
    rank = {"tail": 0, "torso": 1, "head": 2}
    by_count = sorted(seen)
    assert [rank[query] for _, query in by_count] == sorted(rank[query] for _, query in by_count)
    assert set(made["user"]) == {"new", "returning"}
    assert {query for _, query in seen} == set(rank)


def test_a_log_without_a_query_makes_no_slice_of_it() -> None:
    examples, _, events = shop(100)
    assert [part.name for part in history_slices(BEHAVIOR.fit(events), examples)] == ["user", "time"]
