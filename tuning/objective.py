"""One trial: settings from the space, a training on each fold, and the mean of their scores."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, Trial

from hybrid.boosters import OnRound
from tuning.plan import FoldScore, Plan
from tuning.space import SearchSpace

logger = logging.getLogger(__name__)

SETTINGS, RESULT = "settings", "result"

REPORT_EVERY = 10
"""Rounds between two reports: a database would write a row and the pruner read all trials for each."""


@dataclass(frozen=True)
class TrialResult:
    """What a trial records beside its value: of each fold that it finished, the metric and the best round; and where its time went."""

    values: list[float]
    rounds: list[int]
    bin_seconds: float
    train_seconds: float

    @classmethod
    def of(cls, trial: FrozenTrial) -> TrialResult:
        """The record of a trial; empty where it failed or was interrupted."""
        return cls(
            **trial.user_attrs.get(RESULT, {"values": [], "rounds": [], "bin_seconds": 0.0, "train_seconds": 0.0})
        )


class Objective:
    """What Optuna minimizes or maximizes.

    Parameters
    ----------
    plan : Plan
    space : SearchSpace

    Attributes
    ----------
    interrupted : threading.Event
        When set, trainings of all workers stop at their next round.
    first_error : Exception or None
        The first that made a trial fail.
    """

    def __init__(self, plan: Plan, space: SearchSpace) -> None:
        self.plan = plan
        self.space = space
        self.interrupted = threading.Event()
        self.first_error: Exception | None = None
        self._logged: set[str] = set()

    def __call__(self, trial: Trial) -> float:
        """The mean over the folds of the metric at the best round."""
        try:
            return self._score(trial)
        except optuna.TrialPruned:
            raise
        except KeyboardInterrupt:
            self.interrupted.set()
            raise
        except Exception as error:
            self.first_error = self.first_error or error
            message = f"{type(error).__name__}: {error}"
            if message not in self._logged:
                self._logged.add(message)
                logger.warning("trial %d failed, the study goes on: %s", trial.number, message)
            raise

    def _score(self, trial: Trial) -> float:
        settings = self.space.settings(self.space.suggest(trial), self.plan.task.model)
        trial.set_user_attr(SETTINGS, settings)
        scores: list[FoldScore] = []
        spent = {"bin_seconds": 0.0, "train_seconds": 0.0}
        try:
            for i in range(len(self.plan.task.folds)):
                started = time.perf_counter()
                scores.append(self.plan.train(i, settings, self._watch(trial if i == 0 else None)))
                spent["bin_seconds"] += scores[-1].bin_seconds
                spent["train_seconds"] += scores[-1].train_seconds
        except optuna.TrialPruned:
            spent["train_seconds"] += time.perf_counter() - started
            raise
        finally:
            if not self.interrupted.is_set():
                result = TrialResult([s.value for s in scores], [s.rounds for s in scores], **spent)
                trial.set_user_attr(RESULT, dataclasses.asdict(result))
        return float(np.mean([score.value for score in scores]))

    def _watch(self, pruned: Trial | None) -> OnRound:
        """Called after each round: stops an interrupted study, and reports a trial that may be pruned."""

        def on_round(round_: int, value: float) -> None:
            if self.interrupted.is_set():
                raise KeyboardInterrupt
            if pruned is not None and (round_ + 1) % REPORT_EVERY == 0:
                pruned.report(value, round_ + 1)
                if pruned.should_prune():
                    raise optuna.TrialPruned

        return on_round


def trial_settings(trial: FrozenTrial) -> dict[str, Any]:
    """The parameters that a trial trained with, as ``HybridClassifier.set_params`` takes them."""
    return dict(trial.user_attrs.get(SETTINGS, {}))
