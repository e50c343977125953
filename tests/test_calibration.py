"""Calibration: probabilities that hold, against scikit-learn's, after class weights, in artifacts, reports and new domains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.special import expit, log_softmax, softmax
from shop import hybrid, shop
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from hybrid import Blend, HybridClassifier, LabelError, ParameterError, load, score_parquet
from hybrid.calibrator import Calibrator
from hybrid.holdout import hold_out
from hybrid.metrics import row_losses


def rare(n: int, seed: int) -> tuple[pl.DataFrame, np.ndarray]:
    """One row in eight buys, by two numbers."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=n), rng.normal(size=n)
    buys = rng.random(n) < expit(1.5 * first + np.abs(second) - 3.5)
    return pl.DataFrame({"first": first, "second": second}), np.where(buys, "buys", "leaves")


def model(**options) -> HybridClassifier:
    declared = {"numeric": ["first", "second"], "n_jobs": 1, "n_estimators": 60, "max_depth": 3, "learning_rate": 0.1}
    return HybridClassifier(**{**declared, **options})


def loss(fitted: HybridClassifier, X: pl.DataFrame, y: np.ndarray) -> float:
    return float(row_losses(np.searchsorted(fitted.classes_, y), fitted.predict_proba(X)).mean())


# The numbers


def test_two_classes_are_calibrated_as_scikit_learn_does_by_platt_s_method() -> None:
    rng = np.random.default_rng(0)
    margin = rng.normal(size=(400, 1))
    y = (rng.random(400) < expit(0.4 * margin[:, 0] - 1)).astype(int)
    scores = LogisticRegression().fit([[-1.0], [1.0]], [0, 1])  # whose decision is its input
    scores.coef_, scores.intercept_ = np.array([[1.0]]), np.array([0.0])
    judged = CalibratedClassifierCV(FrozenEstimator(scores), method="sigmoid").fit(margin, y)
    given = Calibrator.fit(margin, y, 2).probabilities(margin)
    np.testing.assert_allclose(given, judged.predict_proba(margin), atol=1e-4)


def test_more_classes_get_their_true_temperature_and_biases_back() -> None:
    rng = np.random.default_rng(0)
    true, temperature = np.array([1.5, -0.5, -1.0]), 2.0
    margin = rng.normal(scale=4, size=(40_000, 3))
    proba = softmax(margin / temperature + true, axis=1)
    y = (proba.cumsum(axis=1) < rng.random((len(margin), 1))).sum(axis=1)
    found = Calibrator.fit(margin, y, 3)
    assert found.temperature == pytest.approx(temperature, rel=0.05)
    np.testing.assert_allclose(found.biases, true, atol=0.08)
    np.testing.assert_allclose(found.probabilities(margin), proba, atol=0.02)


def test_weights_count_as_rows() -> None:
    rng = np.random.default_rng(0)
    margin, y, times = rng.normal(size=(80, 3)), rng.integers(0, 3, 80), rng.integers(1, 4, 80)
    weighted = Calibrator.fit(margin, y, 3, times.astype(float))
    repeated = Calibrator.fit(margin.repeat(times, axis=0), y.repeat(times), 3)
    np.testing.assert_allclose(weighted.probabilities(margin), repeated.probabilities(margin), atol=1e-5)


def test_few_rows_promise_nothing() -> None:
    rng = np.random.default_rng(0)
    parted = Calibrator.fit(np.array([[-3.0], [-2.0], [2.0], [3.0]]), np.array([0, 0, 1, 1]), 2)
    assert parted.probabilities(np.array([[3.0]]))[0, 1] < 0.9
    absent = Calibrator.fit(rng.normal(size=(50, 3)), rng.integers(0, 2, 50), 3)
    assert 0.001 < absent.probabilities(np.zeros((1, 3)))[0, 2] < 0.1


# In a model


@pytest.mark.parametrize("booster", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("eval_set", [None, rare(800, 5)], ids=["held out", "eval_set"])
def test_calibration_mends_what_class_weights_do(booster: str, eval_set) -> None:
    X, y = rare(2000, 1)
    new, truth = rare(4000, 2)
    plain, weighted, calibrated = (
        model(booster=booster, **options).fit(X, y, eval_set=eval_set)
        for options in ({}, {"class_weight": "balanced"}, {"class_weight": "balanced", "calibration": "temperature"})
    )
    assert loss(weighted, new, truth) > loss(plain, new, truth) + 0.1
    assert loss(calibrated, new, truth) < loss(plain, new, truth) + 0.01
    bought = (truth == "buys").mean()
    assert calibrated.predict_proba(new)[:, 0].mean() == pytest.approx(bought, abs=0.02)
    assert weighted.predict_proba(new)[:, 0].mean() > bought + 0.1
    order = [fitted.booster_.margin(fitted.matrix(new))[:, 0].argsort().tolist() for fitted in (weighted, calibrated)]
    assert order[0] == order[1]


def test_rows_that_calibrate_are_not_trained_on() -> None:
    """Trees that know their rows by heart are sure of them: only rows apart show how far from the truth that is."""
    X, _ = rare(600, 1)
    y = np.random.default_rng(7).integers(0, 2, 600)  # nothing to learn
    options = {"early_stopping_rounds": None, "max_depth": 8, "n_estimators": 100, "min_child_weight": 0.0}
    sure, calibrated = (model(**options, calibration=kind).fit(X, y) for kind in (None, "temperature"))
    new, _ = rare(500, 3)
    assert sure.predict_proba(new).max(axis=1).mean() > 0.7
    assert calibrated.predict_proba(new).max(axis=1).mean() < 0.6
    np.testing.assert_array_equal(
        sure.booster_.margin(sure.matrix(new)), calibrated.booster_.margin(calibrated.matrix(new))
    )


def test_probabilities_are_those_of_the_explained_margin_by_hand() -> None:
    X, y = rare(1000, 1)
    y = np.where(X["second"].to_numpy() > 1, "asks", y)
    fitted = model(calibration="temperature", class_weight="balanced").fit(X, y)
    explained = fitted.explain(X[:50])
    groups = [name for name in explained.columns if name not in ("class", "margin")]
    np.testing.assert_allclose(explained.select(pl.sum_horizontal(groups)).to_series(), explained["margin"], atol=1e-4)
    margin = explained["margin"].to_numpy().reshape(50, 3)
    found = fitted.booster_.calibrator
    assert found is not None
    by_hand = np.exp(log_softmax(margin / found.temperature + np.array(found.biases), axis=1))
    np.testing.assert_allclose(fitted.predict_proba(X[:50]), by_hand, atol=1e-4)
    assert fitted.predict(X[:50]).tolist() == fitted.classes_[by_hand.argmax(axis=1)].tolist()


def test_sample_weights_count_in_calibration() -> None:
    X, y = rare(3000, 1)
    heavy = np.where(y == "buys", 5.0, 1.0)
    fitted = model(calibration="temperature").fit(X, y, sample_weight=heavy)
    share = heavy[y == "buys"].sum() / heavy.sum()
    assert fitted.predict_proba(X)[:, 0] @ heavy / heavy.sum() == pytest.approx(share, abs=0.03)


def test_a_model_that_cannot_be_calibrated_is_refused_before_long_work() -> None:
    X, y = rare(2000, 1)
    with pytest.raises(ParameterError, match=r"of 40 rows no tenth can be held out.*give eval_set"):
        model(calibration="temperature").fit(X[:40], y[:40])
    with pytest.raises(ParameterError, match=r'calibration must be "temperature" or None, not \'platt\''):
        model(calibration="platt").fit(X, y)
    held = hold_out(np.unique(y, return_inverse=True)[1], None, None, 0)
    assert held is not None
    weight = np.ones(len(y))
    weight[held[1]] = 0
    with pytest.raises(ParameterError, match=r"sample_weight is 0 for all .* held out"):
        model(calibration="temperature").fit(X, y, sample_weight=weight)
    fitted = model(calibration="temperature").fit(X[:40], y[:40], eval_set=(X[40:], y[40:]))
    assert fitted.predict_proba(X).shape == (2000, 2)


def test_an_artifact_a_blend_and_files_of_scores_keep_the_calibration(tmp_path: Path) -> None:
    X, y, events = shop()
    X = X.with_columns(pl.col("ts").dt.cast_time_unit("us"))
    options = {"calibration": "temperature", "class_weight": "balanced"}
    fitted = hybrid(**options, head="margin").fit(X, y, events=events)
    proba = fitted.predict_proba(X)
    encoder = fitted.builder_.encoder
    fitted.save(tmp_path / "one")
    np.testing.assert_array_equal(load(tmp_path / "one", encoder=encoder).predict_proba(X), proba)

    Blend((fitted, fitted), (0.5, 0.5)).save(tmp_path / "blend")
    np.testing.assert_allclose(load(tmp_path / "blend", encoder=encoder).predict_proba(X), proba, atol=1e-6)

    X.write_parquet(tmp_path / "rows.parquet")
    (file,) = score_parquet(tmp_path / "one", tmp_path / "rows.parquet", tmp_path / "scores", encoder=encoder)
    np.testing.assert_allclose(pl.read_parquet(file)["proba_True"].to_numpy(), proba[:, 1], atol=1e-6)


def test_a_report_judges_calibrated_probabilities_and_explains_the_margin() -> None:
    X, y = rare(2000, 1)
    new, truth = rare(1500, 2)
    weighted = model(class_weight="balanced").fit(X, y)
    calibrated = model(class_weight="balanced", calibration="temperature").fit(X, y)
    before, after = (one.report(new, truth, ablation_folds=0) for one in (weighted, calibrated))
    assert after.expected_calibration_error < before.expected_calibration_error / 3
    stated = after.metrics.filter(model="model", metric="log_loss")["value"].item()
    assert stated == pytest.approx(loss(calibrated, new, truth), abs=1e-6)
    assert after.groups["shap"].to_list() == pytest.approx(before.groups["shap"].to_list(), rel=1e-5)
    assert after.groups["permutation"].to_list() != pytest.approx(before.groups["permutation"].to_list(), rel=0.05)


def test_calibration_is_carried_to_a_new_domain() -> None:
    X, y = rare(1500, 1)
    fitted = model(class_weight="balanced", calibration="temperature").fit(X, y)
    few, labels = rare(60, 3)
    adapted = fitted.adapt(few, labels, source=(X, y))
    assert adapted.adaptation_.losses["as it is"] == pytest.approx(loss(fitted, few, labels), abs=1e-6)
    assert adapted.adaptation_.losses["refit, source weight 0.5"] < 0.5  # a refit without it would be worse by far
    assert adapted.calibration == "temperature"
    with pytest.raises(LabelError):
        fitted.adapt(few, np.where(labels == "buys", "rents", labels))
