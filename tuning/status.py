"""How a study stands, read from its storage alone: what has ended, what runs and for how long, the best, and the time left."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from tuning.lost import Worker, n_counted
from tuning.objective import allowed
from tuning.storage import FINGERPRINT, existing_study, storage_errors
from tuning.trials import GOAL

_RECENT = 20


@dataclass(frozen=True)
class TrialStatus:
    """A trial that runs: its number, the seconds since it began, and whose worker trains it."""

    number: int
    seconds: float
    worker: str


@dataclass(frozen=True)
class StudyStatus:
    """How a study stands.

    Parameters
    ----------
    name, metric : str
    finished, pruned, failed, waiting : int
        Numbers of trials; those in the queue wait.
    lost : int
        Failed trials whose process died, and whose settings were queued again.
    running : tuple of TrialStatus
    left : int
        Trials until there are as many as were asked for.
    best : tuple of (trial, value), or None
    trials_per_minute : float or None
        By the mean duration of the last 20 trials and the number that run now; None before the first has ended.
    """

    name: str
    metric: str
    finished: int
    pruned: int
    failed: int
    waiting: int
    lost: int
    running: tuple[TrialStatus, ...]
    left: int
    best: tuple[int, float] | None
    trials_per_minute: float | None

    @property
    def seconds_left(self) -> float | None:
        """Until there are as many trials as were asked for; None where no trial has ended."""
        return None if self.trials_per_minute is None else self.left / self.trials_per_minute * 60

    def __str__(self) -> str:
        """One line for people who watch."""
        ended = self.finished + self.pruned + self.failed
        parts = [f"{ended:,} of {ended + self.left:,} trials"]
        if self.best is not None:
            parts.append(f"best {self.metric} {self.best[1]:.5f} (trial {self.best[0]})")
        parts += [f"{n:,} {word}" for n, word in ((self.pruned, "pruned"), (self.failed, "failed")) if n]
        if self.trials_per_minute is not None and self.left:
            parts.append(f"{self.trials_per_minute:.3g} a minute, {lasting(self.seconds_left or 0)} left")
        return ", ".join(parts)

    @classmethod
    def of(cls, record: optuna.Study) -> StudyStatus:
        """The status of an Optuna study that ``tune`` made."""
        trials = record.get_trials(deepcopy=False)
        by_state = {state: [trial for trial in trials if trial.state == state] for state in TrialState}
        running = tuple(
            TrialStatus(t.number, (datetime.now() - t.datetime_start).total_seconds(), str(Worker.of(t) or "unknown"))
            for t in by_state[TrialState.RUNNING]
            if t.datetime_start is not None
        )
        counted = n_counted(record)
        ended = [*by_state[TrialState.COMPLETE], *by_state[TrialState.PRUNED]]
        recent = sorted(ended, key=lambda t: t.datetime_complete or datetime.min)[-_RECENT:]
        seconds = sum(t.duration.total_seconds() for t in recent if t.duration)
        sign = 1 if record.direction == optuna.study.StudyDirection.MINIMIZE else -1
        valued = [
            (sign * t.value, t.number, t.value)
            for t in by_state[TrialState.COMPLETE]
            if t.value is not None and allowed(t)
        ]
        lost = len(trials) - len(by_state[TrialState.WAITING]) - len(by_state[TrialState.RUNNING]) - counted
        return cls(
            name=record.study_name,
            metric=record.user_attrs.get(FINGERPRINT, {}).get("metric", "value"),
            finished=len(by_state[TrialState.COMPLETE]),
            pruned=len(by_state[TrialState.PRUNED]),
            failed=len(by_state[TrialState.FAIL]) - lost,
            waiting=len(by_state[TrialState.WAITING]),
            lost=lost,
            running=running,
            left=max(record.user_attrs.get(GOAL, 0) - counted, 0),
            best=min(valued)[1:] if valued else None,
            trials_per_minute=60 * len(recent) * max(len(running), 1) / seconds if seconds else None,
        )


def lasting(seconds: float) -> str:
    """A time span in two units at most: "45 s", "3 min", "2 h 5 min"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def status(storage: str | Path | BaseStorage, study_name: str = "intentree") -> StudyStatus:
    """How a study stands; its data are not read.

    Parameters
    ----------
    storage, study_name : as for ``tune``

    Raises
    ------
    StudyError
        There is no such study, or the storage cannot be used.
    """
    with storage_errors(storage):
        return StudyStatus.of(existing_study(storage, study_name))
