"""The search itself: sampler and pruner, workers, and what happens on Ctrl-C or when every trial fails."""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import optuna
from optuna.trial import FrozenTrial, TrialState

from hybrid.builder import Progress
from tuning.errors import StudyError
from tuning.objective import Objective
from tuning.plan import Plan
from tuning.space import SearchSpace

STARTUP_TRIALS = 8
WARMUP_ROUNDS = 100
BUILD_SECONDS = "build seconds"


def median_pruner(n_estimators: int) -> optuna.pruners.BasePruner:
    """Prunes a trial whose best round so far, on the first fold, is worse than the median of earlier trials at that round.

    Slow learners are behind at first and good in the end, so the first rounds are no ground to prune.
    """
    return optuna.pruners.MedianPruner(STARTUP_TRIALS, min(WARMUP_ROUNDS, n_estimators // 4))


def tpe_sampler(n_workers: int, seed: int) -> optuna.samplers.BaseSampler:
    """TPE with its options pinned: another version's defaults would make other studies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=n_workers > 1, seed=seed)


def search(
    record: optuna.Study,
    plan: Plan,
    space: SearchSpace,
    *,
    n_trials: int,
    deadline: float,
    n_workers: int,
    random_state: int,
    progress: Progress | None,
) -> bool:
    """Run trials; the first of a new study are those of ``space.starts``.

    Ctrl-C stops the trials at their next round, where nothing is half done; a second one interrupts at once.

    ``deadline``, of ``time.monotonic``, is looked at after each trial, so that one at least is run.

    Returns
    -------
    bool
        Whether it was interrupted.

    Raises
    ------
    StudyError
        No trial finished; the first trial's error is its cause.
    KeyboardInterrupt
        Interrupted before any trial of the study finished.
    """
    before = len(record.get_trials(deepcopy=False))
    # A study that goes on must not draw its first trials again, hence another seed.
    record.sampler = tpe_sampler(n_workers, random_state + before)
    for start in () if before else space.starts(plan.task.model)[:n_trials]:
        record.enqueue_trial(start)
    record.set_user_attr(BUILD_SECONDS, [*record.user_attrs.get(BUILD_SECONDS, []), plan.seconds])

    objective, lock, done = Objective(plan, space), threading.Lock(), 0

    def after_trial(_: optuna.Study, __: FrozenTrial) -> None:
        nonlocal done
        with lock:
            done += 1
            if progress is not None:
                progress("trials", done, n_trials)
        if objective.interrupted.is_set():
            raise KeyboardInterrupt
        if time.monotonic() > deadline:
            record.stop()

    try:
        with _noticed(objective.interrupted):
            # Optuna 5.0 over SQLite hands a queued trial to two threads that ask at once, so queued ones have no company.
            queued = min(len(record.get_trials(deepcopy=False, states=(TrialState.WAITING,))), n_trials)
            for trials, workers in ((queued, 1), (n_trials - queued, n_workers)):
                if trials and (not done or time.monotonic() <= deadline):
                    record.optimize(
                        objective, n_trials=trials, n_jobs=workers, catch=(Exception,), callbacks=[after_trial]
                    )
    except KeyboardInterrupt:
        if not n_finished(record):
            raise
        message = f"interrupted after {done} of {n_trials} trials; the study has {n_finished(record)} finished ones"
        warnings.warn(message, UserWarning, stacklevel=3)
        return True
    error = objective.first_error
    if not n_finished(record) and error is not None:
        raise StudyError(f"no trial finished, {done} failed; the first with {type(error).__name__}: {error}") from error
    return False


def n_finished(record: optuna.Study) -> int:
    """Number of trials that finished."""
    return len(record.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silence Optuna's line a trial; failures are logged by us, once each."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


@contextmanager
def _noticed(interrupted: threading.Event) -> Iterator[None]:
    """Note a Ctrl-C for all threads to look at, and let a second one do what it would have done.

    Python would raise it wherever the main thread happens to be: in the midst of a statement to the database, or of a matrix that
    XGBoost is reading, which then complain of it.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return

    def handler(number: int, frame: FrameType | None) -> None:
        if interrupted.is_set():
            before(number, frame)
        interrupted.set()

    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
