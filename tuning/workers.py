"""Worker processes of a study: started, told what to train, heard, and replaced when they die."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tuning.errors import StudyError, WorkerError

_LEAVE_SECONDS = 5.0
_STILLBORN = 3


@dataclass(eq=False)
class WorkerProcess:
    """One worker.

    Parameters
    ----------
    slot : int
        Its place among the workers, which a successor takes.
    process : subprocess.Popen
    log : pathlib.Path
        What it writes to stderr.
    ready : bool
        Whether it has opened the plan.
    trial : int or None
        What it trains.
    """

    slot: int
    process: subprocess.Popen[str]
    log: Path
    ready: bool = False
    trial: int | None = None

    @property
    def idle(self) -> bool:
        """Whether it waits for a trial."""
        return self.ready and self.trial is None

    def train(self, trial: int, settings: Mapping[str, Any]) -> None:
        """Have it train a trial."""
        self.trial = trial
        self._tell({"train": trial, "settings": settings})

    def stop(self) -> None:
        """Have it end its trial after the next round."""
        self._tell({"stop": self.trial})

    def leave(self) -> None:
        """Have it end at once."""
        self._tell({"leave": True})

    def why_dead(self) -> str:
        """How the process ended."""
        code = self.process.wait()
        if code == -signal.SIGKILL:
            return "was killed (SIGKILL), as the system does where memory runs out"
        ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        said = self.log.read_text(encoding="utf-8", errors="replace").split()
        return f"{ended}: {' '.join(said)[-300:]}" if said else ended

    def _tell(self, message: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):  # it died; its end is heard in its turn
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()


@dataclass(eq=False)
class Workers:
    """The workers of a study's process; as a context, none of them outlives it.

    Parameters
    ----------
    folder : pathlib.Path
        Of the plan.
    slots : sequence of mapping
        What to set in the environment of each worker.
    """

    folder: Path
    slots: Sequence[Mapping[str, str]]
    _workers: list[WorkerProcess] = field(default_factory=list)
    _heard: queue.SimpleQueue[tuple[WorkerProcess, dict[str, Any] | None]] = field(default_factory=queue.SimpleQueue)
    _started: int = 0
    _stillborn: int = 0

    def __enter__(self) -> Self:
        try:
            self._workers = [self._start(slot) for slot in range(len(self.slots))]
        except BaseException:
            self._end(abruptly=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(abruptly=kind is not None)

    @property
    def idle(self) -> list[WorkerProcess]:
        """Those that wait for a trial."""
        return [worker for worker in self._workers if worker.idle]

    def hear(self, seconds: float) -> tuple[WorkerProcess, dict[str, Any] | None] | None:
        """The next message and whom it is from; None in its place when that worker has died, None when nothing was said in time.

        Raises
        ------
        StudyError
            Several workers in a row died before they could train.
        """
        try:
            worker, message = self._heard.get(timeout=seconds)
        except queue.Empty:
            return None
        if message is None:
            self._stillborn += not worker.ready
            if self._stillborn >= _STILLBORN:
                raise StudyError(
                    f"{_STILLBORN} worker processes in a row died before they could train; the last {worker.why_dead()}"
                )
        elif "ready" in message:
            worker.ready, self._stillborn = True, 0
        elif "result" in message or "error" in message:
            worker.trial = None
        return worker, message

    def replace(self, worker: WorkerProcess) -> None:
        """Start another in the place of one that died."""
        worker.process.wait()
        self._workers[worker.slot] = self._start(worker.slot)

    def _start(self, slot: int) -> WorkerProcess:
        self._started += 1
        log = self.folder / f"worker_{self._started}.log"
        environment = {
            **os.environ,
            **self.slots[slot],
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "tuning.worker", str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                encoding="utf-8",
                env=environment,
                start_new_session=True,  # a terminal's Ctrl-C is for the study's process, which tells the workers
            )
        worker = WorkerProcess(slot, process, log)
        threading.Thread(target=self._listen, args=(worker,), daemon=True).start()
        return worker

    def _listen(self, worker: WorkerProcess) -> None:
        assert worker.process.stdout is not None
        for line in worker.process.stdout:
            if line.endswith("\n"):  # else it died in the midst of it
                self._heard.put((worker, json.loads(line)))
        self._heard.put((worker, None))

    def _end(self, *, abruptly: bool) -> None:
        for worker in self._workers:
            worker.process.kill() if abruptly else worker.leave()
        for worker in self._workers:
            try:
                worker.process.wait(_LEAVE_SECONDS)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            for pipe in (worker.process.stdin, worker.process.stdout):
                assert pipe is not None
                with suppress(OSError):  # of what was still to be said to it
                    pipe.close()


def error_of(message: Mapping[str, Any]) -> WorkerError:
    """The error of a trial as a worker told it."""
    error = WorkerError(f"{message['error']}: {message['message']}")
    error.add_note(message["traceback"])
    return error
