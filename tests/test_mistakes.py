"""What a report says of errors: against scikit-learn, loops, and repeated draws."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as skm

from hybrid.errors import ParameterError
from hybrid.reports.misses import example_table, shared_table, worst_rows
from hybrid.reports.mistakes import calibration_error, confusion_table, costs_of, gains_table, threshold_table
from hybrid.reports.ranking import grades, ndcg, ranking_table, reciprocal_ranks
from hybrid.reports.slices import ScoredRows, parts_of


def two_classes(n: int, seed: int = 0, groups: int | None = None) -> ScoredRows:
    rng = np.random.default_rng(seed)
    p = np.round(rng.beta(1, 3, size=n), 2)  # with ties
    y = (rng.random(n) < p).astype(np.int64)
    proba = np.column_stack([1 - p, p]).astype(np.float32)
    return ScoredRows(y, proba, None if groups is None else rng.integers(0, groups, n))


def test_thresholds_are_precision_recall_and_cost_of_flagging_from_there_on() -> None:
    rows = two_classes(700)
    table = threshold_table(rows, {"false_positive": 1.0, "false_negative": 5.0})
    assert table["threshold"].is_sorted(descending=True)
    assert 30 < table.height <= 100
    assert table["flagged"][-1] == 1
    for row in table.iter_rows(named=True):
        flagged = rows.proba[:, 1] >= np.float32(row["threshold"])
        assert row["flagged"] == pytest.approx(flagged.mean())
        assert row["precision"] == pytest.approx(skm.precision_score(rows.y, flagged))
        assert row["recall"] == pytest.approx(skm.recall_score(rows.y, flagged))
        wrong, missed = (flagged & (rows.y == 0)).sum(), (~flagged & (rows.y == 1)).sum()
        assert row["cost"] == pytest.approx((wrong + 5 * missed) / 700)


def test_confusion_is_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    proba = rng.dirichlet(np.ones(4), size=300).astype(np.float32)
    y = rng.integers(0, 3, 300)  # the fourth class is absent
    table = confusion_table(ScoredRows(y, proba, None), ["a", "b", "c", "d"])
    expected = skm.confusion_matrix(y, proba.argmax(axis=1), labels=range(4))
    found = np.zeros((4, 4), dtype=int)
    for row in table.iter_rows(named=True):
        i, j = "abcd".index(row["class"]), "abcd".index(row["predicted"])
        found[i, j] = row["rows"]
        assert row["share"] == pytest.approx(row["rows"] / (y == i).sum())
    np.testing.assert_array_equal(found, expected)


def test_gains_are_the_positives_among_the_highest_scores() -> None:
    rng = np.random.default_rng(2)
    p = rng.permutation(1_000) / 1_000  # without ties
    y = (rng.random(1_000) < p).astype(np.int64)
    table = gains_table(ScoredRows(y, np.column_stack([1 - p, p]), None))
    for row in table.iter_rows(named=True):
        top = np.argsort(-p)[: round(1_000 * row["share"])]
        assert row["captured"] == pytest.approx(y[top].sum() / y.sum())
        assert row["lift"] == pytest.approx(y[top].mean() / y.mean())
        assert row["low"] <= row["captured"] <= row["high"]
    flat = gains_table(ScoredRows(y, np.full((1_000, 2), 0.5), None))
    assert flat["lift"].to_numpy() == pytest.approx(1)  # equal scores order nothing


def test_calibration_error_of_a_calibrated_model_is_within_chance_at_the_nominal_rate() -> None:
    beyond = 0
    for seed in range(60):
        error, by_chance = calibration_error(two_classes(500, seed, groups=100), 0)
        beyond += error.value > by_chance
        assert error.low <= error.value <= error.high
    assert beyond <= 9  # of 60; that many or fewer in 99.8 % at 5 %
    rows = two_classes(500, 1)
    wrong = ScoredRows(rows.y, np.column_stack([rows.proba[:, 1] * 0 + 0.3, rows.proba[:, 1] * 0 + 0.7]), None)
    error, by_chance = calibration_error(wrong, 0)
    assert error.value == pytest.approx(0.7 - rows.y.mean())
    assert by_chance < error.low < error.value < error.high


def test_ndcg_is_scikit_learns_with_ties() -> None:
    rng = np.random.default_rng(3)
    queries = rng.integers(0, 40, 600)
    score, relevance = rng.integers(0, 6, 600) / 6, rng.integers(0, 4, 600) * (rng.random(600) < 0.3)
    found = ndcg(queries, score, relevance.astype(np.float64))
    for query in range(40):
        inside = queries == query
        if relevance[inside].any():
            expected = skm.ndcg_score([relevance[inside]], [score[inside]], k=10)
            assert found[query] == pytest.approx(expected)
        else:
            assert np.isnan(found[query])


def test_reciprocal_rank_is_one_over_the_place_of_the_first_relevant_row() -> None:
    queries = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    score = np.array([0.9, 0.5, 0.1, 0.3, 0.7, 0.5, 0.5, 0.5, 0.9])
    relevance = np.array([0, 1, 1, 0, 0, 1, 0, 0, 0.0])
    found = reciprocal_ranks(queries, score, relevance)
    assert found[0] == pytest.approx(1 / 2)
    assert np.isnan(found[1])
    assert found[2] == pytest.approx(1 / 3)  # one of three rows of one score, behind the first: places 2, 3 or 4


def test_ranking_is_the_mean_over_queries_with_paired_differences() -> None:
    rows = two_classes(600, 4)
    rng = np.random.default_rng(5)
    queries = np.unique(rng.integers(0, 60, 600), return_inverse=True)[1]
    other = np.full((600, 2), 0.5)
    worth = grades(["no", "yes"])
    assert worth is not None
    table = ranking_table({"model": rows.proba, "even": other}, rows.y, worth, queries, queries // 3)
    per_query = ndcg(queries, rows.proba[:, 1], rows.y.astype(float))
    row = table.filter(model="model", metric="ndcg_at_10").row(0, named=True)
    assert row["value"] == pytest.approx(np.nanmean(per_query))
    assert row["queries"] == (~np.isnan(per_query)).sum()
    even = table.filter(model="even", metric="ndcg_at_10").row(0, named=True)
    assert even["difference"] == pytest.approx(even["value"] - row["value"])
    assert even["difference_high"] < 0
    assert grades(["a", "b", "c"]) is None
    assert grades([1, 2, 4]).tolist() == [0, 1, 3]


def test_worst_misses_share_the_slice_that_was_spoilt() -> None:
    rows = two_classes(2_000, 6)
    kind = np.random.default_rng(7).choice(["fine", "spoilt"], 2_000, p=[0.9, 0.1])
    flipped = np.where(kind == "spoilt", 1 - rows.y, rows.y)
    spoilt = ScoredRows(flipped, rows.proba, None)
    part, title = parts_of(pl.Series("kind", kind)), pl.Series("title", ["x" * 300] * 2_000)
    worst = worst_rows(spoilt)
    losses = -np.log(rows.proba[np.arange(2_000), flipped].clip(1e-7))
    assert set(losses[worst].round(5)) == set(np.sort(losses)[-100:].round(5))
    examples = example_table(spoilt, worst, ["no", "yes"], [title], [part])
    assert examples.columns == ["loss", "label", "predicted", "probability", "text: title", "slice: kind"]
    assert examples["text: title"].str.len_chars().max() == 200
    assert examples["slice: kind"].to_list() == kind[worst].tolist()
    first = shared_table(worst, [part]).row(0, named=True)
    assert first["part"] == "spoilt"
    assert first["misses"] == (kind[worst] == "spoilt").sum()
    assert first["p_adjusted"] < 0.01


def test_costs_are_checked() -> None:
    assert costs_of({"false_negative": 5}) == {"false_positive": 1.0, "false_negative": 5}
    with pytest.raises(ParameterError, match="names 'missed'; there are: false_positive, false_negative"):
        costs_of({"missed": 1})
    with pytest.raises(ParameterError, match="must be a number of at least 0, not -1"):
        costs_of({"false_positive": -1})
