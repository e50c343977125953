"""The text head: out-of-fold logits, how they enter the trees, and what they add to a score."""

from __future__ import annotations

from pathlib import Path

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest
import torch
from encoders import HashEncoder
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, softmax
from shop import hybrid, shop
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from hybrid import Coordinates, HybridClassifier, Match, TextEncoder, TextHead, TrainingError, load
from hybrid.boosters import TreeParameters, booster_class
from hybrid.encoded_texts import EncodedTexts
from hybrid.errors import ParameterError
from hybrid.head import HeadFit, fit_head
from hybrid.head.choice import choose
from hybrid.head.folds import head_folds
from hybrid.head.network import HeadInputs
from hybrid.head.training import scaled_loss, tempered_loss
from hybrid.head.wide import WideRows, fit_wide
from hybrid.head.words import NGrams, WordVectors
from hybrid.matrix import BaseMargin, Column, FeatureMatrix

xgb = pytest.importorskip("xgboost")

ENCODER = TextEncoder(HashEncoder(), store=None)
WORDS = np.array(["shoe", "boot", "hat", "scarf", "coat", "glove", "sock", "belt", "bag", "ring"])


class Blind:
    """An encoder that tells no text from another."""

    def encode(self, texts: list[str]) -> np.ndarray:
        return np.tile([1.0, 2.0, 3.0], (len(texts), 1))


def said(n: int, seed: int = 0) -> tuple[pl.DataFrame, np.ndarray]:
    """Texts of three words, and the class that the first of them makes, one of five."""
    rng = np.random.default_rng(seed)
    words = rng.choice(WORDS, (n, 3))
    y = np.searchsorted(np.sort(WORDS), words[:, 0]) // 2
    return pl.DataFrame({"text": [f"{a} kind of {b} for {c}" for a, b, c in words]}), y


def encoded(texts: pl.DataFrame, encoder: TextEncoder = ENCODER) -> EncodedTexts:
    return EncodedTexts(texts.to_dict(), {role: encoder.encode_distinct(texts[role]) for role in texts.columns})


def head_of(texts: pl.DataFrame, y: np.ndarray, declared: TextHead | None = None, **options) -> HeadFit:
    n_classes = options.pop("n_classes", len(np.unique(y)))
    folds = options.pop("folds", head_folds(y, None, None, 4, 0))
    return fit_head(declared or TextHead(), encoded(texts), y, n_classes=n_classes, folds=folds, **options)


def loss_of(logits: np.ndarray, y: np.ndarray) -> float:
    return float(-log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(y)), y].mean())


# Training


@pytest.mark.parametrize("hidden", [0, 32])
def test_a_head_learns_what_texts_say(hidden: int) -> None:
    texts, y = said(1200)
    fit = head_of(texts, y, TextHead(hidden=hidden))
    new, truth = said(400, seed=1)
    logits = fit.head.logits(encoded(new))
    assert (logits.argmax(axis=1) == truth).mean() > 0.9
    assert fit.loss == pytest.approx(loss_of(fit.logits, y), abs=1e-4)
    assert fit.loss < 0.5 * fit.prior_loss
    np.testing.assert_allclose(logits.sum(axis=1), 0, atol=1e-4)


def test_two_texts_are_compared_and_not_only_read() -> None:
    rng = np.random.default_rng(0)
    pairs = pl.DataFrame({"query": rng.choice(WORDS, 1500), "item": rng.choice(WORDS, 1500)})
    y = (pairs["query"] == pairs["item"]).to_numpy().astype(int)
    fit = head_of(pairs, y)
    assert fit.loss < 0.2 * fit.prior_loss


def test_words_that_an_encoder_cannot_see_count() -> None:
    texts, y = said(1200)
    blind = encoded(texts, TextEncoder(Blind(), store=None))
    folds = head_folds(y, None, None, 3, 0)
    losses = {
        (words, wide): fit_head(TextHead(words=words, wide=wide), blind, y, n_classes=5, folds=folds).loss
        for words, wide in ((0, False), (64, False), (0, True))
    }
    assert losses[0, False] > 1.5
    assert losses[64, False] < 0.8
    assert losses[0, True] < 0.1


@pytest.mark.parametrize("n_classes", [2, 5])
def test_a_head_is_the_mean_of_its_folds_network_and_linear_model(n_classes: int) -> None:
    texts, y = said(300)
    y = y % n_classes
    fit = head_of(texts, y, TextHead(words=16, hidden=8))
    head, new = fit.head, encoded(said(50, seed=1)[0])
    assert head.wide is not None
    beside = head.words.beside(new.embedded["text"], new.texts["text"])
    networks = [network.predict(HeadInputs([beside])) for network in head.networks]
    assert len(networks) == 4
    by_hand = np.mean(networks, axis=0) * head.scale + head.wide.logits(new.texts["text"])
    np.testing.assert_allclose(head.logits(new), by_hand - by_hand.mean(axis=1, keepdims=True), atol=1e-5)
    assert head.logits(encoded(said(50)[0][:0])).shape == (0, n_classes)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_wide_model_is_the_regression_of_the_library(n_classes: int) -> None:
    texts, y = said(300)
    y, part = y % n_classes, np.arange(0, 300, 2)
    distinct = texts["text"].unique(maintain_order=True)
    index = np.array([distinct.to_list().index(text) for text in texts["text"]])
    weight = np.random.default_rng(0).random(150)
    ngrams, weighted = NGrams.fit(distinct)
    known = WideRows(ngrams, distinct, index, np.arange(300), n_classes, weighted)
    counted = WideRows(ngrams, distinct, index, part, n_classes)
    library = LogisticRegression(C=10.0, tol=1e-3, max_iter=50)
    library.fit(weighted[index[part]], y[part], sample_weight=weight / weight.mean())
    for rows in (known, counted):
        model = fit_wide(rows, part, y[part], weight)
        logits = rows.logits(model, np.arange(300))
        np.testing.assert_allclose(softmax(logits, axis=1), library.predict_proba(weighted[index]), atol=1e-3)
        np.testing.assert_allclose(logits, model.logits(texts["text"]), atol=1e-5)


def test_a_wide_model_knows_how_improbable_a_class_without_rows_is() -> None:
    texts, y = said(100)
    index = np.arange(100)
    ngrams, weighted = NGrams.fit(texts["text"])
    rows = WideRows(ngrams, texts["text"], index, index, 7, weighted)
    for codes in (y, np.full(100, 3)):
        proba = softmax(rows.logits(fit_wide(rows, index, codes, None), index), axis=1)
        assert 0 < proba[:, 5:].max() < 0.02
        assert (proba.argmax(axis=1) == codes).mean() > 0.9


def test_out_of_fold_logits_know_nothing_of_labels_that_mean_nothing() -> None:
    texts = pl.DataFrame({"text": [f"{word} number {i}" for i, word in enumerate(WORDS.repeat(60))]})
    y = np.random.default_rng(1).integers(0, 2, texts.height)
    fit = head_of(texts, y)
    assert (fit.logits.argmax(axis=1) == y).mean() == pytest.approx(0.5, abs=0.07)
    assert fit.loss > fit.prior_loss - 0.01


def test_a_row_s_logits_do_not_depend_on_its_label() -> None:
    texts, y = said(300)
    folds = head_folds(y, None, None, 3, 0)
    changed = np.where(folds == 0, 4 - y, y)
    # The temperature and the number of epochs are chosen on all rows; the order of the logits is the held-out network's own.
    first, second = (head_of(texts, labels, folds=folds).logits[folds == 0] for labels in (y, changed))
    assert (first.argmax(axis=1) == second.argmax(axis=1)).mean() > 0.7


def test_the_same_seed_gives_the_same_head_whatever_else_draws_random_numbers() -> None:
    texts, y = said(200)
    first = head_of(texts, y, random_state=3)
    torch.rand(17)
    second = head_of(texts, y, random_state=3)
    np.testing.assert_array_equal(first.logits, second.logits)
    assert not np.array_equal(first.logits, head_of(texts, y, random_state=4).logits)


def test_eight_examples_a_class_are_enough_for_a_careful_head() -> None:
    rng = np.random.default_rng(0)
    names = [f"{a} {b}" for a in WORDS for b in WORDS[:3]]
    y = np.repeat(np.arange(len(names)), 8)
    texts = pl.DataFrame({"text": [f"{names[k]} {rng.choice(WORDS)} please" for k in y]})
    fit = head_of(texts, y)
    assert fit.loss < 0.7 * fit.prior_loss
    assert loss_of(fit.logits, y) == pytest.approx(
        fit.loss, abs=1e-4
    )  # and says how good it is where it was not trained


def test_a_class_that_a_fold_or_all_rows_lack_is_no_mistake() -> None:
    texts, y = said(200)
    y[0] = 5  # one example: the head of its fold has never seen the class
    fit = head_of(texts, y, n_classes=8)
    assert fit.logits.shape == (200, 8)
    assert np.isfinite(fit.logits).all()
    assert (fit.logits.argmax(axis=1) < 6).all()


def test_texts_that_share_one_n_gram_or_none_are_enough() -> None:
    y = np.arange(80) % 2
    for pair in (["q", "q!"], ["q", "w"]):
        texts = pl.DataFrame({"text": [pair[k] for k in y]})
        fit = head_of(texts, y)
        assert (fit.head.wide is not None) == (pair[1] == "q!")
        assert np.isfinite(fit.head.logits(encoded(texts))).all()


def test_class_weights_raise_rare_classes() -> None:
    rng = np.random.default_rng(0)
    texts = pl.DataFrame({"text": rng.choice(WORDS, 1000)})
    y = (rng.random(1000) < 0.1).astype(int)
    plain, raised = head_of(texts, y), head_of(texts, y, weight=np.where(y == 1, 9.0, 1.0))
    assert softmax(plain.logits, axis=1)[:, 1].mean() == pytest.approx(0.1, abs=0.04)
    assert softmax(raised.logits, axis=1)[:, 1].mean() == pytest.approx(0.5, abs=0.1)


def test_rows_beyond_the_limit_still_get_logits() -> None:
    texts, y = said(900)
    fit = head_of(texts, y, TextHead(max_rows=300))
    assert np.isfinite(fit.logits).all()
    assert fit.loss < fit.prior_loss


def test_a_loss_that_is_no_number_stops_with_the_step() -> None:
    texts, y = said(100)
    with pytest.raises(TrainingError, match=r"at step \d+ of epoch \d: the learning rate 1e\+38 may be too high"):
        head_of(texts, y, TextHead(learning_rate=1e38))


def test_the_temperature_is_the_best_of_a_fine_grid() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 500)
    logits = (np.eye(3)[y] * 3 + rng.normal(0, 2.5, (500, 3))).astype(np.float32)
    loss, temperature = tempered_loss(logits, y, None)
    grid = np.geomspace(0.05, 20, 2000)
    losses = [loss_of(logits / t, y) for t in grid]
    assert loss == pytest.approx(min(losses), abs=1e-5)
    assert temperature == pytest.approx(grid[np.argmin(losses)], rel=0.02)


def test_the_scales_are_the_best_of_a_fine_grid_and_never_negative() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 400)
    right, weight = np.eye(3)[y], rng.random(400)
    parts = [(right * 2 + rng.normal(0, noise, (400, 3))).astype(np.float32) for noise in (1.5, 2.5)]

    def loss_at(*scales: float) -> float:
        logits = sum(scale * part for scale, part in zip(scales, parts, strict=True))
        return float(np.average(-log_softmax(logits.astype(np.float64), axis=1)[np.arange(400), y], weights=weight))

    loss, scales = scaled_loss(parts, y, weight)
    assert loss == pytest.approx(loss_at(*scales), abs=1e-6)
    assert loss < min(loss_at(a, b) for a in np.linspace(0, 2, 41) for b in np.linspace(0, 2, 41)) + 1e-5
    assert scaled_loss([parts[0], -right.astype(np.float32)], y, weight)[1][1] == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_head_on_cuda_learns_as_on_the_cpu() -> None:
    texts, y = said(400)
    on_cuda = {role: ENCODER.encode_distinct(texts[role], device="cuda") for role in texts.columns}
    fit = fit_head(
        TextHead(), EncodedTexts(texts.to_dict(), on_cuda), y, n_classes=5, folds=head_folds(y, None, None, 4, 0)
    )
    assert fit.head.networks[0].weights["w1"].is_cuda
    np.testing.assert_allclose(softmax(fit.logits, axis=1), softmax(head_of(texts, y).logits, axis=1), atol=0.05)


# Folds


def test_folds_keep_groups_and_moments_together_and_classes_even() -> None:
    rng = np.random.default_rng(0)
    codes, groups, times = rng.integers(0, 4, 300), rng.integers(0, 40, 300), rng.integers(0, 90, 300)
    of_groups = pl.DataFrame({"group": groups, "fold": head_folds(codes, groups, times, 5, 0)})
    assert of_groups.group_by("group").agg(pl.col("fold").n_unique())["fold"].max() == 1
    of_times = pl.DataFrame({"time": times, "fold": head_folds(codes, None, times, 5, 0)}).sort("time")
    assert of_times["fold"].is_sorted()
    assert of_times.group_by("time").agg(pl.col("fold").n_unique())["fold"].max() == 1
    assert of_times["fold"].n_unique() == 5
    for one in (np.zeros(300, dtype=int), np.append(np.zeros(299, dtype=int), 1)):
        assert len(np.unique(head_folds(codes, one, None, 5, 0))) > 1
        assert len(np.unique(head_folds(codes, None, one, 5, 0))) > 1
    spread = np.bincount(head_folds(codes, None, None, 5, 0) * 4 + codes).reshape(5, 4)
    assert (spread.max(axis=0) - spread.min(axis=0) <= 1).all()


# Words


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=12))
def test_a_text_has_one_word_vector_in_any_company(texts: list[str]) -> None:
    words = WordVectors.fit(pl.Series([*WORDS, "红色连衣裙", "iphone 15 pro", "红色的鞋", "iphone case"]), 6, 0)
    together = words.vectors(pl.Series(texts, dtype=pl.String))
    alone = np.concatenate([words.vectors(pl.Series([text])) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    lengths = np.linalg.norm(together, axis=1)
    assert (np.isclose(lengths, 1, atol=1e-5) | (lengths == 0)).all()


def test_word_vectors_see_codes_chinese_and_odd_texts() -> None:
    fitted = [
        "wh-1000xm5 headphones",
        "wh-1000xm4 headphones",
        "红色连衣裙",
        "红色的连衣裙 夏季",
        "garden hose",
        "garden rake",
    ]
    words = WordVectors.fit(pl.Series(fitted), 5, 0)
    vectors = words.vectors(
        pl.Series(["WH-1000XM5", "1000xm4 black", "连衣裙", "hose", "😀😀", " ", "x" * 10_000, None])
    )
    assert vectors[0] @ vectors[1] > 0.5
    assert abs(vectors[0] @ vectors[2]) < 0.1
    assert abs(vectors[2] @ vectors[3]) < 0.1
    assert np.isfinite(vectors).all()
    assert not vectors[[4, 5, 7]].any()


# Into the trees


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("booster", ["xgboost", "lightgbm"])
def test_trees_start_from_the_margin_as_in_the_bare_library(booster: str, n_classes: int) -> None:
    rng = np.random.default_rng(0)
    n_margins = 1 if n_classes == 2 else n_classes
    values = rng.normal(size=(500, 3)).astype(np.float32)
    y = rng.integers(0, n_classes, 500)
    margin = rng.normal(size=(500, n_margins)).astype(np.float32)
    columns = tuple(Column(name, "attributes") for name in "abc")
    matrix = FeatureMatrix(values, columns, BaseMargin(margin, margin.mean(axis=0)))
    parameters = TreeParameters(n_estimators=10, max_depth=3, learning_rate=0.3)
    chosen = booster_class(booster)
    trees = chosen.train(chosen.bin(matrix, y, n_jobs=1), n_classes=n_classes, parameters=parameters, n_jobs=1)
    if booster == "xgboost":
        data = xgb.DMatrix(values, label=y, base_margin=margin)
        objective = (
            {"objective": "binary:logistic"} if n_classes == 2 else {"objective": "multi:softprob", "num_class": 3}
        )
        bare = xgb.train({**objective, "eta": 0.3, "max_depth": 3, "tree_method": "hist", "nthread": 1}, data, 10)
        expected = bare.predict(data, output_margin=True).reshape(500, n_margins)
    else:
        objective = {"objective": "binary"} if n_classes == 2 else {"objective": "multiclass", "num_class": 3}
        options = {
            **objective,
            "eta": 0.3,
            "max_depth": 3,
            "num_leaves": 8,
            "max_bin": 255,
            "lambda_l2": 1.0,
            "verbosity": -1,
        }
        options |= {"min_sum_hessian_in_leaf": 1.0, "num_threads": 1, "deterministic": True, "force_col_wise": True}
        data = lgb.Dataset(values, y, init_score=margin.squeeze(), params={"feature_pre_filter": False})
        bare = lgb.train(options, data, 10)
        expected = bare.predict(values, raw_score=True).reshape(500, n_margins) + margin
    np.testing.assert_allclose(trees.margin(matrix), expected, atol=1e-4)
    proba = softmax(expected, axis=1) if n_classes > 2 else expit(expected[:, 0])
    np.testing.assert_allclose(trees.predict_proba(matrix)[:, -1 if n_classes == 2 else slice(None)], proba, atol=1e-5)
    total = trees.contributions(matrix).sum(axis=2) + matrix.margin.contributions
    np.testing.assert_allclose(total, expected, atol=1e-4)


@pytest.mark.parametrize("booster", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("mode", ["margin", "feature"])
def test_explanations_add_up_with_the_head_in_its_group(booster: str, mode: str) -> None:
    X, y, events = shop()
    model = hybrid(booster=booster, head=mode).fit(X, y, events=events)
    assert model.head_.mode == mode
    shown = model.explain(X[:50])
    np.testing.assert_allclose(expit(shown["margin"]), model.predict_proba(X[:50])[:, 1], atol=1e-5)
    np.testing.assert_allclose(shown.drop("margin").to_numpy().sum(axis=1), shown["margin"], atol=1e-4)
    assert shown["text head"].abs().mean() > 0.1
    by_column = model.explain(X[:50], by="column").drop("margin")
    np.testing.assert_allclose(by_column.to_numpy().sum(axis=1), shown["margin"], atol=1e-4)
    report = model.report(X, y, ablation_folds=2)
    assert set(report.groups["group"]) >= {"text head", "text match"}
    assert report.groups.filter(group="text head")["permutation"].item() > 0
    assert "text head" in report.ablation["dropped"].to_list()


@pytest.mark.parametrize(("mode", "n_classes"), [("margin", 2), ("feature", 2), ("margin", 5), ("feature", 5)])
def test_a_saved_head_scores_the_same(mode: str, n_classes: int, tmp_path: Path) -> None:
    texts, y = said(200)
    labels = np.array(["no", "yes", "maybe", "later", "never"])[y % n_classes]
    model = HybridClassifier(text={"query": "text"}, encoder=ENCODER, head=mode, n_estimators=5, n_jobs=1)
    model.set_params(text_channels={"head": TextHead(words=16, hidden=8), "coordinates": Coordinates(n=2)})
    model.fit(texts, labels).save(tmp_path / "artifact")
    loaded = load(tmp_path / "artifact", encoder=HashEncoder())
    np.testing.assert_array_equal(loaded.predict_proba(texts), model.predict_proba(texts))
    assert loaded.head_ == model.head_
    assert loaded.channels() == model.channels()


def test_auto_takes_the_way_with_the_least_held_out_loss_and_says_so() -> None:
    X, y, events = shop()
    model = hybrid(head="auto").fit(X, y, events=events)
    assert set(model.head_.losses) == {"margin", "feature", "none"}
    assert (model.head_.mode or "none") == min(model.head_.losses, key=model.head_.losses.get)
    assert "held-out log loss" in model.head_.reason
    assert model.provenance(X)["text head"] == (model.head_.mode or "none")


@pytest.mark.parametrize("clearly", [False, True])
def test_auto_tries_a_way_that_is_clearly_worse_once(clearly: bool) -> None:
    texts, y = said(300)
    fit, labels = head_of(texts, y), np.arange(5)
    grown: list[str] = []

    class Trees:
        """Sure of the right class, but wrong on rows of its own."""

        def __init__(self, way: str) -> None:
            self.rng = np.random.default_rng(len(way) + len(grown))
            self.wrong = 0.2 if way == "feature" else 0.8 if clearly else 0.22

        def predict_proba(self, matrix: FeatureMatrix) -> np.ndarray:
            proba = np.full((len(matrix), 5), 0.1)
            said = matrix.values[:, 0].astype(int) + (self.rng.random(len(matrix)) < self.wrong)
            proba[np.arange(len(matrix)), said % 5] = 0.6
            return proba

    def grow(train: FeatureMatrix, _: np.ndarray, held: FeatureMatrix, y_held: np.ndarray) -> Trees:
        grown.append("margin" if train.margin is not None else "feature" if "text head" in train.groups else "none")
        return Trees(grown[-1])

    matrix = FeatureMatrix(y.astype(np.float32)[:, None], (Column("class", "attributes"),))
    folds = head_folds(y, None, None, 3, 0)
    splits = [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in range(3)]
    choice = choose(matrix, fit, y, splits, labels, grow, 0)
    assert grown.count("margin") == grown.count("none") == (1 if clearly else 3)
    assert max(map(grown.count, grown)) == 3
    assert (choice.mode or "none") == min(choice.losses, key=choice.losses.get)
    if clearly:
        assert choice.mode == "feature"
        assert choice.losses["margin"] > choice.losses["feature"] + 0.5


def test_auto_leaves_out_a_head_that_says_nothing() -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"text": rng.choice(WORDS, 300), "price": rng.random(300)})
    y = frame["price"].to_numpy() > 0.5
    model = HybridClassifier(text={"query": "text"}, numeric=["price"], encoder=ENCODER, n_estimators=10, n_jobs=1)
    model.fit(frame, y)
    assert model.head_.mode is None
    assert "no better than" in model.head_.reason
    assert "text head" not in {column.group for column in model.columns_}


def test_a_head_may_be_all_that_there_is() -> None:
    texts, y = said(400)
    model = HybridClassifier(
        text={"query": "text"},
        encoder=ENCODER,
        head="margin",
        text_channels={"coordinates": 0},
        n_estimators=5,
        n_jobs=1,
    ).fit(texts, y)
    assert (model.predict(texts) == y).mean() > 0.9
    assert set(model.explain(texts[:3]).columns) == {"class", "text head", "bias", "margin"}
    switched = clone(model).set_params(text_channels={"coordinates": 4}, without=["query text"]).fit(texts, y)
    np.testing.assert_allclose(switched.predict_proba(texts), model.predict_proba(texts), atol=1e-5)


@pytest.mark.parametrize("booster", ["xgboost", "lightgbm"])
def test_the_report_of_one_text_refits_without_its_coordinates_and_without_its_head(booster: str) -> None:
    texts, y = said(300)
    model = HybridClassifier(
        text={"query": "text"}, encoder=ENCODER, head="margin", booster=booster, n_estimators=5, n_jobs=1
    )
    ablation = model.fit(texts, y).report(texts, y, ablation_folds=2).ablation.filter(metric="log_loss")
    loss = dict(ablation.select("dropped", "value").iter_rows())
    assert set(loss) == {"none", "query text", "text head"}
    assert loss["text head"] > loss["none"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "margins"}, r"head must be one of 'auto', 'margin', 'feature', None, not 'margins'"),
        ({"text_channels": {"heads": True}}, r"no text channel 'heads'; did you mean 'head'"),
        ({"text_channels": {"head": {"hiden": 3}}}, r"no option 'hiden'; did you mean 'hidden'"),
        ({"text_channels": {"head": TextHead(roles=["querry"])}}, r"reads 'querry', which is no text role; did you mean 'query'"),
        ({"text_channels": {"head": 3}}, r"give TextHead"),
        ({"text_channels": {"coordinates": -1}}, r"at least 0, not -1"),
        ({"text_channels": {"coordinates": {"by_role": {"itm": 3}}}}, r"'itm', which is no text role; did you mean 'item'"),
        ({"text_channels": {"match": 1}}, r"give Match"),
        ({"text_channels": {"recent_interest": True}}, r"a number of events"),
        ({"text_channels": ["match"]}, r"must be a mapping"),
        ({"text_channels": {"match": Match(attributes=["brnd"])}}, r"'brnd', which is no categorical column"),
        ({"feature_weights": {"query txt": 2}}, r"'query txt', which is not there; did you mean 'query text'"),
        ({"feature_weights": {"query text": 0}}, r"must be a number above 0, not 0"),
        ({"feature_weights": {"query text": 2}, "booster": "lightgbm"}, r"LightGBM cannot weight columns"),
    ],
)  # fmt: skip
def test_channels_that_mean_nothing_are_refused(options: dict, message: str) -> None:
    X, y, events = shop(100)
    with pytest.raises(ParameterError, match=message):
        hybrid(**{"head": "margin", **options}).fit(X, y, events=events)


@pytest.mark.parametrize(
    "wrong",
    [{"hidden": -1}, {"wide": 1}, {"dropout": 1.0}, {"folds": 1}, {"learning_rate": 0}, {"roles": ["a", "b", "c"]}],
)
def test_sizes_that_a_head_cannot_have_are_refused(wrong: dict) -> None:
    with pytest.raises(ParameterError, match=f"{next(iter(wrong))}.* of a text head"):
        TextHead(**wrong)


def test_nearly_all_may_be_dropped() -> None:
    X, y, events = shop(200)
    fitted = hybrid(head="feature", text_channels={"head": TextHead(dropout=0.999)}).fit(X, y, events=events)
    assert np.isfinite(fitted.predict_proba(X, events=events)).all()


def test_channels_are_switched_and_sized() -> None:
    X, y, events = shop(200)
    none = hybrid(text_channels={"match": False, "coordinates": False, "head": False}).fit(X, y, events=events)
    assert not {column.group for column in none.columns_} & {"query text", "item text", "text match", "text head"}
    sized = hybrid(text_channels={"coordinates": Coordinates(n=3, by_role={"item": 2})}).fit(X, y, events=events)
    names = [column.name for column in sized.columns_ if "__text_" in column.name]
    assert names == ["query__text_0", "query__text_1", "query__text_2", "item__text_0", "item__text_1"]


def test_columns_of_little_weight_are_seldom_drawn() -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"price": rng.random(500), "text": rng.choice(WORDS, 500)})
    y = (frame["price"].to_numpy() + rng.normal(0, 0.3, 500)) > 0.5
    share = {}
    for weight in (1.0, 1e-6):
        model = HybridClassifier(
            text={"query": "text"}, numeric=["price"], encoder=ENCODER, head=None, colsample=0.1, n_estimators=20, n_jobs=1,
            early_stopping_rounds=None, feature_weights={"query text": weight},
        ).fit(frame, y)  # fmt: skip
        used = model.booster_.gain() > 0
        share[weight] = sum(c.group == "query text" for c, u in zip(model.columns_, used, strict=True) if u)
    assert share[1e-6] == 0
    assert share[1.0] > 0
