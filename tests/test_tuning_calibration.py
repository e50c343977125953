"""Calibration in a study: trials are judged on rows that did not calibrate them, and class weights are no longer punished."""

from __future__ import annotations

import tomllib
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.special import expit
from sklearn.metrics import log_loss

from hybrid import HybridClassifier
from hybrid.calibrator import CALIBRATIONS, Calibrator
from tuning import FoldError, SpaceError, Study, tune
from tuning.objective import TrialResult
from tuning.report import model_table

N = 900


def rare(n: int, seed: int) -> tuple[pl.DataFrame, np.ndarray]:
    """A row in ten buys, by two numbers; users come again, hours pass."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=n), rng.normal(size=n)
    frame = {"first": first, "second": second, "user": rng.integers(0, 60, n)}
    hours = [datetime(2026, 1, 1) + timedelta(hours=int(h)) for h in rng.integers(0, 2_000, n)]
    buys = rng.random(n) < expit(1.5 * first + np.abs(second) - 3.7)
    return pl.DataFrame(frame | {"ts": hours}), np.where(buys, "buys", "leaves")


X, Y = rare(N, 1)
TRUE = (Y == "leaves").astype(int)
FIXED = {"booster": "xgboost", "use attributes": True, "max_depth": 3, "learning_rate": 0.1, "min_child_weight": 1.0}
FIXED |= {"subsample": 1.0, "colsample": 1.0, "reg_lambda": 1.0, "reg_alpha": 0.0}


def model(**options: Any) -> HybridClassifier:
    declared = {"numeric": ["first", "second"], "n_jobs": 1, "n_estimators": 40, "early_stopping_rounds": 10}
    return HybridClassifier(**{**declared, "max_depth": 3, "learning_rate": 0.1, **options})


def tuned(space: dict[str, Any], fitted: HybridClassifier | None = None, **settings: Any) -> Study:
    return tune(fitted or model(), X, Y, space=FIXED | space, **{"cv": "stratified", "folds": 2} | settings)


@pytest.mark.parametrize("settings", [{"cv": "time", "time": "ts"}, {"cv": "group", "groups": "user"}])
def test_a_fold_is_scored_on_rows_that_did_not_calibrate(settings: dict[str, Any]) -> None:
    bent = model(class_weight={"buys": 6.0, "leaves": 1.0})
    study = tuned({"calibration": "temperature"}, bent, n_trials=1, **settings)
    values = []
    for fold in study.task.folds:
        train, valid = fold.train, fold.valid
        trees = bent.fit(X[train], Y[train], eval_set=(X[valid], Y[valid]))
        margin, y = trees.booster_.margin(trees.matrix(X[valid])), TRUE[valid]
        values.append(log_loss(y, cross_fitted(margin, y, second_part(study, valid))))
    assert study.best_value == pytest.approx(np.mean(values), abs=1e-5)


def second_part(study: Study, valid: np.ndarray) -> np.ndarray:
    """Which rows are the later half, or of the second draw of users."""
    if study.task.cv == "time":
        moments = X["ts"][valid].to_numpy()
        return np.array([(moments < moment).sum() * 2 >= len(valid) for moment in moments])
    users = X["user"][valid].to_numpy()
    order = np.random.default_rng(0).permutation(len(np.unique(users)))
    return order[np.searchsorted(np.unique(users), users)] % 2 == 1


def cross_fitted(margin: np.ndarray, y: np.ndarray, part: np.ndarray) -> np.ndarray:
    proba = np.empty((len(y), 2), dtype=np.float32)
    for inside in (part, ~part):
        proba[inside] = Calibrator.fit(margin[~inside], y[~inside], 2).probabilities(margin[inside])
    return proba


def test_a_study_finds_that_calibration_mends_class_weights() -> None:
    """Out of fold, and on new rows, where the best model without it is far worse."""
    space = {"class_weight": [None, "balanced"], "calibration": [None, "temperature"]}
    study = tuned(space, n_trials=12, pruner=None)
    trials = study.trials
    worst = trials.filter((pl.col("class_weight") == "balanced") & pl.col("calibration").is_null())["value"].min()
    mended = trials.filter(class_weight="balanced", calibration="temperature")["value"].min()
    assert mended < worst - 0.05
    assert study.best_value < worst - 0.05

    new, truth = rare(3000, 2)
    proba = (
        tuned({"class_weight": "balanced", "calibration": [None, "temperature"]}, n_trials=6)
        .best_model()
        .predict_proba(new)
    )
    bent = tuned({"class_weight": "balanced"}, n_trials=1).best_model().predict_proba(new)
    losses = [log_loss(truth == "leaves", one[:, 1]) for one in (proba, bent)]
    assert losses[0] < losses[1] - 0.05


def test_the_best_model_and_its_toml_are_calibrated() -> None:
    study = tuned({"class_weight": "balanced", "calibration": "temperature"}, n_trials=1)
    assert study.best_params["calibration"] == "temperature"
    best = study.best_model()
    by_hand = model().set_params(**study.best_params, n_estimators=study.best_rounds)
    by_hand.set_params(early_stopping_rounds=None).fit(X, Y)
    np.testing.assert_array_equal(best.predict_proba(X), by_hand.predict_proba(X))
    assert best.booster_.calibrator is not None
    table = tomllib.loads(model_table(study))["model"]
    assert table["calibration"] == "temperature"
    assert model(**table).get_params()["calibration"] == "temperature"


def test_a_blend_weighs_what_trials_were_judged_by() -> None:
    study = tuned({"class_weight": "balanced", "calibration": [None, "temperature"]}, n_trials=4, pruner=None)
    blend = study.best_models(4)
    calibrated = [m.calibration for m in blend.models]
    weight = sum(w for w, kind in zip(blend.weights, calibrated, strict=True) if kind == "temperature")
    assert weight > 0.9


def test_calibrated_trials_are_not_given_up_for_what_calibration_mends() -> None:
    """A class weight makes their log loss before it far worse than the others' at every round of the first fold."""
    space = {"class_weight": ["balanced", None], "calibration": [None, "temperature"], "learning_rate": (0.09, 0.11)}
    trials = tuned(space, n_trials=24).optuna_study.get_trials()
    weighted = [trial for trial in trials[8:] if trial.params["class_weight"] == "balanced"]
    folds = {
        kind: [len(TrialResult.of(t).values) for t in weighted if t.params["calibration"] == kind]
        for kind in CALIBRATIONS
    }
    assert folds[None].count(0) > 0
    assert folds["temperature"].count(0) == 0 < len(folds["temperature"])


@pytest.mark.parametrize(
    ("space", "error", "message"),
    [
        ({"calibration": "platt"}, SpaceError, r'calibration is "temperature" or None, not \'platt\''),
        ({"calibration": ("temperature", None)}, SpaceError, r"is no range: give choices as a list"),
    ],
)
def test_a_calibration_that_there_is_not_is_refused(space: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        tuned(space, n_trials=1)


def test_folds_too_small_to_calibrate_and_judge_are_refused_before_any_trial() -> None:
    few = np.where(np.arange(N) % 300 == 0, "buys", "leaves")
    settings: dict[str, Any] = {"cv": "stratified", "folds": 3, "n_trials": 1}
    with pytest.raises(FoldError, match=r"the validation rows of .* make no two parts of two classes.*fewer folds"):
        tune(model(), X, few, space={"calibration": [None, "temperature"]}, **settings)
    with pytest.raises(FoldError, match=r"make no two parts"):
        tune(model(calibration="temperature"), X, few, **settings)
    assert tune(model(calibration="temperature"), X, few, space={"calibration": [None]}, **settings).best_value > 0
