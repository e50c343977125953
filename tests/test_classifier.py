"""The hybrid classifier: what it learns, how it keeps scikit-learn's conventions, and what it refuses."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from encoders import HashEncoder
from shop import BEHAVIOR, FAST, START, TEXT, WORDS, hybrid, shop
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score

from features import ColumnError, EmptyFrameError, TimestampError
from hybrid import DeviceError, HybridClassifier, LabelError, MatrixError, ParameterError, TextEncoder


@pytest.mark.parametrize("booster", ["xgboost", "lightgbm"])
def test_text_and_behaviour_together_beat_either_alone(booster):
    X, y, events = shop(1200)
    scores = {}
    for name, parts in {"both": {}, "text": {"behavior": None}, "behaviour": {"text": None}}.items():
        model = hybrid(booster=booster, **parts)
        with_events = {} if model.behavior is None else {"events": events}
        model.fit(X[:800], y[:800], eval_set=(X[800:1000], y[800:1000]), **with_events)
        scores[name] = roc_auc_score(y[1000:], model.predict_proba(X[1000:])[:, 1])
    assert scores["both"] > max(scores["text"], scores["behaviour"]) + 0.02
    assert scores["both"] > 0.97


def test_every_column_is_in_one_of_the_designs_groups():
    X, y, events = shop()
    model = hybrid().fit(X, y, events=events)
    groups = {column.name: column.group for column in model.columns_}
    assert groups["query__text_0"] == "query text"
    assert groups["item__text_3"] == "item text"
    assert groups["query_x_item__cosine"] == "text match"
    assert groups["user__event__7d"] == groups["user_x_item__since__event"] == "user behaviour"
    assert groups["price"] == groups["category"] == "attributes"
    assert model.predict_proba(X).shape == (len(X), 2)
    assert model.predict_proba(X).dtype == np.float32


def test_the_matrix_holds_what_its_columns_say():
    X, y, events = shop(60)
    model = hybrid(without=["item text"]).fit(X, y, events=events)
    values = dict(zip([c.name for c in model.columns_], model.matrix(X).numpy().T, strict=True))
    encoder = HashEncoder()
    for i, row in enumerate(X.iter_rows(named=True)):
        item = ". ".join(part for part in (row["title"], row["brand"]) if part)
        a, b = encoder.encode([row["query"], item])
        assert values["query_x_item__cosine"][i] == pytest.approx(
            a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-5
        )
        left, right = set(row["query"].split()), set(item.lower().replace(".", "").split())
        assert values["query_x_item__jaccard"][i] == pytest.approx(len(left & right) / len(left | right))
        assert values["query_x_item__covered"][i] == pytest.approx(len(left & right) / len(left))
        assert values["query_x_item__covers"][i] == pytest.approx(len(left & right) / len(right))
        assert values["price"][i] == pytest.approx(row["price"])
    expected = BEHAVIOR.fit(events).transform(X)
    for name in expected.columns:
        np.testing.assert_allclose(values[name], expected[name].to_numpy().astype(np.float32))
    assert not any(name.startswith("item__text") for name in values)


def test_coordinates_are_the_principal_components_of_the_distinct_texts():
    X, y, _ = shop(100)
    model = HybridClassifier(text={"query": "query"}, encoder=TextEncoder(HashEncoder()), **FAST).fit(X, y)
    distinct = sorted(set(X["query"]))
    vectors = HashEncoder().encode(distinct)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    centred = vectors - vectors.mean(axis=0)
    scores = np.abs(centred @ np.linalg.svd(centred)[2][:4].T)
    got = np.abs(model.matrix(pl.DataFrame({"query": distinct})).numpy())
    np.testing.assert_allclose(got, scores, atol=1e-5)


def test_recent_interest_is_the_cosine_to_what_the_user_last_met():
    log = pl.DataFrame({
        "user": ["ann", "ann", "ann", "bob"], "item": [0, 1, 2, 3], "title": WORDS[:4], "brand": [None] * 4,
        "ts": [START + timedelta(hours=h) for h in (0, 1, 5, 0)],
    }, schema_overrides={"brand": pl.String})  # fmt: skip
    X = pl.DataFrame({
        "user": ["bob", "ann", "ann", "new"], "query": ["coat"] * 4, "title": [WORDS[4]] * 4, "brand": [None] * 4,
        "ts": [START + timedelta(hours=h) for h in (0, 5, 6, 6)], "item": [4] * 4, "price": [1.0] * 4, "category": ["a"] * 4,
    }, schema_overrides={"brand": pl.String})  # fmt: skip
    model = hybrid(text_channels={"coordinates": 4, "recent_interest": 2}, early_stopping_rounds=None).fit(
        pl.concat([X] * 5), [0, 1, 1, 0] * 5, events=log.cast({"brand": pl.String})
    )
    values = dict(zip([c.name for c in model.columns_], model.matrix(X).numpy().T, strict=True))
    unit = {text: v / np.linalg.norm(v) for text, v in zip(WORDS, HashEncoder().encode(WORDS), strict=True)}
    for row, recent in [(1, [WORDS[1], WORDS[0]]), (2, [WORDS[2], WORDS[1]])]:
        mean = unit[recent[0]] + 0.25 * unit[recent[1]]
        assert values["recent_interest__cosine"][row] == pytest.approx(
            unit[WORDS[4]] @ mean / np.linalg.norm(mean), abs=1e-5
        )
        assert values["recent_interest__max_cosine"][row] == pytest.approx(
            max(unit[WORDS[4]] @ unit[t] for t in recent), abs=1e-5
        )
    assert np.isnan(values["recent_interest__cosine"][[0, 3]]).all()  # bob's only event is at that very moment


@pytest.mark.parametrize("booster", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("labels", [["no", "yes", "maybe"], [3, 1, 7], [True, False], [0.5, 1.5]])
def test_labels_of_any_type_come_back(booster, labels):
    X, _, _ = shop(150)
    y = np.array([labels[int(p * len(labels))] for p in X["price"]])
    model = HybridClassifier(numeric=["price"], booster=booster, **FAST).fit(X, y)
    assert model.classes_.tolist() == sorted(labels)
    assert (model.predict(X) == y).mean() > 0.95
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-5)


def test_scikit_learn_conventions():
    X, y, events = shop(200)
    model = hybrid()
    assert model.get_params()["text"] is TEXT
    assert model.fit(X, y, events=events) is model
    again = clone(model).set_params(max_depth=2)
    assert again.max_depth == 2
    assert not hasattr(again, "booster_")
    assert BEHAVIOR is model.behavior
    scores = cross_val_score(hybrid(behavior=None), X, y, cv=3, scoring="roc_auc")
    assert scores.shape == (3,)
    assert cross_val_score(hybrid(), X, y, cv=3, params={"events": events}).mean() > 0.5


def test_pandas_and_arrow_score_as_polars():
    X, y, events = shop(200)
    model = hybrid().fit(X, y, events=events)
    from_pandas = hybrid().fit(X.to_pandas(), pd.Series(y), events=events.to_pandas())
    np.testing.assert_array_equal(model.predict_proba(X), from_pandas.predict_proba(X.to_arrow()))
    explained = model.explain(X.to_pandas().iloc[50:60])
    assert list(explained.index) == list(range(50, 60))


def test_the_same_seed_gives_the_same_bytes():
    X, y, events = shop(300)
    first, second = (hybrid(subsample=0.7, colsample=0.7, random_state=3).fit(X, y, events=events) for _ in range(2))
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))


@pytest.mark.parametrize("booster", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_explanations_add_up_to_the_margin(booster, n_classes):
    X, y, events = shop(300)
    labels = (
        np.where(y, "buy", "leave")
        if n_classes == 2
        else np.array(["a", "b", "c"])[(X["price"] * 3).cast(pl.Int8).to_numpy()]
    )
    model = hybrid(booster=booster).fit(X, labels, events=events)
    for by in ("group", "column"):
        explained = model.explain(X[:20], by=by)
        parts = explained.drop("margin", "class", strict=False)
        np.testing.assert_allclose(parts.sum_horizontal(), explained["margin"], atol=1e-4)
        margin = model.booster_.margin(model.matrix(X[:20])).ravel()
        np.testing.assert_allclose(explained["margin"], margin, atol=1e-4)
    assert set(model.explain(X[:20]).columns) >= {
        "query text",
        "item text",
        "text match",
        "user behaviour",
        "attributes",
    }


def test_events_at_prediction_replace_the_fitted_log():
    X, y, events = shop(300)
    model = hybrid().fit(X, y, events=events)
    np.testing.assert_array_equal(model.predict_proba(X, events=events), model.predict_proba(X))
    assert not np.array_equal(model.predict_proba(X, events=events[:50]), model.predict_proba(X))


def test_unseen_and_missing_values_score():
    X, y, events = shop(300)
    model = hybrid().fit(X, y, events=events)
    strange = X[:3].with_columns(
        category=pl.Series(["new", None, "a"]),
        query=pl.Series([None, "", "红色 鞋子"]),
        price=pl.Series([None, 1.0, 2.0]),
        user=pl.lit(None, dtype=pl.Int64),
    )
    assert np.isfinite(model.predict_proba(strange)).all()


def test_class_and_sample_weights_move_the_scores():
    X, _, _ = shop(400)
    y = X["price"].to_numpy() + np.random.default_rng(0).normal(0, 0.3, 400) > 0.9
    plain = HybridClassifier(numeric=["price"], **FAST)
    balanced = clone(plain).set_params(class_weight="balanced").fit(X, y).predict_proba(X)[:, 1].mean()
    by_hand = (
        clone(plain)
        .fit(X, y, sample_weight=np.where(y, len(y) / 2 / y.sum(), len(y) / 2 / (~y).sum()))
        .predict_proba(X)[:, 1]
        .mean()
    )
    assert balanced == pytest.approx(by_hand, rel=1e-6)
    assert balanced > plain.fit(X, y).predict_proba(X)[:, 1].mean() + 0.05


def test_early_stopping_holds_whole_groups_out_and_then_learns_from_all_rows():
    X, _, _ = shop(300)
    rng = np.random.default_rng(0)
    y = rng.random(300) > 0.5  # noise: the fewest rounds are best
    model = HybridClassifier(numeric=["price"], n_jobs=1, n_estimators=300, early_stopping_rounds=10).fit(
        X, y, groups=X["user"]
    )
    assert model.booster_.best_iteration < 50
    fixed = HybridClassifier(
        numeric=["price"], n_estimators=model.booster_.best_iteration, early_stopping_rounds=None
    ).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), fixed.predict_proba(X))


def test_cuda_without_a_gpu_is_an_error_before_any_work():
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    X, y, events = shop(50)
    encoder = HashEncoder()
    for options in ({}, {"text": None}):
        with pytest.raises(DeviceError, match="cuda"):
            hybrid(device="cuda", encoder=encoder, **options).fit(X, y, events=events)
    assert encoder.texts == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_the_matrix_stays_on_the_device_and_scores_agree():
    X, y, events = shop(1200)
    on_gpu = hybrid(device="cuda").fit(X, y, events=events)
    assert on_gpu.devices_ == {"encoder": "cuda", "booster": "cuda"}
    assert on_gpu.matrix(X).values.is_cuda
    on_cpu = hybrid(device="cpu").fit(X, y, events=events)
    assert np.abs(on_gpu.predict_proba(X) - on_cpu.predict_proba(X)).mean() < 0.02


def fit_with(change=None, y=None, events=None, **options):
    X, labels, log = shop(60)
    X = X if change is None else change(X)
    hybrid(**options).fit(X, labels if y is None else y, events=log if events is None else events)


@pytest.mark.parametrize(
    ("attempt", "error", "message"),
    [
        ({"change": lambda X: X.rename({"query": "querry"})}, ColumnError, r"no column 'query'; did you mean 'querry'\?"),
        ({"change": lambda X: X.with_columns(query=pl.lit(1))}, ColumnError, "'query' of examples must hold strings, not Int32"),
        ({"change": lambda X: X.with_columns(price=pl.lit(np.inf))}, ColumnError, "'price' of examples has 60 NaN or infinite"),
        ({"change": lambda X: X.with_columns(price=pl.lit("dear"))}, ColumnError, "'price' of examples must be numeric"),
        ({"change": lambda X: X[:0]}, EmptyFrameError, "examples is empty"),
        ({"change": lambda X: X.with_columns(pl.col("ts").dt.replace_time_zone("UTC"))}, TimestampError, "time zone"),
        ({"y": [True] * 60}, LabelError, "one class only"),
        ({"y": [True, None] * 30}, LabelError, "30 null labels in 60 rows"),
        ({"y": [1.0, float("nan")] * 30}, LabelError, "30 null labels"),
        ({"y": [True, False]}, LabelError, "2 labels for 60 rows"),
        ({"events": pl.DataFrame({"user": [1], "ts": [START]})}, ColumnError, "events has no column 'item'"),
        ({"booster": "xgbost"}, ParameterError, "did you mean 'xgboost'"),
        ({"without": ["query txt"]}, ParameterError, r"did you mean 'query text'\?"),
        ({"eval_metric": "auc"}, ParameterError, "auc"),
        ({"numeric": "price"}, ParameterError, "must be a list"),
        ({"max_depth": -1}, ParameterError, "max_depth"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(attempt, error, message):
    with pytest.raises(error, match=message):
        fit_with(**attempt)


def test_behaviour_without_events_and_events_without_behaviour_are_refused():
    X, y, events = shop(60)
    with pytest.raises(ParameterError, match="give fit its event log"):
        hybrid().fit(X, y)
    with pytest.raises(ParameterError, match="declares no behavior"):
        hybrid(behavior=None).fit(X, y, events=events)
    with pytest.raises(ParameterError, match="no evidence"):
        HybridClassifier().fit(X, y)
    with pytest.raises(LabelError, match="which the training labels lack"):
        HybridClassifier(numeric=["price"]).fit(X, y, eval_set=(X, ["x"] * len(X)))


def test_two_columns_of_one_name_are_refused():
    X, y, events = shop(60)
    with pytest.raises(MatrixError, match="two columns are named 'user__event__all'"):
        hybrid(numeric=["user__event__all"]).fit(X.with_columns(user__event__all=pl.lit(1.0)), y, events=events)
