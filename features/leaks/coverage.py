"""Coverage: whether the log reaches the examples at all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from features.event_log import TIME
from features.leaks.finding import Finding
from features.leaks.subject import Subject


def findings(subject: Subject) -> Iterator[Finding]:
    """Notes: a log that begins after every example, and one that ends before all of them by more than the longest trailing window."""
    if subject.log.is_empty():
        yield Finding("coverage", "note", "the log holds no event of a declared kind")
        return
    events = subject.log[TIME].to_numpy()
    longest = subject.longest_window()
    first, last = int(events.min()), int(events.max())
    if first >= subject.times.max():
        yield Finding(
            "coverage",
            "note",
            f"the log begins at {_moment(first)}, after every example: no feature has an event to count",
            rows=len(subject.times),
        )
    if longest is not None and subject.times.min() - last > longest:
        yield Finding(
            "coverage",
            "note",
            f"the log ends at {_moment(last)}, before every example by more than the longest trailing window: each of them is empty",
            rows=len(subject.times),
        )


def _moment(microseconds: int) -> str:
    return str(np.datetime64(microseconds, "us").astype("datetime64[s]")).replace("T", " ")
