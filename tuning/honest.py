"""What the best of a study is worth on rows that did not choose it: the final holdout, and nested cross-validation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from hybrid import HybridClassifier
from hybrid.errors import ParameterError
from hybrid.metrics import bootstrap
from tuning.errors import StudyError
from tuning.folds import Fold
from tuning.objective import trial_settings
from tuning.task import Task, unfitted_copy

if TYPE_CHECKING:
    from tuning.study import Study

HOLDOUT = "holdout"


@dataclass(frozen=True)
class HoldoutScore:
    """The best model on rows that no trial saw.

    Parameters
    ----------
    trial : int
        Whose settings the model has.
    metric : str
    value, low, high : float
        With the 95 % interval of a bootstrap over rows, or over groups of rows where the folds keep those together.
    rows : int
    looks : int
        How often the study has asked: each look after the first makes the number a little more flattering.
    """

    trial: int
    metric: str
    value: float
    low: float
    high: float
    rows: int
    looks: int = 1


def holdout_score(study: Study) -> HoldoutScore:
    """The score of the study's best model on its holdout; computed once for a best trial and kept in the study."""
    held = study.task.holdout
    if held is None:
        raise StudyError(
            "the study has no holdout: tune(..., holdout=0.2) holds a fifth of the examples back from all trials"
        )
    known = [HoldoutScore(**one) for one in study.optuna_study.user_attrs.get(HOLDOUT, [])]
    for one in known:
        if one.trial == study.best_trial.number:
            return one
    proba = study.best_model().predict_proba(held.examples)
    name = study.task.metric.name
    found = bootstrap(name, held.codes, proba, groups=held.row_groups, random_state=study.task.model.random_state)
    score = HoldoutScore(
        study.best_trial.number, name, found.value, found.low, found.high, len(held.codes), len(known) + 1
    )
    study.optuna_study.set_user_attr(HOLDOUT, [*map(asdict, known), asdict(score)])
    return score


def nested_score(
    study: Study, *, outer: int | None = None, n_trials: int | None = None, search: Callable[[Task, int], Study]
) -> pl.DataFrame:
    """Tune anew within each outer fold's training rows and score on its validation rows; see ``Study.nested_score``."""
    task = study.task
    if task.splitting is None:
        raise StudyError("nested_score folds the examples anew, so it needs a kind of folds; here cv listed rows")
    if outer is not None and (not isinstance(outer, int) or outer < 2):
        raise ParameterError(f"outer must be a whole number of at least 2, not {outer!r}")
    n_trials = study.trials.height if n_trials is None else n_trials
    outside = task.folds if outer is None else task.with_folds(outer).folds
    rows = []
    for fold in outside:
        inner = search(task.part(fold.train), n_trials)
        best, own = inner.best_model(), _fitted_as_declared(task, fold)
        valid, codes = task.examples[fold.valid], task.codes[fold.valid]
        rows.append(
            {
                "fold": str(fold.name),
                "train_rows": len(fold.train),
                "valid_rows": len(fold.valid),
                "value": task.metric(codes, best.predict_proba(valid)),
                "own_value": task.metric(codes, own.predict_proba(valid)),
                "inner_value": inner.best_value,
                "settings": json.dumps(trial_settings(inner.best_trial), ensure_ascii=False),
            }
        )
    return pl.DataFrame(rows)


def _fitted_as_declared(task: Task, fold: Fold) -> HybridClassifier:
    """The model with its own settings, fitted to a fold's training rows; rounds are found as ``fit`` finds them."""
    groups = None if task.row_groups is None else task.row_groups[fold.train]
    model: Any = unfitted_copy(task.model, eval_metric=task.metric.name)
    return model.fit(task.examples[fold.train], task.labels[fold.train], events=task.events, groups=groups)
