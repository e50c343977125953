"""Tuning: an Optuna study over a hybrid classifier, and what it found."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import optuna
import polars as pl
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from features.frames import Frame
from hybrid import HybridClassifier
from hybrid.builder import Progress
from hybrid.errors import ParameterError
from tuning.distributions import SWITCH
from tuning.errors import StudyError
from tuning.objective import TrialResult, trial_settings
from tuning.plan import Plan
from tuning.report import study_page
from tuning.search import median_pruner, n_finished, quiet_optuna, search
from tuning.space import SearchSpace
from tuning.storage import open_study, storage_errors
from tuning.task import Task, unfitted_copy

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """The trials of a study, and the model that they lead to; made by ``tune``.

    Attributes
    ----------
    optuna_study : optuna.Study
        The record itself, for Optuna's own tools.
    task : Task
        Examples, labels, folds and metric.
    space : SearchSpace
    interrupted : bool
        Whether Ctrl-C ended the trials of this call.
    """

    optuna_study: optuna.Study
    task: Task
    space: SearchSpace
    interrupted: bool = False

    def __repr__(self) -> str:
        found = f"best {self.task.metric.name} {self.best_value:.6g} in trial {self.best_trial.number}"
        return f"Study({self.optuna_study.study_name!r}: {self.trials.height} trials, {found})"

    @property
    def trials(self) -> pl.DataFrame:
        """All trials, one row each.

        Returns
        -------
        polars.DataFrame
            ``number``, ``state`` ("COMPLETE", "PRUNED", "FAIL", "RUNNING"), ``value`` (mean over the folds; null unless complete),
            ``duration_s``, then a column for each parameter of the space.
        """
        rows = [
            {
                "number": trial.number,
                "state": trial.state.name,
                "value": trial.value if trial.state == TrialState.COMPLETE else None,
                "duration_s": trial.duration.total_seconds() if trial.duration else None,
                **{name: _parameter(trial, name) for name in self.space},
            }
            for trial in self.optuna_study.get_trials(deepcopy=False)
        ]
        fixed: dict[str, Any] = {"number": pl.Int64, "state": pl.String, "value": pl.Float64, "duration_s": pl.Float64}
        return pl.DataFrame(rows, schema=fixed | {name: _dtype(self.space, name) for name in self.space})

    @property
    def best_trial(self) -> FrozenTrial:
        """Optuna's record of the best finished trial."""
        return self.optuna_study.best_trial

    @property
    def best_value(self) -> float:
        """The best mean over the folds. The best of many is flattered by chance: judge ``best_model()`` on rows that no trial saw."""
        assert self.best_trial.value is not None
        return self.best_trial.value

    @property
    def best_params(self) -> dict[str, Any]:
        """The best trial's settings, for ``model.set_params(**study.best_params)``."""
        return trial_settings(self.best_trial)

    @property
    def best_rounds(self) -> int:
        """The mean of the best rounds of the best trial's folds."""
        return max(1, round(float(np.mean(TrialResult.of(self.best_trial).rounds))))

    def best_model(self, progress: Progress | None = None) -> HybridClassifier:
        """A model with the best trial's settings and rounds, fitted to all examples of the study.

        Every call fits anew; texts come from the encoder's store.
        """
        settings = {**self.best_params, "n_estimators": self.best_rounds, "early_stopping_rounds": None}
        model = unfitted_copy(self.task.model, **settings)
        task = self.task
        return model.fit(task.examples, task.labels, events=task.events, groups=task.row_groups, progress=progress)

    def report(self, path: str | Path, *, title: str | None = None, lang: str = "en") -> None:
        """Write the study as one self-contained HTML file.

        Parameters
        ----------
        path : str or Path
        title : str, optional
            By default "What the search found", in the page's language.
        lang : {"en", "zh", "both"}, default "en"
            The page's language: English, Chinese, or both under a switch.
        """
        Path(path).write_text(study_page(self, title, lang), encoding="utf-8")


def tune(
    model: HybridClassifier,
    examples: Frame,
    y: Any,
    events: Frame | None = None,
    *,
    space: str | Mapping[str, Any] = "default",
    cv: str | Sequence[Any] = "time",
    folds: int = 3,
    metric: str = "log_loss",
    n_trials: int = 100,
    timeout: float | str | None = None,
    storage: str | Path | BaseStorage | None = None,
    study_name: str = "intentree",
    n_workers: int = 1,
    groups: Any = None,
    time: str | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> Study:
    """Search for better settings of a model.

    Texts are embedded and behaviour is computed once; a trial reads columns of that one matrix, trains on each fold with early
    stopping on ``metric``, and scores the mean over the folds. Trials that fall behind on the first fold are pruned. The first trial
    has the model's own settings, where they lie in the space. Ctrl-C ends the search and keeps what is finished.

    Parameters
    ----------
    model : HybridClassifier
        Fitted or not; it stays as it is.
    examples, y, events : as for ``HybridClassifier.fit``
    space : "default", mapping or SearchSpace, default "default"
        A mapping narrows the default space: ``{"max_depth": (3, 8), "booster": ["xgboost"], "learning_rate": 0.05}`` are a range,
        choices, and a fixed value. ``"use {group}"`` switches a group of columns: ``{"use query text": True}`` keeps it.
    cv : {"time", "group", "stratified"} or list of (train, valid) row positions, default "time"
        "time": each fold is trained on all that is before its validation rows. "group": rows of one group stay together.
    folds : int, default 3
        Unless ``cv`` is a list.
    metric : str, default "log_loss"
        By scikit-learn's name; also what early stopping watches.
    n_trials : int, default 100
        Trials to run now, in addition to those that the study has; 0 opens the study as it is.
    timeout : float or str, optional
        Seconds, or "90m", "2h", from the call on, after which no trial begins; the first always does.
    storage : str, Path or optuna storage, optional
        ``"sqlite:///studies.db"`` or another database, or the path of a journal file. By default in memory.
    study_name : str, default "intentree"
        A study of this name in the storage goes on, if it was made with the same data, folds, metric and space.
    n_workers : int, default 1
        Trials at a time, in threads: boosters compute outside the interpreter's lock. The cores are divided among them.
    groups : str or array-like of shape (n_rows,), optional
        For ``cv="group"``: a column, or a value a row. By default the user of the behaviour's log.
    time : str, optional
        For ``cv="time"``: a timestamp column. By default the timestamp of the behaviour's log.
    random_state : int, default 0
        Of folds and search; with one worker the same trials come out.
    progress : callable (step, done, total), optional

    Returns
    -------
    Study

    Raises
    ------
    SpaceError, FoldError, and the errors of ``HybridClassifier.fit``
        Before any long work.
    StudyError
        The storage cannot be used, holds the study of other data, or no trial finished; the first trial's error is its cause.
    """
    deadline = monotonic() + _seconds(timeout)
    for name, value, least in (("n_trials", n_trials, 0), ("n_workers", n_workers, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ParameterError(f"{name} must be a whole number of at least {least}, not {value!r}")
    task = Task.check(
        model,
        examples,
        y,
        events,
        cv=cv,
        folds=folds,
        metric=metric,
        groups_of_rows=groups,
        time=time,
        random_state=random_state,
    )
    searched = SearchSpace.of(space, task.model)
    with quiet_optuna():
        record = open_study(
            storage,
            study_name,
            greater_is_better=task.metric.greater_is_better,
            fingerprint=task.fingerprint(searched),
            pruner=median_pruner(task.model.n_estimators),
        )
        interrupted = False
        if n_trials:
            plan = Plan.build(task, searched, n_workers=n_workers, progress=progress)
            with storage_errors(storage):
                interrupted = search(
                    record,
                    plan,
                    searched,
                    n_trials=n_trials,
                    deadline=deadline,
                    n_workers=n_workers,
                    random_state=random_state,
                    progress=progress,
                )
    if not n_finished(record):
        raise StudyError(f"the study {study_name!r} has no finished trial")
    return Study(record, task, searched, interrupted)


def _parameter(trial: FrozenTrial, name: str) -> Any:
    """A parameter's value in a trial; a switch that was not asked was on, for all others were off."""
    settings = trial_settings(trial)
    if name.startswith(SWITCH) and settings:
        return name.removeprefix(SWITCH) not in settings["without"]
    return trial.params.get(name)


def _dtype(space: SearchSpace, name: str) -> Any:
    distribution = space[name]
    if isinstance(distribution, FloatDistribution):
        return pl.Float64
    if isinstance(distribution, IntDistribution):
        return pl.Int64
    kinds = {type(choice) for choice in distribution.choices}  # type: ignore[attr-defined]  # the third kind has choices
    return {frozenset({bool}): pl.Boolean, frozenset({str}): pl.String, frozenset({int}): pl.Int64}.get(
        frozenset(kinds), pl.Float64
    )


def _seconds(timeout: float | str | None) -> float:
    if isinstance(timeout, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", timeout.strip())
        if match is None:
            raise ParameterError(f"timeout={timeout!r} is not a number with a unit s, m, h or d, such as '90m' or '2h'")
        timeout = float(match[1]) * _UNITS[match[2]]
    if timeout is None:
        return math.inf
    if not timeout > 0:
        raise ParameterError(f"timeout must be greater than 0, not {timeout!r}")
    return timeout
