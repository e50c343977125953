"""Whether a key's events come faster lately than over a longer time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from features.errors import DeclarationError
from features.family import Key, key_name
from features.history import Batch
from features.window import Window
from features.windowed import KindFamily


@dataclass(frozen=True, kw_only=True, eq=False)
class Trend(KindFamily):
    """``{key}__{event}_trend__{short}_{long}``: the rate of events in a short window over that in a long one, Float64.

    With ``n`` events in the short window of length ``w``, ``N`` in the long one of length ``W``, and ``a`` the smoothing::

        ((n + a * w / W) / w) / ((N + a) / W)

    that is, each window has ``a`` events per long window added at an even pace. 1 says even, or no event at all; above 1 the key is
    rising, at most to ``W / w``; below 1 it fades. Declare the family once for each pair of windows.

    Parameters
    ----------
    short, long : str or Window, default "1d" and "7d"
        Both of a length, the first shorter. ``"all"`` has no length and is refused.
    smoothing : float, default 1.0
        At least 0. With 0 the ratio is null where the long window is empty.
    """

    name: ClassVar[str] = "trend"

    short: str | Window = "1d"
    long: str | Window = "7d"
    smoothing: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        short, long = Window.of(self.short), Window.of(self.long)
        for option, window in (("short", short), ("long", long)):
            if window.seconds is None:
                raise DeclarationError(f"trend: {option}='all' has no length; declare a window such as '365d'")
        if (short.seconds or 0) >= (long.seconds or 0):
            raise DeclarationError(f"trend: short={short.name!r} must be shorter than long={long.name!r}")
        if not 0 <= self.smoothing < np.inf:
            raise DeclarationError(f"trend: smoothing={self.smoothing!r} must be a number of events, at least 0")
        self._set(short=short, long=long)

    def columns(self, key: Key) -> list[str]:
        short, long = Window.of(self.short), Window.of(self.long)
        return [f"{key_name(key)}__{event}_trend__{short.name}_{long.name}" for event in self.kinds()]

    def compute(self, key: Key, batch: Batch) -> Iterator[np.ndarray]:
        standing = batch.standing(key)
        short, long = Window.of(self.short), Window.of(self.long)
        times_longer = (long.seconds or 0) / (short.seconds or 1)
        for event in self.kinds():
            lately = standing.count(event, short) + self.smoothing / times_longer
            overall = standing.count(event, long) + self.smoothing
            ratio = np.divide(lately, overall, out=np.full(len(overall), np.nan), where=overall > 0)
            yield standing.give(ratio * times_longer)
