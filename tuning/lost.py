"""Trials whose process died: known by who signed them, failed, and their settings put back into the queue."""

from __future__ import annotations

import os
import socket
import warnings
import zlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

WORKER, RETRY_OF = "worker", "retry of"
RETRIES = 1
"""How often the settings of a trial whose process died are tried again."""

HEARTBEAT_SECONDS, SILENT_SECONDS = 20, 90
"""A running trial is signed so often, and taken for dead after so long without, where the storage is a database."""

_UNSIGNED_SECONDS = 60  # by then a trial that was handed out is signed, unless its process died in between


@dataclass(frozen=True)
class Worker:
    """Who runs a trial.

    Parameters
    ----------
    host : str
    pid : int
        The process that asked for the trial.
    born : str
        When that process began, as the system counts it, since numbers of processes are used again; empty where it does not say.
    slot : int
        Which of the process's workers, from 0.
    """

    host: str
    pid: int
    born: str
    slot: int

    @classmethod
    def here(cls, slot: int = 0) -> Worker:
        """A worker of this process."""
        return cls(socket.gethostname(), os.getpid(), _born(os.getpid()), slot)

    @classmethod
    def of(cls, trial: FrozenTrial) -> Worker | None:
        """Who ran a trial; None where it was never said."""
        signed = trial.user_attrs.get(WORKER)
        return None if signed is None else cls(**signed)

    def __str__(self) -> str:
        return f"{self.host}:{self.pid} worker {self.slot + 1}"

    @property
    def seed(self) -> int:
        """A seed for what two processes must not draw alike."""
        return zlib.crc32(repr(self).encode())

    @property
    def dead(self) -> bool:
        """Whether it ran on this host and its process is gone; of other hosts heartbeats tell."""
        if self.host != socket.gethostname() or os.name != "posix":
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return bool(self.born) and _born(self.pid) != self.born


def put_back_lost(record: optuna.Study) -> None:
    """Fail the running trials whose process died, and put their settings back into the queue.

    Processes of this host are looked for; of other hosts the heartbeat tells, which databases have and journal files have not.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.fail_stale_trials(record)  # calls put_back for each
    for trial in record.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        worker = Worker.of(trial)
        unsigned = worker is None and _age(trial) > _UNSIGNED_SECONDS
        if unsigned or (worker is not None and worker.dead):
            try:
                record.tell(trial.number, state=TrialState.FAIL)
            except (UpdateFinishedTrialError, ValueError):  # another process was quicker
                continue
            put_back(record, trial)


def put_back(record: optuna.Study, trial: FrozenTrial) -> bool:
    """Queue a dead trial's settings again; False where they have died as often as they may."""
    history = [*trial.user_attrs.get(RETRY_OF, []), trial.number]
    if len(history) > RETRIES:
        return False
    record.enqueue_trial(trial.params, user_attrs={RETRY_OF: history})
    return True


def n_counted(record: optuna.Study) -> int:
    """Number of trials that ended, each retried one once."""
    trials = record.get_trials(deepcopy=False)
    retried = {number for trial in trials for number in trial.user_attrs.get(RETRY_OF, [])}
    return sum(trial.state.is_finished() and trial.number not in retried for trial in trials)


def _age(trial: FrozenTrial) -> float:
    return 0.0 if trial.datetime_start is None else (datetime.now() - trial.datetime_start).total_seconds()


def _born(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
