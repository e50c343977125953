"""Effects of columns and words: against accumulation by hand, known models, and what must not be shown."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from shop import hybrid, shop

from hybrid.boosters import TreeParameters, booster_class
from hybrid.matrix import Column, FeatureMatrix
from hybrid.reports.effects import distribution_table, effect_table, value_effect_table
from hybrid.reports.importance import sample_rows
from hybrid.reports.words import word_table

COLUMNS = (
    Column("price", "attributes"),
    Column("kind", "attributes", categories=3),
    *(Column(f"text_{i}", "item text") for i in range(8)),
)


@pytest.fixture(scope="module", params=["xgboost", "lightgbm"])
def trained(request: pytest.FixtureRequest) -> SimpleNamespace:
    rng = np.random.default_rng(0)
    values = np.hstack([rng.random((1_500, 1)), rng.integers(0, 3, (1_500, 1)), rng.normal(size=(1_500, 8))])
    margin = 4 * values[:, 0] + np.array([-1, 0, 2])[values[:, 1].astype(int)] - 2
    y = (rng.random(1_500) < 1 / (1 + np.exp(-margin))).astype(np.int64)
    values[:100, 0] = np.nan
    matrix = FeatureMatrix(values.astype(np.float32), COLUMNS)
    kind = booster_class(request.param)
    parameters = TreeParameters(n_estimators=30, learning_rate=0.2, max_depth=3)
    booster = kind.train(kind.bin(matrix, y, n_jobs=1), n_classes=2, parameters=parameters, n_jobs=1)
    return SimpleNamespace(booster=booster, matrix=matrix)


def test_accumulated_local_effects_are_those_of_the_definition(trained: SimpleNamespace) -> None:
    table = effect_table(trained.booster, trained.matrix, ["text_0", "kind", "price"], ["no", "yes"])
    assert table["column"].unique().to_list() == ["price"]  # neither coordinates nor categories
    known = trained.matrix.rows(np.arange(100, 1_500))
    x = known.numpy()[:, 0].astype(np.float64)
    edges = np.unique(np.quantile(x, np.linspace(0, 1, 21), method="inverted_cdf"))
    assert table["x"].to_list() == pytest.approx(edges.tolist())
    effect, sizes = [0.0], []
    for low, high in pairwise(edges):
        inside = np.flatnonzero((x > low) & (x <= high) | ((x == low) & (low == edges[0])))
        margins = []
        for edge in (low, high):
            values = known.numpy()[inside].copy()
            values[:, 0] = edge
            margins.append(trained.booster.margin(FeatureMatrix(values, COLUMNS)).mean())
        effect.append(effect[-1] + margins[1] - margins[0])
        sizes.append(len(inside))
    middles = (np.array(effect[:-1]) + np.array(effect[1:])) / 2
    centred = np.array(effect) - np.average(middles, weights=sizes)
    assert table["effect"].to_numpy() == pytest.approx(centred, abs=1e-4)
    assert table["rows"].to_list() == [0, *sizes]
    assert table["effect"][-1] - table["effect"][0] == pytest.approx(4, abs=1)  # the planted slope


def test_values_of_categories_have_their_planted_order(trained: SimpleNamespace) -> None:
    table = value_effect_table(trained.booster, trained.matrix, {"kind": ["bad", "fair", "good"]}, ["no", "yes"])
    assert table["value"].to_list() == ["good", "fair", "bad"]
    for row in table.iter_rows(named=True):
        values = trained.matrix.numpy().copy()
        margins = []
        for code in range(3):
            values[:, 1] = code
            margins.append(trained.booster.margin(FeatureMatrix(values, COLUMNS)).mean())
        counts = np.bincount(trained.matrix.numpy()[:, 1].astype(int))
        code = ["bad", "fair", "good"].index(row["value"])
        assert row["effect"] == pytest.approx(margins[code] - np.average(margins, weights=counts), abs=1e-4)
        assert row["rows"] == counts[code]
    assert value_effect_table(trained.booster, trained.matrix, {}, ["no", "yes"]).is_empty()


def test_distributions_are_quantiles_of_what_is_there(trained: SimpleNamespace) -> None:
    (row,) = distribution_table(trained.matrix).iter_rows(named=True)
    x = trained.matrix.numpy()[100:, 0]
    assert row["column"] == "price"
    assert row["missing"] == pytest.approx(100 / 1_500)
    assert (row["least"], row["median"], row["most"]) == pytest.approx((x.min(), np.median(x), x.max()))


def test_of_many_classes_the_most_moved_one_is_shown() -> None:
    rng = np.random.default_rng(1)
    values = rng.random((900, 1)).astype(np.float32)
    y = np.where(values[:, 0] > 0.7, 2, rng.integers(0, 2, 900))
    matrix = FeatureMatrix(values, COLUMNS[:1])
    kind = booster_class("xgboost")
    booster = kind.train(
        kind.bin(matrix, y, n_jobs=1), n_classes=3, parameters=TreeParameters(n_estimators=10), n_jobs=1
    )
    assert effect_table(booster, matrix, ["price"], ["a", "b", "c"])["class"].unique().to_list() == ["c"]


@pytest.fixture(scope="module")
def words_of_shop() -> SimpleNamespace:
    X, _, _ = shop(600)
    secret = pl.when(pl.int_range(pl.len()) < 9).then(pl.lit(" zanzibar")).otherwise(pl.lit(""))
    X = X.with_columns(title=pl.col("title") + secret, query=pl.col("query").str.to_titlecase())
    y = X["title"].str.contains("shoe").to_numpy()
    model = hybrid(behavior=None, numeric=[], categorical=[]).fit(X, y)
    return SimpleNamespace(model=model, X=X, table=word_table(model, X, None, 0))


def test_words_that_make_the_label_push_most(words_of_shop: SimpleNamespace) -> None:
    titles = words_of_shop.table.filter(role="item")
    assert titles["word"][0] == "shoe"
    assert titles["effect"][0] > 1
    assert titles["rows"][0] == words_of_shop.X["title"].str.contains("shoe").sum()


def test_effect_of_a_word_is_the_margin_less_that_without_it(words_of_shop: SimpleNamespace) -> None:
    model, X = words_of_shop.model, words_of_shop.X
    row = words_of_shop.table.row(by_predicate=(pl.col("role") == "query") & (pl.col("word") == "red"), named=True)
    texts = X.unique("query", keep="first", maintain_order=True).filter(pl.col("query").str.contains("Red"))
    assert row["texts"] == texts.height
    without = texts.with_columns(pl.col("query").str.replace("Red", " "))
    lost = model.booster_.margin(model.matrix(texts)) - model.booster_.margin(model.matrix(without))
    assert row["effect"] == pytest.approx(float(lost.mean()), abs=1e-5)


def test_words_of_many_rows_are_counted_in_those_drawn(
    words_of_shop: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hybrid.reports.words.ROWS", 300)
    drawn = words_of_shop.X[sample_rows(600, None, 300, 0)]
    table = word_table(words_of_shop.model, words_of_shop.X, None, 0)
    for row in table.filter(role="query").iter_rows(named=True):
        assert row["rows"] == drawn["query"].str.to_lowercase().str.contains(row["word"]).sum() >= 10


def test_words_of_few_rows_or_few_people_are_not_shown(words_of_shop: SimpleNamespace) -> None:
    assert "zanzibar" not in words_of_shop.table["word"]
    few_people = np.arange(600) % 9
    assert word_table(words_of_shop.model, words_of_shop.X, few_people, 0).is_empty()
