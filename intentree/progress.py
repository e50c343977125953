"""How long work is shown: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

if TYPE_CHECKING:
    from tuning import StudyStatus

Progress = Callable[[str, int, int], None]
"""Called with a step's name, what is done of it, and how much there is."""

EVERY_SECONDS = 5.0


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Give the callable that the packages report to; what it is told goes to stderr while the context lasts."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield PlainLines(console.file.write)
        return
    with _bars(console) as bars:
        yield _OnBars(bars)


class StudyProgress:
    """How a search is shown: the steps before the first trial as ``shown_progress`` shows them, then the study's state.

    On a terminal that is one line, which changes; elsewhere a line at most every five seconds, and the last one.

    Parameters
    ----------
    console : rich.console.Console, default stderr's
    clock : callable, default time.monotonic
        Seconds.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._shown: Bars | Live | None = None
        self._steps: Progress = PlainLines(self._console.file.write, clock)
        self._printed, self._last = -EVERY_SECONDS, ""

    def __enter__(self) -> StudyProgress:
        if self._console.is_terminal:
            self._shown = bars = _bars(self._console)
            bars.start()
            self._steps = _OnBars(bars)
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown is not None:
            self._shown.stop()
        elif self._last:
            self._console.file.write(self._last)

    def __call__(self, step: str, done: int, total: int) -> None:
        if step != "trials":  # of which `trial` tells more
            self._steps(step, done, total)

    def trial(self, status: StudyStatus) -> None:
        """Show how the study stands."""
        if self._shown is None:
            self._last = f"{status}\n"
            if self._clock() - self._printed >= EVERY_SECONDS:
                self._console.file.write(self._last)
                self._printed, self._last = self._clock(), ""
            return
        if isinstance(self._shown, Bars):
            self._shown.stop()
            self._shown = Live(console=self._console, transient=True)
            self._shown.start()
        self._shown.update(Text(str(status), no_wrap=True, overflow="ellipsis"))


def _bars(console: Console) -> Bars:
    counts = "{task.completed:,.0f} of {task.total:,.0f}"
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(counts),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Bars(*columns, console=console)


@dataclass
class _Step:
    started: float
    printed: float
    done: int
    open: bool = False


class PlainLines:
    """Progress as lines: at most one in five seconds for a step, and one when it is done.

    Parameters
    ----------
    write : callable
        Takes a line with its end.
    clock : callable, default time.monotonic
        Seconds.
    """

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._steps: dict[str, _Step] = {}
        self._lock = threading.Lock()

    def __call__(self, step: str, done: int, total: int) -> None:
        with self._lock:
            now = self._clock()
            known = self._steps.setdefault(step, _Step(now, -EVERY_SECONDS, 0))
            if done < known.done:  # the same step for other rows
                known.started, known.open = now, False
            known.done, finished = done, done >= total
            since = known.printed if finished else max(known.printed, known.started)
            if (finished and known.open) or now - since >= EVERY_SECONDS:
                known.printed, known.open = now, not finished
                self._write(f"{step}: {done:,} of {total:,}, {now - known.started:.0f} s\n")


class _OnBars:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, step: str, done: int, total: int) -> None:
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(escape(step), total=total)
        task = self._tasks[step]
        if done < self._bars.tasks[self._bars.task_ids.index(task)].completed:
            self._bars.reset(task)
        self._bars.update(task, completed=done, total=total)
