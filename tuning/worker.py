"""A worker process: ``python -m tuning.worker FOLDER`` trains trials of the plan in the folder, as it is told on stdin.

Messages are lines of JSON. In: ``{"train": trial, "settings": {...}}``, ``{"stop": trial}``, ``{"leave": true}``. Out: ``{"ready": true}``,
``{"trial", "rounds", "value"}``, ``{"trial", "fold"}``, ``{"trial", "result"}`` and ``{"trial", "error", "message", "traceback"}``.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import json
import os
import queue
import shutil
import signal
import sys
import threading
import traceback
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from tuning.objective import train_trial
from tuning.plan import Plan
from tuning.plan_folder import open_plan

OUT_OF_MEMORY = ("out of memory", "bad_alloc", "memoryallocation", "memoryerror", "unable to allocate")
"""What errors of the boosters, torch and NumPy say of it."""


class Orders:
    """What the study says on stdin, read while trials train.

    Parameters
    ----------
    lines : text stream
    folder : pathlib.Path
        Of the plan: removed when the stream ends without a farewell, which means that the study's process was killed.
    """

    def __init__(self, lines: TextIO, folder: Path) -> None:
        self.trials: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._stopped: set[int] = set()
        threading.Thread(target=self._read, args=(lines, folder), daemon=True).start()

    def stopped(self, trial: int) -> bool:
        """Whether a trial was told to stop."""
        return trial in self._stopped

    def _read(self, lines: TextIO, folder: Path) -> None:
        for line in lines:
            order = json.loads(line)
            if "leave" in order:
                os._exit(0)  # also in the midst of a training, which nobody waits for
            elif "stop" in order:
                self._stopped.add(order["stop"])
            else:
                self.trials.put(order)
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


def work(plan: Plan, orders: Orders, answers: TextIO) -> None:
    """Train trials, one after the other, until there is no memory left."""

    def say(**message: Any) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    def report(trial: int, rounds: int, value: float) -> None:
        say(trial=trial, rounds=rounds, value=value)

    def fold_ended(trial: int, value: float) -> None:
        say(trial=trial, fold=value)

    say(ready=True)
    while True:
        order = orders.trials.get()
        number = order["train"]
        try:
            result = train_trial(
                plan,
                order["settings"],
                report=partial(report, number),
                fold_ended=partial(fold_ended, number),
                stopped=partial(orders.stopped, number),
            )
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            say(trial=number, error=type(error).__name__, message=str(error), traceback=traceback.format_exc())
            if any(sign in said.lower() for sign in OUT_OF_MEMORY):
                return  # only the end of a process frees all that it holds on a device
        else:
            say(trial=number, result=dataclasses.asdict(result))


def main() -> None:
    """Take stdout for messages alone, whatever libraries print; leave Ctrl-C to the study's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    folder = Path(sys.argv[1])
    orders = Orders(sys.stdin, folder)
    work(open_plan(folder), orders, answers)


if __name__ == "__main__":
    main()
