"""Blends: weights of least log loss, one artifact, scored as any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize
from test_tuning import EVENTS, EXAMPLES, LABELS, full, small, tuned

from hybrid import ArtifactError, Blend, HybridClassifier, ParameterError, load, score_parquet
from hybrid.blend import blend_weights
from hybrid.metrics import metric
from tuning.objective import TrialResult, trial_settings

MODELS = tuple(
    small(max_depth=depth, booster=b).fit(EXAMPLES, LABELS) for depth, b in ((2, "xgboost"), (4, "lightgbm"))
)


def test_weights_are_those_of_the_least_log_loss() -> None:
    rng = np.random.default_rng(0)
    likely = rng.beta(2, 1, (2_000, 4)) * [1, 0.98, 0.9, 0.4]

    def loss(free: np.ndarray) -> float:
        weights = np.exp(free) / np.exp(free).sum()
        return float(-np.log(likely @ weights).mean())

    best = minimize(loss, np.zeros(4), method="Nelder-Mead", options={"maxiter": 8_000, "fatol": 1e-12, "xatol": 1e-8})
    weights = blend_weights(likely)
    assert weights.sum() == pytest.approx(1)
    assert -np.log(likely @ weights).mean() == pytest.approx(best.fun, abs=2e-5)


def test_a_model_that_adds_nothing_gets_no_weight() -> None:
    good = np.random.default_rng(1).beta(5, 1, 1_000)
    assert blend_weights(np.column_stack([good, good * 0.5])).tolist() == [1.0, 0.0]


def test_a_blend_scores_as_the_weighted_mean_and_loads_and_scores_files(tmp_path: Path) -> None:
    blend = Blend(MODELS, (0.25, 0.75))
    expected = 0.25 * MODELS[0].predict_proba(EXAMPLES) + 0.75 * MODELS[1].predict_proba(EXAMPLES)
    np.testing.assert_allclose(blend.predict_proba(EXAMPLES), expected, rtol=1e-6)
    blend.save(tmp_path / "blend")
    blend.save(tmp_path / "blend")  # a blend in its place is replaced
    again = load(tmp_path / "blend")
    np.testing.assert_array_equal(again.predict_proba(EXAMPLES), blend.predict_proba(EXAMPLES))
    EXAMPLES.write_parquet(tmp_path / "rows.parquet")
    (scored,) = score_parquet(tmp_path / "blend", tmp_path / "rows.parquet", tmp_path / "scores", id_columns="user")
    frame = pl.read_parquet(scored)
    np.testing.assert_array_equal(frame["proba_buys"].to_numpy(), blend.predict_proba(EXAMPLES)[:, 0])
    assert frame["prediction"].to_list() == blend.predict(EXAMPLES).tolist()


def test_a_changed_blend_is_refused(tmp_path: Path) -> None:
    Blend(MODELS, (0.5, 0.5)).save(tmp_path / "blend")
    MODELS[1].save(tmp_path / "blend" / "model_1")
    with pytest.raises(ArtifactError, match=r"model_1 in .* was changed"):
        load(tmp_path / "blend")
    (tmp_path / "blend" / "blend.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"truncated or is no blend"):
        load(tmp_path / "blend")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(ArtifactError, match="is no blend; name a new or empty folder"):
        Blend(MODELS, (0.5, 0.5)).save(tmp_path / "other")


def test_events_go_to_the_models_that_read_them() -> None:
    behaving = full(text=None, text_channels=None).fit(EXAMPLES, LABELS, events=EVENTS)
    blend = Blend((MODELS[0], behaving), (0.5, 0.5))
    recent = EVENTS[:700]
    expected = 0.5 * MODELS[0].predict_proba(EXAMPLES) + 0.5 * behaving.predict_proba(EXAMPLES, events=recent)
    np.testing.assert_allclose(blend.predict_proba(EXAMPLES, events=recent), expected, rtol=1e-6)
    with pytest.raises(ParameterError, match="no model of the blend declares behavior"):
        Blend(MODELS, (0.5, 0.5)).predict_proba(EXAMPLES, events=recent)


@pytest.mark.parametrize(
    ("models", "weights", "message"),
    [
        (MODELS, (1.0,), "a weight for each model"),
        (MODELS, (1.0, 0.0), r"above 0 and sum to 1"),
        ((MODELS[0], small().fit(EXAMPLES, EXAMPLES["shelf"])), (0.5, 0.5), "the same classes"),
    ],
)
def test_blends_that_cannot_be_are_refused(
    models: tuple[HybridClassifier, ...], weights: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        Blend(models, weights)


def test_the_best_models_of_a_study_are_weighed_out_of_fold() -> None:
    study = tuned(n_trials=6, pruner=None)
    blend = study.best_models(3)
    assert 1 <= len(blend.models) <= 3
    best = sorted(study.optuna_study.trials, key=lambda trial: trial.value or 0.0)[:3]
    # By hand: each trial's model on each fold's training rows, with the fold's own rounds.
    likely = []
    for trial in best:
        of_trial = []
        for fold, rounds in zip(study.task.folds, TrialResult.of(trial).rounds, strict=True):
            model = small(**{**trial_settings(trial), "n_estimators": rounds, "early_stopping_rounds": None})
            proba = model.fit(EXAMPLES[fold.train], LABELS[fold.train]).predict_proba(EXAMPLES[fold.valid])
            of_trial.append(proba[np.arange(len(fold.valid)), study.task.codes[fold.valid]])
        likely.append(np.concatenate(of_trial))
    weights = blend_weights(np.column_stack(likely))
    np.testing.assert_allclose(blend.weights, weights[weights > 0], atol=1e-6)
    assert metric("log_loss", 2)(study.task.codes, blend.predict_proba(EXAMPLES)) < 0.7


def test_a_whole_number_of_models() -> None:
    with pytest.raises(ParameterError, match="k must be a whole number of at least 1, not 0"):
        tuned(n_trials=1).best_models(0)
