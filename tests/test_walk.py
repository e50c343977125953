"""The public API as the README shows it, from events to report, in one go."""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from encoders import HashEncoder

from features import BehaviorFeatures, EventLog, Window
from hybrid import HybridClassifier, TextEncoder, load, score_parquet
from tuning import tune

KINDS = ["impression", "click", "cart", "purchase"]
WORDS = ["red shoe", "blue shoe", "green hat", "wool coat"]


@pytest.fixture(scope="module")
def search():
    """A small search log, examples with labels, and a model of both, as a user declares them."""
    rng = np.random.default_rng(0)
    start = datetime(2026, 5, 1)

    def frame(n, low, high):
        items = rng.integers(0, len(WORDS), n)
        return pl.DataFrame({
            "user_id": [f"u{i}" for i in rng.integers(0, 12, n)], "item_id": items, "query": rng.choice(WORDS, n),
            "session_id": rng.integers(0, 40, n), "ts": [start + timedelta(minutes=int(m)) for m in rng.integers(low, high, n)],
            "price": rng.random(n) * 10, "title": [WORDS[i] for i in items], "description": ["made to last"] * n,
            "category": [WORDS[i].split()[1] for i in items],
        })  # fmt: skip

    events = frame(800, 0, 20_000).with_columns(event=pl.Series(rng.choice(KINDS, 800, p=[0.6, 0.25, 0.1, 0.05])))
    examples = frame(400, 10_000, 30_000)
    y = (examples["query"] == examples["title"]).to_numpy() ^ (rng.random(400) < 0.1)
    log = EventLog(
        user="user_id",
        item="item_id",
        query="query",
        session="session_id",
        event="event",
        timestamp="ts",
        values=["price"],
    )
    behavior = BehaviorFeatures(
        log,
        keys=["user", "item", "query", ("user", "item"), ("query", "item")],
        windows=["1h", "1d", "7d", "30d", Window.all()],
        events=KINDS,
        rates={"ctr": ("click", "impression"), "cvr": ("purchase", "click")},
    )
    model = HybridClassifier(
        text={"query": "query", "item": ["title", "description"]},
        behavior=behavior,
        categorical=["category"],
        numeric=["price"],
        encoder=TextEncoder(HashEncoder()),
        head="feature",
        text_channels={"coordinates": 4},
        n_estimators=40,
        n_jobs=1,
    )
    return model, behavior, events, examples, y


def test_behaviour_columns_are_named_as_documented(search):
    _, behavior, events, examples, _ = search
    X = behavior.fit(events).transform(examples)
    assert X.height == examples.height
    for name in (
        "user_x_item__purchase__30d",
        "query_x_item__ctr__all",
        "item__cvr__7d",
        "query__since__click",
        "user__cart__1h",
    ):
        assert name in X.columns
    assert X["item__ctr__all"].is_between(0, 1, closed="none").all()
    live = behavior.live()
    now = datetime(2026, 6, 1)
    live.observe(events[:5].with_columns(ts=pl.lit(datetime(2026, 5, 31, 23, 30))))
    asked = live.features(examples[:7], now=now)
    assert asked.columns == X.columns
    assert asked["user__purchase__all"].dtype == X["user__purchase__all"].dtype


def test_fit_save_score_and_report(search, tmp_path):
    model, _, events, examples, y = search
    model.fit(examples[:300], y[:300], events=events, eval_set=(examples[300:], y[300:]), groups=None)
    proba = model.predict_proba(examples[300:], events=events)
    assert proba.dtype == np.float32
    assert proba.shape == (100, 2)
    model.save(tmp_path / "artifact")
    np.testing.assert_array_equal(
        load(tmp_path / "artifact", encoder=HashEncoder()).predict_proba(examples[300:]), proba
    )
    examples[300:].write_parquet(tmp_path / "candidates.parquet")
    written = score_parquet(
        tmp_path / "artifact", tmp_path / "*.parquet", tmp_path / "scores", batch_rows=65_536, encoder=HashEncoder()
    )
    np.testing.assert_array_equal(pl.read_parquet(written[0])["proba_True"], proba[:, 1])

    report = model.report(examples[300:], y[300:])
    assert set(report.groups.columns) >= {
        "group",
        "shap",
        "shap_share",
        "permutation",
        "permutation_low",
        "permutation_high",
    }
    assert set(report.columns.columns) >= {"column", "group", "gain", "shap"}
    assert set(report.ablation.columns) >= {"dropped", "metric", "value", "low", "high"}
    assert report.groups["group"][0] in ("text match", "text head")
    assert set(report.groups["group"]) == {
        "query text", "item text", "text match", "text head", "user behaviour", "item behaviour", "query behaviour",
        "attributes",
    }  # fmt: skip
    report.save(tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 5_000_000


def test_tune_resumes_by_name_and_gives_a_model(search, tmp_path):
    model, _, events, examples, y = search
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    options = {
        "cv": "time",
        "folds": 2,
        "metric": "log_loss",
        "storage": storage,
        "study_name": "intent",
        "n_workers": 2,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        first = tune(model, examples, y, events=events, n_trials=3, **options)
        again = tune(model, examples, y, events=events, n_trials=2, **options)
    assert first.trials.columns[:4] == ["number", "state", "value", "duration_s"]
    assert again.trials.height == 5
    best = again.best_model()
    assert best.predict_proba(examples).shape == (400, 2)
    again.report(tmp_path / "study.html")
    assert "<html" in (tmp_path / "study.html").read_text(encoding="utf-8")
