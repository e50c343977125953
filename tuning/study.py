"""Tuning: an Optuna study over a hybrid classifier, and what it found."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
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

from features.frames import Frame, closest
from hybrid import Blend, HybridClassifier
from hybrid.blend import blend_weights
from hybrid.builder import Progress
from hybrid.errors import ParameterError
from tuning.behavior_options import WINDOW, as_parameters
from tuning.calibrated import check_calibration
from tuning.distributions import SWITCH
from tuning.errors import StudyError
from tuning.findings import importance_table, ranked
from tuning.honest import HoldoutScore, holdout_score, nested_score
from tuning.lost import Worker, n_counted, put_back_lost
from tuning.memory import n_bytes
from tuning.objective import TrialResult, trial_settings
from tuning.plan import Plan
from tuning.pruning import round_pruner
from tuning.report import study_page
from tuning.search import Search, queue_first, quiet_optuna, run_trials, tpe_sampler
from tuning.space import SearchSpace
from tuning.status import StudyStatus
from tuning.storage import existing_study, open_study, storage_errors
from tuning.task import Task, unfitted_copy
from tuning.trials import GOAL, Trials, n_finished, n_running

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
        """All trials that have begun, one row each.

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
            if trial.state != TrialState.WAITING
        ]
        fixed: dict[str, Any] = {"number": pl.Int64, "state": pl.String, "value": pl.Float64, "duration_s": pl.Float64}
        return pl.DataFrame(rows, schema=fixed | {name: _dtype(self.space, name) for name in self.space})

    @property
    def best_trial(self) -> FrozenTrial:
        """Optuna's record of the best finished trial that breaks no constraint.

        Raises
        ------
        StudyError
            Every finished trial breaks one.
        """
        best = ranked(self)
        if not best:
            broken = sorted(
                {
                    name
                    for t in self.optuna_study.get_trials(deepcopy=False)
                    for name, by in t.constraints.items()
                    if by > 0
                }
            )
            raise StudyError(
                f"every finished trial breaks a constraint, of {', '.join(broken)}: allow more, or run more trials"
            )
        return best[0]

    @property
    def best_value(self) -> float:
        """The best mean over the folds. The best of many is flattered by chance: judge ``best_model()`` on rows that no trial saw."""
        assert self.best_trial.value is not None
        return self.best_trial.value

    @property
    def best_params(self) -> dict[str, Any]:
        """The best trial's settings, for ``model.set_params(**study.best_params)``."""
        return as_parameters(trial_settings(self.best_trial), self.task.model)

    @property
    def best_rounds(self) -> int:
        """The mean of the best rounds of the best trial's folds."""
        return _mean_rounds(self.best_trial)

    def best_model(self, progress: Progress | None = None) -> HybridClassifier:
        """A model with the best trial's settings and rounds, fitted to all examples of the study.

        Every call fits anew; texts come from the encoder's store.
        """
        return self._model_of(self.best_trial, progress)

    def best_models(self, k: int = 5, progress: Progress | None = None) -> Blend:
        """The best ``k`` trials as one model: a weighted mean of their probabilities.

        The weights, not negative, have the least log loss out of fold: each trial is trained again on each fold with its rounds there.
        Models that get a weight are then fitted to all examples, as in ``best_model``.

        Parameters
        ----------
        k : int, default 5
            Trials to weigh, the best that break no constraint; fewer where the study has fewer, or some get no weight.
        progress : callable (step, done, total), optional
        """
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise ParameterError(f"k must be a whole number of at least 1, not {k!r}")
        trials, folds = ranked(self)[:k] or [self.best_trial], self.task.folds  # which says why there is none
        plan = Plan.build(self.task, self.space, progress=progress)
        true_probas = np.empty((sum(len(fold.valid) for fold in folds), len(trials)))
        for place, trial in enumerate(trials):
            settings, rounds = trial_settings(trial), TrialResult.of(trial).rounds
            given = []
            for i, fold in enumerate(folds):
                proba = plan.probabilities(i, settings, rounds[i])
                given.append(proba[np.arange(len(fold.valid)), self.task.codes[fold.valid]])
                if progress is not None:
                    progress("blend", place * len(folds) + i + 1, len(trials) * len(folds))
            true_probas[:, place] = np.concatenate(given)
        del plan
        weights = blend_weights(true_probas)
        chosen = [
            (self._model_of(trial, progress), float(w)) for trial, w in zip(trials, weights, strict=True) if w > 0
        ]
        return Blend(tuple(model for model, _ in chosen), tuple(w for _, w in chosen))

    def importance(self) -> pl.DataFrame:
        """What told good trials from poor ones.

        Returns
        -------
        polars.DataFrame
            ``name, kind, share, cost, low, high, n_with, n_without``. Parameters have a share in what tells the best tenth of the trials
            from all (PED-ANOVA). Groups of columns, and windows of behaviour, have the cost of going without, others equal, with its
            95 % interval. Null where too few trials tell.
        """
        return importance_table(self)

    def nested_score(
        self, outer: int | None = None, *, n_trials: int | None = None, progress: Progress | None = None
    ) -> pl.DataFrame:
        """An honest estimate of what such a study finds: it is run anew within each outer fold and scored on that fold's validation rows.

        Parameters
        ----------
        outer : int, optional
            Outer folds, of the study's own kind. By default as many as the study has.
        n_trials : int, optional
            Of each inner study; by default as many as this study has.
        progress : callable (step, done, total), optional

        Returns
        -------
        polars.DataFrame
            A row an outer fold: ``fold, train_rows, valid_rows, value`` (the best of the inner study, refitted), ``own_value`` (the
            model's own settings, fitted to the same rows), ``inner_value`` (what the inner study promised) and ``settings`` as JSON.

        Raises
        ------
        StudyError
            The study's folds were given as rows.
        FoldError
            The training rows of an outer fold cannot be folded again, or are too few to calibrate.
        """

        def search_again(task: Task, n: int) -> Study:
            check_calibration(task, self.space)
            with quiet_optuna():
                record = open_study(
                    None,
                    self.optuna_study.study_name,
                    greater_is_better=task.metric.greater_is_better,
                    fingerprint={},
                    pruner=round_pruner(task.model.n_estimators),
                )
                record.sampler = tpe_sampler(task.model.random_state)
                queue_first(record, self.space, task.model, n)
                trials = Trials(record, self.space, task.model, n, len(task.folds))
                inner = Search(trials, None, math.inf)
                run_trials(inner, lambda: Plan.build(task, self.space, progress=progress), n_workers=1, isolate=None)
            return Study(record, task, self.space)

        return nested_score(self, outer=outer, n_trials=n_trials, search=search_again)

    def _model_of(self, trial: FrozenTrial, progress: Progress | None) -> HybridClassifier:
        """A model with a trial's settings and the mean of its folds' best rounds, fitted to all examples of the study."""
        task = self.task
        settings = as_parameters(trial_settings(trial), task.model)
        model = unfitted_copy(task.model, **settings, n_estimators=_mean_rounds(trial), early_stopping_rounds=None)
        return model.fit(task.examples, task.labels, events=task.events, groups=task.row_groups, progress=progress)

    def holdout_score(self) -> HoldoutScore:
        """The best model on the rows that ``tune(..., holdout=...)`` held back from all trials.

        Computed once for a best trial and kept in the study. It is honest at the first look; ``looks`` counts them.

        Raises
        ------
        StudyError
            The study has no holdout.
        """
        return holdout_score(self)

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
    n_trials: int | None = 100,
    timeout: float | str | None = None,
    pruner: str | None = "auto",
    storage: str | Path | BaseStorage | None = None,
    study_name: str = "intentree",
    n_workers: int = 1,
    isolate: bool | None = None,
    memory: int | str | None = None,
    groups: Any = None,
    time: str | None = None,
    gap: str | None = None,
    train_span: str | None = None,
    holdout: float = 0.0,
    constraints: Mapping[str, float] | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
    on_trial: Callable[[StudyStatus], None] | None = None,
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
    cv : {"time", "group", "group_time", "stratified"} or list of (train, valid) row positions, default "time"
        "time": each fold is trained on all that is before its validation rows. "group": rows of one group stay together. "group_time":
        each fold is validated by a draw of the groups and trained on what is before of the others.
    folds : int, default 3
        Unless ``cv`` is a list.
    metric : str, default "log_loss"
        By scikit-learn's name; also what early stopping watches.
    n_trials : int or None, default 100
        Trials that the study is to have in addition to those that it has; 0 opens it as it is. None: what it lacks of those that were asked
        for last, which finishes a study that was broken off, or helps another process or host that is at it.
    timeout : float or str, optional
        Seconds, or "90m", "2h", from the call on, after which no trial begins; the first always does.
    pruner : "auto" or None, default "auto"
        "auto" gives up trials that fall behind: on the first fold by rounds, against the median of earlier trials; then after each fold,
        against that median or, with five folds or more, against the best trial by Wilcoxon's test. None trains every trial to its end.
    storage : str, Path or optuna storage, optional
        ``"sqlite:///studies.db"``, ``"postgresql://user:password@host/database"`` or another database, or the path of a journal file. By
        default in memory.
    study_name : str, default "intentree"
        A study of this name in the storage goes on, if it was made with the same data, folds, metric and space.
    n_workers : int, default 1
        Trials at a time, each in a process of its own. The cores are divided among them, GPUs are taken in turn.
    isolate : bool, optional
        Train in a worker process even with one worker, so that a crash or a lack of memory ends one trial and not the study. By default
        with several workers, and on a GPU.
    memory : int or str, optional
        Bytes, or "4GB", that the workers together keep binned matrices in. By default eight times the joined matrix, or a quarter of what
        the machine has free where that is less.
    groups : str or array-like of shape (n_rows,), optional
        For ``cv="group"`` and "group_time": a column, or a value a row. By default the user of the behaviour's log.
    time : str, optional
        For folds in time: a timestamp column. By default the timestamp of the behaviour's log.
    gap : str, optional
        For folds in time, such as "7d": rows so shortly before the validation rows are not trained on. As long as a label looks ahead.
    train_span : str, optional
        For folds in time, such as "60d": training rows reach back so far, so that folds slide. By default to the first row.
    holdout : float, default 0
        Share of the examples that no trial sees: the latest, whole groups, or drawn, as the folds are. ``study.holdout_score()`` scores
        the best model on them, and the report shows it.
    constraints : mapping from name to the most that it may be, optional
        ``"predict_ms_per_1k"``: milliseconds in which the trees score a thousand rows whose matrix is ready; ``"artifact_mb"``: megabytes
        of their file and of the text head, without the log that behaviour is read from. Trials that break one are finished, shown, and
        never the best.
    random_state : int, default 0
        Of folds and search; with one worker the same trials come out.
    progress : callable (step, done, total), optional
    on_trial : callable (StudyStatus), optional
        Told how the study stands, before the first trial and after each.

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
        if name == "n_trials" and value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ParameterError(f"{name} must be a whole number of at least {least}, not {value!r}")
    if isolate is False and n_workers > 1:
        raise ParameterError(f"n_workers={n_workers} are processes: leave isolate out, or use one worker")
    if pruner not in ("auto", None):
        raise ParameterError(f'pruner must be "auto" or None, not {pruner!r}')
    kept = None if memory is None else n_bytes(memory)
    limits = _limits(constraints)
    if n_trials is None:
        existing_study(storage, study_name)  # before the data are looked at
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
        gap=gap,
        train_span=train_span,
        holdout=holdout,
        random_state=random_state,
    )
    searched = SearchSpace.of(space, task.model)
    check_calibration(task, searched)
    with quiet_optuna():
        record = open_study(
            storage,
            study_name,
            greater_is_better=task.metric.greater_is_better,
            fingerprint=task.fingerprint(searched),
            pruner=round_pruner(task.model.n_estimators),
        )
        interrupted = False
        with storage_errors(storage):
            if n_trials != 0:
                put_back_lost(record)
            had = n_counted(record) + n_running(record)
            goal = record.user_attrs.get(GOAL, 0) if n_trials is None else had + n_trials
            if had < goal:
                record.set_user_attr(GOAL, goal)
                # A study that goes on must not draw its first trials again, and no two processes the same ones.
                seed = random_state + len(record.get_trials(deepcopy=False)) if n_trials else Worker.here().seed
                record.sampler = tpe_sampler(seed)
                queue_first(record, searched, task.model, goal - had)
        if had < goal:

            def after_trial(n_ended: int) -> None:
                if progress is not None:
                    progress("trials", n_ended, goal - had)
                if on_trial is not None:
                    on_trial(StudyStatus.of(record))

            if on_trial is not None:
                on_trial(StudyStatus.of(record))
            interrupted = run_trials(
                Search(
                    Trials(record, searched, task.model, goal, len(task.folds), pruner is not None, limits),
                    storage,
                    deadline,
                    after_trial,
                ),
                lambda: Plan.build(task, searched, n_workers=n_workers, memory=kept, progress=progress),
                n_workers=n_workers,
                isolate=isolate,
            )
    if not n_finished(record):
        raise StudyError(f"the study {study_name!r} has no finished trial")
    return Study(record, task, searched, interrupted)


def _mean_rounds(trial: FrozenTrial) -> int:
    return max(1, round(float(np.mean(TrialResult.of(trial).rounds))))


def _limits(constraints: Mapping[str, float] | None) -> dict[str, float]:
    """Constraints, checked."""
    known = ("predict_ms_per_1k", "artifact_mb")
    for name, most in (constraints or {}).items():
        if name not in known:
            raise ParameterError(f"there is no constraint {name!r}{closest(name, known)}")
        if not isinstance(most, int | float) or isinstance(most, bool) or not most > 0:
            raise ParameterError(f"constraints[{name!r}] must be a number above 0, not {most!r}")
    return dict(constraints or {})


def _parameter(trial: FrozenTrial, name: str) -> Any:
    """A parameter's value in a trial; a switch that was not asked was on, for all others were off."""
    settings = trial_settings(trial)
    if name.startswith(SWITCH) and settings:
        return name.removeprefix(SWITCH) not in settings["without"]
    if name.startswith(WINDOW) and settings and name not in trial.params:
        kept = settings.get("behavior", {}).get("windows")
        return kept is None or name.removeprefix(WINDOW) in kept
    return trial.params.get(name)


def _dtype(space: SearchSpace, name: str) -> Any:
    distribution = space[name]
    if isinstance(distribution, FloatDistribution):
        return pl.Float64
    if isinstance(distribution, IntDistribution):
        return pl.Int64
    kinds = {type(choice) for choice in distribution.choices if choice is not None}  # type: ignore[attr-defined]  # the third kind has choices
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
