"""Carrying a model to a new domain: chosen on the new domain's rows, better than either domain alone where labels are few."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from encoders import HashEncoder
from scipy.special import expit
from shop import hybrid, shop

from hybrid import HybridClassifier, LabelError, ParameterError, TextEncoder, TextHead, load
from hybrid.boosters import TreeParameters
from hybrid.metrics import row_losses

WORDS = np.array(["shoe", "boot", "hat", "scarf", "coat", "glove", "sock", "belt"])


def domain(n: int, turned: bool, seed: int) -> tuple[pl.DataFrame, np.ndarray]:
    """A price and a word both matter; in the new domain half of the words mean the opposite."""
    rng = np.random.default_rng(seed)
    word, price = rng.integers(0, 8, n), rng.random(n)
    good = (word % 2 == 0) ^ (turned & (word < 4))
    y = rng.random(n) < expit(3 * (good - 0.5) + 6 * (price - 0.5))
    return pl.DataFrame({"text": [f"{WORDS[w]} nr {i % 5}" for i, w in enumerate(word)], "price": price}), y


def model(**options) -> HybridClassifier:
    declared = {
        "text": {"item": "text"}, "numeric": ["price"], "encoder": TextEncoder(HashEncoder(), store=None), "n_jobs": 1,
        "n_estimators": 30, "max_depth": 3, "learning_rate": 0.1, "head": "margin",
        "text_channels": {"coordinates": 0, "head": TextHead(words=32, hidden=0, folds=2)},
    }  # fmt: skip
    return HybridClassifier(**{**declared, **options})


@pytest.fixture(scope="module")
def source() -> tuple[HybridClassifier, pl.DataFrame, np.ndarray]:
    X, y = domain(800, turned=False, seed=0)
    return model().fit(X, y), X, y


def loss(fitted: HybridClassifier, X: pl.DataFrame, y: np.ndarray) -> float:
    return float(row_losses(y.astype(int), fitted.predict_proba(X)).mean())


def test_few_labels_carry_a_model_further_than_either_domain_alone(source) -> None:
    fitted, X, y = source
    few, labels = domain(100, turned=True, seed=1)
    new, truth = domain(1500, turned=True, seed=2)
    before = fitted.predict_proba(new)
    adapted = fitted.adapt(few, labels, source=(X, y))
    assert loss(adapted, new, truth) < loss(fitted, new, truth) - 0.05
    assert loss(adapted, new, truth) < loss(model().fit(few, labels), new, truth)
    assert adapted.adaptation_.way == min(adapted.adaptation_.losses, key=adapted.adaptation_.losses.get) != "as it is"
    assert set(adapted.adaptation_.losses) == {
        "as it is", "new head", "more trees", "refit, source weight 0.1", "refit, source weight 0.5",
    }  # fmt: skip
    np.testing.assert_array_equal(fitted.predict_proba(new), before)
    assert not hasattr(fitted, "adaptation_")


def test_a_model_that_fits_already_is_left_as_it_is(source) -> None:
    fitted, _, _ = source
    few, labels = domain(60, turned=False, seed=3)
    adapted = fitted.adapt(few, labels)
    assert adapted.adaptation_.way == "as it is"
    new, _ = domain(300, turned=False, seed=4)
    np.testing.assert_array_equal(adapted.predict_proba(new), fitted.predict_proba(new))


@pytest.mark.parametrize("booster", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("head", ["margin", "feature", None])
def test_every_kind_of_model_is_adapted_saved_and_explained(booster: str, head: str | None, tmp_path: Path) -> None:
    X, y = domain(300, turned=False, seed=0)
    few, labels = domain(60, turned=True, seed=1)
    adapted = (
        model(booster=booster, head=head, text_channels={"coordinates": 4}, n_estimators=10)
        .fit(X, y)
        .adapt(few, labels)
    )
    assert ("more trees" in adapted.adaptation_.losses) == (booster == "xgboost")
    assert ("new head" in adapted.adaptation_.losses) == (head is not None)
    adapted.save(tmp_path / "artifact")
    loaded = load(tmp_path / "artifact", encoder=HashEncoder())
    np.testing.assert_array_equal(loaded.predict_proba(few), adapted.predict_proba(few))
    shown = adapted.explain(few)
    np.testing.assert_allclose(expit(shown["margin"]), adapted.predict_proba(few)[:, 1], atol=1e-5)


def test_more_trees_begin_where_the_model_ended(source) -> None:
    fitted, _, _ = source
    few, labels = domain(80, turned=True, seed=1)
    matrix = fitted.matrix(few)
    codes, old = labels.astype(int), fitted.booster_.margin(matrix)
    more = fitted.booster_.continued(matrix, codes, parameters=fitted.tree_parameters())
    assert more.best_iteration == fitted.booster_.best_iteration + fitted.n_estimators
    assert row_losses(codes, more.predict_proba(matrix)).mean() < loss(fitted, few, labels)
    still = fitted.booster_.continued(matrix, codes, parameters=TreeParameters(n_estimators=5, learning_rate=1e-12))
    np.testing.assert_allclose(still.margin(matrix), old, atol=1e-5)


def test_behaviour_is_read_from_the_new_domain_s_log() -> None:
    X, y, events = shop(300)
    few, labels, others = shop(60, seed=5)
    fitted = hybrid().fit(X, y, events=events)
    adapted = fitted.adapt(few, labels, events=others)
    expected = fitted.matrix(few, others)
    np.testing.assert_array_equal(adapted.matrix(few).numpy(), expected.numpy())
    assert fitted.builder_.evidence.behavior.log_.height == events.height


def test_what_cannot_be_adapted_is_refused(source) -> None:
    fitted, _, _ = source
    few, labels = domain(9, turned=True, seed=1)
    with pytest.raises(ParameterError, match="at least 10 labelled rows of the new domain, not 9"):
        fitted.adapt(few, labels)
    few, _ = domain(20, turned=True, seed=1)
    with pytest.raises(LabelError, match="which the training labels lack"):
        fitted.adapt(few, ["maybe"] * 20)
    with pytest.raises(LabelError, match="source has no row of the class"):
        fitted.adapt(few, [True] * 10 + [False] * 10, source=(few, [True] * 20))
