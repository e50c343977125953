"""One trial: a training on each fold with the trial's settings, followed round by round, and what is recorded of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from hybrid.boosters import OnRound
from tuning.plan import FoldScore, Plan

SETTINGS, RESULT = "settings", "result"

REPORT_EVERY, CLOSE_ROUNDS = 10, 100
"""Rounds between two reports up to twice ``CLOSE_ROUNDS``; at each doubling from there on twice as many. A database writes a row and the
pruner reads all trials for each, and late rounds tell little that is new."""

Report = Callable[[int, float], None]
"""Called with a number of rounds of the first fold and the metric after them."""


@dataclass(frozen=True)
class TrialResult:
    """What a trial records beside its value: of each fold that it finished, the metric and the best round; where its time went; and, mean
    over the folds, the milliseconds in which its trees score a thousand rows and the megabytes of their file."""

    values: list[float]
    rounds: list[int]
    bin_seconds: float
    train_seconds: float
    predict_ms_per_1k: float | None = None
    artifact_mb: float | None = None

    @classmethod
    def of(cls, trial: FrozenTrial) -> TrialResult:
        """The record of a trial; empty where it failed or was interrupted."""
        return cls(
            **trial.user_attrs.get(RESULT, {"values": [], "rounds": [], "bin_seconds": 0.0, "train_seconds": 0.0})
        )

    @property
    def value(self) -> float:
        """The mean over the folds of the metric at the best round."""
        return float(np.mean(self.values))


class _Stopped(Exception):  # noqa: N818 - no error: how a booster's callback ends a training
    pass


def train_trial(
    plan: Plan,
    settings: Mapping[str, Any],
    *,
    report: Report,
    fold_ended: Callable[[float], None],
    stopped: Callable[[], bool],
) -> TrialResult:
    """Train on one fold after the other.

    Parameters
    ----------
    plan : Plan
    settings : mapping
        As from ``SearchSpace.settings``.
    report : callable (rounds, value)
        Told of some rounds of the first fold, the same ones in every trial, by which trials are pruned. Of no round of a trial that
        calibrates: what is watched is the metric before calibration, which its class weights may have bent.
    fold_ended : callable (value)
        Told of each fold but the last.
    stopped : callable
        Asked after every round whether to stop.

    Returns
    -------
    TrialResult
        Of fewer folds than the plan has where the trial was stopped.
    """
    scores: list[FoldScore] = []
    bin_seconds = train_seconds = 0.0
    by_round = not plan.calibrates(settings)

    def follow(fold: int) -> OnRound:
        def on_round(round_: int, value: float) -> None:
            if fold == 0 and by_round and _reported(round_ + 1):
                report(round_ + 1, value)
            if stopped():
                raise _Stopped

        return on_round

    for fold in range(len(plan.task.folds)):
        started = time.perf_counter()
        try:
            scores.append(plan.train(fold, settings, follow(fold)))
        except _Stopped:
            train_seconds += time.perf_counter() - started
            break
        bin_seconds += scores[-1].bin_seconds
        train_seconds += scores[-1].train_seconds
        if len(scores) < len(plan.task.folds):
            fold_ended(scores[-1].value)
            if stopped():
                break
    cost = (None, None) if not scores else (_mean(scores, "predict_ms_per_1k"), _mean(scores, "artifact_mb"))
    return TrialResult([s.value for s in scores], [s.rounds for s in scores], bin_seconds, train_seconds, *cost)


def _mean(scores: Sequence[FoldScore], name: str) -> float:
    return float(np.mean([getattr(score, name) for score in scores]))


def _reported(rounds: int) -> bool:
    return rounds % (REPORT_EVERY << max(rounds // CLOSE_ROUNDS, 1).bit_length() - 1) == 0


def trial_settings(trial: FrozenTrial) -> dict[str, Any]:
    """The parameters that a trial trained with, as ``HybridClassifier.set_params`` takes them."""
    return dict(trial.user_attrs.get(SETTINGS, {}))


def allowed(trial: FrozenTrial) -> bool:
    """Whether a trial breaks no constraint."""
    return all(by <= 0 for by in trial.constraints.values())
