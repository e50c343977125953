"""A small made-up shop: examples, labels and events, with something in both texts and behaviour to learn."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
from encoders import HashEncoder

from features import BehaviorFeatures, EventLog
from hybrid import HybridClassifier, TextEncoder

START = datetime(2026, 1, 1)
WORDS = ["red shoe", "blue shoe", "green hat", "wool coat", "rain coat", "straw hat"]
LOG = EventLog(user="user", item="item", timestamp="ts")
BEHAVIOR = BehaviorFeatures(LOG, keys=["user", ("user", "item")], windows=["7d", "all"])
TEXT = {"query": "query", "item": ["title", "brand"]}
# One thread: on busy machines, threads that wait for each other cost more than such small trees.
FAST = {
    "n_jobs": 1,
    "n_estimators": 30,
    "max_depth": 3,
    "learning_rate": 0.3,
    "head": None,
    "text_channels": {"coordinates": 4},
}


def shop(n: int = 400, seed: int = 0) -> tuple[pl.DataFrame, np.ndarray, pl.DataFrame]:
    """Examples, labels and events: a purchase follows a word in common, or more than four earlier events of the pair."""
    rng = np.random.default_rng(seed)
    hours = lambda low, high, size: [START + timedelta(hours=int(h)) for h in rng.integers(low, high, size)]  # noqa: E731 - short and local
    events = pl.DataFrame(
        {"user": rng.integers(0, 30, 600), "item": rng.integers(0, 6, 600), "ts": hours(0, 1000, 600)}
    )
    examples = pl.DataFrame({
        "user": rng.integers(0, 30, n), "item": rng.integers(0, 6, n), "ts": hours(500, 1500, n),
        "query": rng.choice(WORDS, n), "brand": [["Acme", "Zed", None][i] for i in rng.integers(0, 3, n)],
        "price": rng.random(n), "category": rng.choice(["a", "b"], n),
    })  # fmt: skip
    examples = examples.with_columns(title=pl.Series([WORDS[i] for i in examples["item"]]))
    shared = np.array([bool(set(q.split()) & set(t.split())) for q, t in examples.select("query", "title").iter_rows()])
    pairs = BEHAVIOR.fit(events).transform(examples)["user_x_item__event__all"].to_numpy()
    return examples, shared | (pairs > 4), events


def hybrid(**options) -> HybridClassifier:
    """An unfitted model of everything that the shop has; options replace parameters."""
    declared = {
        "text": TEXT,
        "behavior": BEHAVIOR,
        "categorical": ["category"],
        "numeric": ["price"],
        "encoder": TextEncoder(HashEncoder()),
    }
    return HybridClassifier(**{**declared, **FAST, **options})
