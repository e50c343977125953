"""Constraints: what the best trial may cost to use."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_tuning import tuned

from hybrid import ParameterError
from tuning import StudyError, StudyStatus, status
from tuning.objective import TrialResult

QUICK = {"booster": "xgboost", "max_depth": [2, 6], "learning_rate": 0.1}


def test_the_best_trial_breaks_no_constraint() -> None:
    free = tuned(space=QUICK, n_trials=8, pruner=None)
    sizes = {t.number: TrialResult.of(t).artifact_mb for t in free.optuna_study.trials}
    most = sorted(sizes.values())[3]  # type: ignore[type-var]
    study = tuned(space=QUICK, n_trials=8, pruner=None, constraints={"artifact_mb": most})
    assert TrialResult.of(study.best_trial).artifact_mb <= most  # type: ignore[operator]
    assert max(TrialResult.of(t).artifact_mb for t in study.optuna_study.trials) > most  # type: ignore[type-var]
    allowed = [t.value for t in study.optuna_study.trials if TrialResult.of(t).artifact_mb <= most]  # type: ignore[operator]
    assert study.best_value == min(allowed)  # type: ignore[type-var]


def test_the_time_of_scoring_is_measured() -> None:
    study = tuned(space=QUICK, n_trials=2)
    assert 0 < TrialResult.of(study.best_trial).predict_ms_per_1k < 1_000  # type: ignore[operator]


def test_a_study_of_which_every_trial_breaks_a_constraint_says_so() -> None:
    study = tuned(space=QUICK, n_trials=2, constraints={"artifact_mb": 1e-6})
    with pytest.raises(StudyError, match="every finished trial breaks a constraint, of artifact_mb"):
        _ = study.best_trial


@pytest.mark.parametrize(
    ("given", "message"),
    [({"artifact_gb": 1}, "did you mean 'artifact_mb'"), ({"artifact_mb": 0}, r"must be a number above 0, not 0")],
)
def test_constraints_that_mean_nothing_are_refused(given: dict[str, float], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        tuned(constraints=given)


def test_a_study_without_an_allowed_trial_goes_on_and_can_be_looked_at(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/studies.db"
    told: list[StudyStatus] = []
    strict = {"artifact_mb": 1e-6}
    study = tuned(space=QUICK, n_trials=10, folds=5, storage=storage, constraints=strict, on_trial=told.append)
    assert study.trials.height == 10
    assert told[-1].finished > 0
    assert told[-1].best is None
    assert status(storage, "intentree").best is None
