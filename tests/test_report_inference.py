"""Errors, intervals and p-values of a report: against resampling and scikit-learn, and at their nominal rate on planted noise."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as skm
import xgboost as xgb
from scipy.stats import binom, spearmanr, ttest_1samp

from hybrid.boosters import TreeParameters, booster_class
from hybrid.matrix import Column, FeatureMatrix
from hybrid.reports.inference import Ordering, holm, mean
from hybrid.reports.interactions import interaction_table
from hybrid.reports.tables import permutation_table

COLUMNS = (
    Column("strong", "user behaviour"),
    Column("weak", "item text"),
    Column("copy", "item behaviour"),
    Column("noise_0", "session"),
    Column("noise_1", "session"),
)


def planted(n: int, rng: np.random.Generator) -> tuple[FeatureMatrix, np.ndarray]:
    """One strong cause, a weak one, a blurred copy of the strong one, and noise."""
    strong, weak, noise = rng.normal(size=(n, 1)), rng.normal(size=(n, 1)), rng.normal(size=(n, 2))
    copy = strong + rng.normal(size=(n, 1)) * 0.7
    margin = 1.8 * strong[:, 0] + 0.7 * weak[:, 0] - 0.5
    y = (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(np.int64)
    return FeatureMatrix(np.hstack([strong, weak, copy, noise]).astype(np.float32), COLUMNS), y


def train(matrix: FeatureMatrix, y: np.ndarray, name: str = "xgboost", rounds: int = 30, depth: int = 3):
    kind = booster_class(name)
    parameters = TreeParameters(n_estimators=rounds, learning_rate=0.2, max_depth=depth)
    return kind.train(kind.bin(matrix, y, n_jobs=1), n_classes=int(y.max()) + 1, parameters=parameters, n_jobs=1)


def test_planted_truth_is_ranked_and_noise_misses_zero_at_the_nominal_rate() -> None:
    seeds = 100
    missed = found = 0
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        booster = train(*planted(500, rng))
        matrix, y = planted(600, rng)
        table = permutation_table(booster, matrix, y, None, n_repeats=3, random_state=seed, on_step=None)
        rows = {row["group"]: row for row in table.iter_rows(named=True)}
        noise = rows["session"]
        missed += not noise["permutation_low"] <= 0 <= noise["permutation_high"]
        found += noise["permutation_p"] < 0.05
        assert rows["user behaviour"]["permutation"] > rows["item text"]["permutation"] > noise["permutation"]
        assert rows["user behaviour"]["permutation_p_adjusted"] < 0.001
    allowed = binom.ppf(0.999, seeds, 0.05)
    assert missed <= allowed
    assert found <= allowed


def test_p_value_is_that_of_students_test_over_groups_of_rows() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0.1, 1, size=200)
    alone = mean(values).estimate(None)
    assert alone.p_above_zero == pytest.approx(ttest_1samp(values, 0, alternative="greater").pvalue, rel=0.01)
    low, high = alone.interval()
    expected = ttest_1samp(values, 0).confidence_interval()
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-3)
    equal = np.repeat(np.arange(50), 4)  # groups of equal size: the mean of their means
    means = values.reshape(50, 4).mean(axis=1)
    grouped = mean(values).estimate(equal)
    assert grouped.p_above_zero == pytest.approx(ttest_1samp(means, 0, alternative="greater").pvalue, rel=1e-6)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_errors_of_rankings_and_of_differences_are_those_of_a_bootstrap(name: str) -> None:
    metric = {"roc_auc": skm.roc_auc_score, "average_precision": skm.average_precision_score}[name]
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 150, size=900)
    y = (rng.random(900) < 0.3).astype(np.int64)
    score = np.round(y * 0.7 + rng.normal(size=900) + rng.normal(size=150)[groups] * 0.5, 1)  # with ties
    inside = rng.random(900) < 0.4
    statistic = getattr(Ordering(y == 1, score), name)
    own, rest = statistic(inside), statistic(~inside)
    assert own.value == pytest.approx(metric(y[inside], score[inside]))
    assert own.influence.sum() == pytest.approx(0, abs=1e-12)
    assert (own.influence[~inside] == 0).all()
    gap = own - rest
    rows = [np.flatnonzero(groups == g) for g in range(150)]
    drawn = []
    for _ in range(200):
        index = np.concatenate([rows[g] for g in rng.integers(0, 150, 150)])
        in_part, in_rest = index[inside[index]], index[~inside[index]]
        drawn.append(metric(y[in_part], score[in_part]) - metric(y[in_rest], score[in_rest]))
    assert gap.value == pytest.approx(np.mean(drawn), abs=0.01)
    assert gap.estimate(groups).error == pytest.approx(np.std(drawn), rel=0.15)


def test_nothing_is_inferred_from_one_group_or_none() -> None:
    assert np.isnan(mean(np.arange(5.0)).estimate(np.zeros(5, dtype=np.int64)).interval()).all()
    undefined = Ordering(np.ones(4), np.arange(4.0)).roc_auc().estimate(None)
    assert np.isnan([undefined.value, undefined.p_not_zero, *undefined.interval(0, 1)]).all()
    unused = mean(np.zeros(10)).estimate(None)
    assert (unused.interval(), unused.p_above_zero) == ((0.0, 0.0), 1.0)


def test_holm_corrects_for_what_is_known() -> None:
    assert holm(np.array([0.01, np.nan, 0.02, 0.5])) == pytest.approx([0.03, np.nan, 0.04, 0.5], nan_ok=True)


@pytest.mark.parametrize("name", ["xgboost", "lightgbm"])
def test_interaction_is_the_part_of_a_score_that_is_no_sum(name: str) -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(2_000, 3)).astype(np.float32)
    y = (rng.random(2_000) < 1 / (1 + np.exp(-2 * values[:, 0] * values[:, 1] - values[:, 2]))).astype(np.int64)
    columns = (Column("a", "query text"), Column("b", "item text"), Column("c", "session"))
    matrix = FeatureMatrix(values, columns)
    booster = train(matrix, y, name, rounds=60)
    few = matrix.rows(np.arange(300))
    table = interaction_table(booster, few, random_state=5)
    order = np.random.default_rng(5).permutation(300)
    for row in table.iter_rows(named=True):
        a, b = (int(few.positions(row[key])[0]) for key in ("group", "other"))
        total = booster.margin(few).astype(np.float64)
        for exchanged, sign in (([a], -1), ([b], -1), ([a, b], 1)):
            other = few.numpy().copy()
            other[:, exchanged] = other[order][:, exchanged]
            total += sign * booster.margin(FeatureMatrix(other, columns))
        assert row["interaction"] == pytest.approx(np.abs(total).mean(), rel=1e-5)
        assert row["low"] < row["interaction"] < row["high"]
    strength = {(row["group"], row["other"]): row["interaction"] for row in table.iter_rows(named=True)}
    with_b = table.row(by_predicate=(pl.col("group") == "query text") & (pl.col("other") == "item text"), named=True)
    assert with_b["correlation"] == pytest.approx(abs(spearmanr(few.numpy()[:, 0], few.numpy()[:, 1]).statistic))
    assert strength["query text", "item text"] > 2 * strength["query text", "session"]


def test_interactions_rank_as_shap_interaction_values_do() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(2_000, 3)).astype(np.float32)
    margin = 2 * values[:, 0] * values[:, 1] + 0.7 * values[:, 1] * values[:, 2]
    y = (rng.random(2_000) < 1 / (1 + np.exp(-margin))).astype(np.int64)
    columns = (Column("a", "A"), Column("b", "B"), Column("c", "C"))
    booster = train(FeatureMatrix(values, columns), y, rounds=60)
    native: xgb.Booster = booster._native
    exact = np.abs(native.predict(xgb.DMatrix(values), pred_interactions=True)).mean(axis=0)
    table = interaction_table(booster, FeatureMatrix(values, columns), random_state=0)
    ranked = table.sort("interaction", descending=True).select("group", "other").rows()
    pairs = {("A", "B"): exact[0, 1], ("A", "C"): exact[0, 2], ("B", "C"): exact[1, 2]}
    assert ranked == sorted(pairs, key=lambda pair: -pairs[pair])


def test_additive_trees_do_not_interact() -> None:
    booster = train(*planted(500, np.random.default_rng(4)), depth=1)
    table = interaction_table(booster, planted(200, np.random.default_rng(5))[0], random_state=0)
    assert table["interaction"].to_numpy() == pytest.approx(0, abs=1e-5)
    assert table.height == 6
    assert table.schema["interaction"] == pl.Float64
