"""The trials of a study as one process runs them: begun, followed, ended."""

from __future__ import annotations

import dataclasses
import logging
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import Trial, TrialState

from hybrid import HybridClassifier
from tuning.lost import WORKER, Worker, n_counted, put_back, put_back_lost
from tuning.objective import RESULT, SETTINGS, TrialResult
from tuning.pruning import behind
from tuning.space import SearchSpace

logger = logging.getLogger(__name__)

GOAL = "trials to reach"


@dataclass(eq=False)
class RunningTrial:
    """A trial in progress, as the process that asked for it knows it.

    Parameters
    ----------
    trial : optuna.Trial
    settings : mapping
        As from ``SearchSpace.settings``.
    n_folds : int
    prunes : bool
        Whether it may be pruned.
    pruned : bool
        Whether it fell so far behind that it was told to stop.
    """

    trial: Trial
    settings: Mapping[str, Any]
    n_folds: int
    prunes: bool = True
    pruned: bool = False
    _values: list[float] = field(default_factory=list)

    @property
    def number(self) -> int:
        """Its number in the study."""
        return self.trial.number

    def report(self, rounds: int, value: float) -> None:
        """Note the metric after some rounds of the first fold, and whether the trial is pruned for it."""
        if not self.pruned:
            self.trial.report(value, rounds)
            self.pruned = self.prunes and self.trial.should_prune()

    def fold_ended(self, value: float) -> None:
        """Note the metric of a fold, and whether the trial is pruned for those that have ended."""
        self._values.append(value)
        if not self.pruned:
            self.pruned = self.prunes and behind(self.trial.study, self._values, self.n_folds)


@dataclass(eq=False)
class Trials:
    """Asks for trials until the study has as many as it should have; as a context it signs those that run.

    Parameters
    ----------
    record : optuna.Study
    space : SearchSpace
    model : HybridClassifier
    goal : int
        How many trials the study is to have in the end, less those that died with their process and are tried again.
    n_folds : int
        Of a whole trial.
    prunes : bool
        Whether trials that fall behind are given up.
    constraints : mapping from a field of TrialResult to the most that it may be
    """

    record: optuna.Study
    space: SearchSpace
    model: HybridClassifier
    goal: int
    n_folds: int
    prunes: bool = True
    constraints: Mapping[str, float] = field(default_factory=dict)
    _running: set[int] = field(default_factory=set)
    _ended: threading.Event = field(default_factory=threading.Event)
    _heart: threading.Thread | None = None

    def __enter__(self) -> Self:
        interval = heartbeat_interval(self.record)
        if interval is not None:
            self._heart = threading.Thread(target=self._beat, args=(interval,), daemon=True)
            self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._heart is not None:
            self._heart.join()

    @property
    def left(self) -> int:
        """How many trials are still to begin, here or elsewhere."""
        return self.goal - n_counted(self.record) - n_running(self.record)

    def begin(self, slot: int) -> RunningTrial | None:
        """The next trial, from the queue or from the sampler; None when the study has, or will have, as many as it should.

        Parameters
        ----------
        slot : int
            Which worker of this process will train it, from 0.
        """
        put_back_lost(self.record)
        if self.left <= 0:
            return None
        signed = dataclasses.asdict(Worker.here(slot))
        if not _count(self.record, TrialState.WAITING):
            # Made and signed in one write: no process can die between the two.
            self.record.enqueue_trial({}, user_attrs={WORKER: signed})
        trial = ask(self.record)
        if trial.user_attrs.get(WORKER) != signed:
            trial.set_user_attr(WORKER, signed)
        self._running.add(trial._trial_id)  # Optuna's storages know trials by this id alone
        self._sign([trial._trial_id])
        settings = self.space.settings(self.space.suggest(trial), self.model)
        trial.set_user_attr(SETTINGS, settings)
        return RunningTrial(trial, settings, self.n_folds, self.prunes)

    def end(self, running: RunningTrial, state: TrialState, result: TrialResult | None) -> bool:
        """Tell how a trial ended; False where it was taken for dead meanwhile, and stays what others made of it."""
        self._running.discard(running.trial._trial_id)
        try:
            if result is not None:
                running.trial.set_user_attr(RESULT, dataclasses.asdict(result))
                for name, most in self.constraints.items():
                    if (value := getattr(result, name)) is not None:
                        running.trial.set_constraint(name, value - most)
            score = result.value if result is not None and state == TrialState.COMPLETE else None
            self.record.tell(running.trial, score, state)
            return True
        except (UpdateFinishedTrialError, ValueError):
            if self._state(running) == TrialState.RUNNING:
                raise
            logger.warning(
                "trial %d had been given up as dead, and was put back: its end is not counted", running.number
            )
            return False

    def lose(self, running: RunningTrial) -> bool:
        """A trial whose worker died: it failed, and its settings go back into the queue, unless they have been there before.

        Returns
        -------
        bool
            Whether they will be tried again.
        """
        ended = self.end(running, TrialState.FAIL, None)
        return not ended or put_back(self.record, self.record.get_trials(deepcopy=False)[running.number])

    def _state(self, running: RunningTrial) -> TrialState:
        return self.record.get_trials(deepcopy=False)[running.number].state

    def _beat(self, interval: int) -> None:
        while not self._ended.wait(interval / 2):
            try:
                self._sign(list(self._running))
            except Exception:  # a database that is away for a moment: the next beat may reach it
                logger.debug("no heartbeat reached the storage", exc_info=True)

    def _sign(self, trial_ids: list[int]) -> None:
        if heartbeat_interval(self.record) is not None:
            for trial_id in trial_ids:
                self.record._storage.record_heartbeat(trial_id)  # type: ignore[attr-defined]  # of storages that have an interval


def ask(record: optuna.Study) -> Trial:
    """The next trial of the queue, or a new one."""
    with warnings.catch_warnings():
        # Optuna 5 warns that heartbeats belong to Study.optimize, which signs its trials itself.
        warnings.simplefilter("ignore")
        return record.ask()


def n_finished(record: optuna.Study) -> int:
    """Number of trials that finished."""
    return _count(record, TrialState.COMPLETE)


def n_running(record: optuna.Study) -> int:
    """Number of trials that run, here or elsewhere."""
    return _count(record, TrialState.RUNNING)


def heartbeat_interval(record: optuna.Study) -> int | None:
    """Seconds between two heartbeats; None where the storage takes none."""
    asked = getattr(record._storage, "get_heartbeat_interval", None)
    return None if asked is None else asked()


def _count(record: optuna.Study, state: TrialState) -> int:
    return len(record.get_trials(deepcopy=False, states=(state,)))
