"""The search itself: the sampler, trials in this process or in workers, and what happens on Ctrl-C or when every trial fails."""

from __future__ import annotations

import logging
import math
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType

import optuna
import torch
from optuna.trial import TrialState

from hybrid import HybridClassifier
from tuning.errors import StudyError, WorkerError
from tuning.objective import TrialResult, train_trial
from tuning.plan import Plan
from tuning.plan_folder import write_plan
from tuning.slots import slots, visible_devices
from tuning.space import SearchSpace
from tuning.storage import storage_errors
from tuning.trials import RunningTrial, Trials, n_finished
from tuning.workers import WorkerProcess, Workers, error_of

logger = logging.getLogger(__name__)

BUILD_SECONDS = "build seconds"

_LISTEN_SECONDS = 0.2


def tpe_sampler(seed: int) -> optuna.samplers.BaseSampler:
    """TPE with its options pinned: another version's defaults would make other studies.

    The constant liar keeps workers apart, of which others may join from another host at any time.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)


def queue_first(record: optuna.Study, space: SearchSpace, model: HybridClassifier, n_trials: int) -> None:
    """Begin a new study with the first trials of its space."""
    for start in () if record.get_trials(deepcopy=False) else space.starts(model)[:n_trials]:
        record.enqueue_trial(start)


def run_trials(search: Search, build: Callable[[], Plan], *, n_workers: int, isolate: bool | None) -> bool:
    """Build the plan and run trials on it, each in this process or, with ``isolate``, in one of its workers.

    Returns
    -------
    bool
        Whether they were interrupted.
    """
    plan, record, device = build(), search.trials.record, cuda_device(search.trials.model.device)
    with storage_errors(search.storage):
        record.set_user_attr(BUILD_SECONDS, [*record.user_attrs.get(BUILD_SECONDS, []), plan.seconds])
    if not (n_workers > 1 or device is not None if isolate is None else isolate):
        return search.run(in_process(plan))
    n_workers = min(n_workers, max(search.trials.left, 1))
    places = slots(n_workers, n_jobs=plan.n_jobs, device=device, devices=visible_devices(torch.cuda.device_count()))
    with plan_folder(plan) as folder:
        del plan
        return search.run(in_workers(folder, places))


def cuda_device(device: str) -> str | None:
    """The CUDA device that a model's ``device`` means on this machine; None for the CPU."""
    if device == "cpu" or not torch.cuda.is_available():
        return None
    return device if device.startswith("cuda") else "cuda"


@dataclass(eq=False)
class Search:
    """One call's part in a study.

    Ctrl-C stops the trials at their next round, where nothing is half done; a second one interrupts at once.

    Parameters
    ----------
    trials : Trials
    storage : str, Path or storage
        As the user named it, for messages.
    deadline : float
        Of ``time.monotonic``: no trial begins after it, except the first.
    after_trial : callable, optional
        Called after each trial that ended here.

    Attributes
    ----------
    n_ended, n_failed : int
        Trials that ended here.
    first_error : Exception or None
        The first that made a trial fail.
    """

    trials: Trials
    storage: object
    deadline: float
    after_trial: Callable[[int], None] | None = None
    n_ended: int = 0
    n_failed: int = 0
    first_error: Exception | None = None
    _begun: int = 0
    _logged: set[str] = field(default_factory=set)
    _interrupted: threading.Event = field(default_factory=threading.Event)

    def run(self, train: Callable[[Search], None]) -> bool:
        """Run trials by ``train``, which ``in_process`` or ``in_workers`` gives.

        Returns
        -------
        bool
            Whether they were interrupted.

        Raises
        ------
        StudyError
            No trial of the study finished; the first trial's error is its cause.
        KeyboardInterrupt
            Interrupted before any trial of the study finished.
        """
        record = self.trials.record
        try:
            with storage_errors(self.storage), _noticed(self._interrupted), self.trials:
                train(self)
        except KeyboardInterrupt:
            self._interrupted.set()
        finished = n_finished(record)
        if self._interrupted.is_set():
            if not finished:
                raise KeyboardInterrupt
            message = f"interrupted after {self.n_ended} trials; the study has {finished} finished ones"
            warnings.warn(message, UserWarning, stacklevel=3)
            return True
        error = self.first_error
        if not finished and error is not None:
            what = str(error) if isinstance(error, WorkerError) else f"{type(error).__name__}: {error}"
            raise StudyError(f"no trial finished, {self.n_failed} failed; the first with {what}") from error
        return False

    @property
    def interrupted(self) -> bool:
        """Whether trials are to stop."""
        return self._interrupted.is_set()

    def begin(self, slot: int = 0) -> RunningTrial | None:
        """The next trial; None when there is none, or no time for it."""
        if self.interrupted or (self._begun and time.monotonic() > self.deadline):
            return None
        running = self.trials.begin(slot)
        self._begun += running is not None
        return running

    def stopped(self, running: RunningTrial) -> bool:
        """Whether a trial is to stop at its next round."""
        return self.interrupted or running.pruned

    def end(self, running: RunningTrial, result: TrialResult) -> None:
        """A trial has run to its end, or to where it was told to stop."""
        if running.pruned:
            state = TrialState.PRUNED
        elif len(result.values) == self.trials.n_folds:
            state = TrialState.COMPLETE
        else:
            state = TrialState.FAIL
        if state == TrialState.COMPLETE and math.isnan(result.value):
            self.fail(running, ValueError("the metric is not a number"))
            return
        self.trials.end(running, state, None if state == TrialState.FAIL else result)
        self._count()

    def fail(self, running: RunningTrial, error: Exception) -> None:
        """A trial has raised an error."""
        self.trials.end(running, TrialState.FAIL, None)
        self._note(running, error)

    def lose(self, running: RunningTrial, error: WorkerError) -> None:
        """A trial's worker has died."""
        if self.trials.lose(running):
            self._begun -= 1
            logger.warning("trial %d was lost and will be tried again: %s", running.number, error)
        else:
            self._note(running, error)

    def _note(self, running: RunningTrial, error: Exception) -> None:
        self.n_failed += 1
        self.first_error = self.first_error or error
        message = str(error) if isinstance(error, WorkerError) else f"{type(error).__name__}: {error}"
        if message not in self._logged:
            self._logged.add(message)
            logger.warning("trial %d failed, the study goes on: %s", running.number, message)
        self._count()

    def _count(self) -> None:
        self.n_ended += 1
        if self.after_trial is not None:
            self.after_trial(self.n_ended)


def in_process(plan: Plan) -> Callable[[Search], None]:
    """Trials one after the other in this process: with one seed the same trials come out."""

    def train(search: Search) -> None:
        while running := search.begin():
            stopped = partial(search.stopped, running)
            try:
                result = train_trial(
                    plan, running.settings, report=running.report, fold_ended=running.fold_ended, stopped=stopped
                )
            except Exception as error:
                search.fail(running, error)
            except KeyboardInterrupt:
                search.trials.end(running, TrialState.FAIL, None)
                raise
            else:
                search.end(running, result)

    return train


@contextmanager
def plan_folder(plan: Plan) -> Iterator[Path]:
    """The plan in a private folder for as long as the context lasts, and no longer in this process's memory."""
    with tempfile.TemporaryDirectory(prefix="intentree-plan-", ignore_cleanup_errors=True) as folder:  # of mode 0700
        write_plan(plan, Path(folder))
        del plan
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        yield Path(folder)


def in_workers(folder: Path, slots: Sequence[Mapping[str, str]]) -> Callable[[Search], None]:
    """Trials in a process each: this one asks and tells, so that no crash of theirs loses more than the trial that they train."""

    def train(search: Search) -> None:
        running: dict[WorkerProcess, RunningTrial] = {}
        try:
            with Workers(folder, slots) as workers:
                _conduct(search, workers, running)
        except BaseException:
            for one in running.values():
                search.trials.end(one, TrialState.FAIL, None)
            raise

    return train


def _conduct(search: Search, workers: Workers, running: dict[WorkerProcess, RunningTrial]) -> None:
    more, told_to_stop = True, set[int]()
    while more or running:
        heard = workers.hear(_LISTEN_SECONDS)
        more = more and not search.interrupted
        if heard is not None:
            worker, message = heard
            if message is None:
                if worker in running:
                    search.lose(running.pop(worker), WorkerError(f"its worker process {worker.why_dead()}"))
                    more = True
                workers.replace(worker)
            elif "rounds" in message:
                running[worker].report(message["rounds"], message["value"])
            elif "fold" in message:
                running[worker].fold_ended(message["fold"])
            elif "result" in message:
                search.end(running.pop(worker), TrialResult(**message["result"]))
            elif "error" in message:
                search.fail(running.pop(worker), error_of(message))
        if more:
            for worker in workers.idle:
                begun = search.begin(worker.slot)
                if begun is None:
                    more = False
                    break
                running[worker] = begun
                worker.train(begun.number, begun.settings)
        for worker, one in running.items():
            if search.stopped(one) and one.number not in told_to_stop:
                told_to_stop.add(one.number)
                worker.stop()


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
    """Note a Ctrl-C for the trials to look at, and let a second one do what it would have done.

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
