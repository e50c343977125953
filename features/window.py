"""A trailing window of time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from features.errors import DeclarationError

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_PATTERN = re.compile(r"([1-9]\d*)([smhdw])")


@dataclass(frozen=True)
class Window:
    """The stretch of time ``[t - length, t)`` before an example at ``t``.

    Parameters
    ----------
    name : str
        As declared: a whole number and a unit, ``s``, ``m`` (minutes), ``h``, ``d`` (24 hours) or ``w``; or ``"all"``.

    Examples
    --------
    >>> Window("7d").seconds
    604800
    >>> Window.all().seconds is None
    True
    """

    name: str

    def __post_init__(self) -> None:
        if self.name != "all" and not _PATTERN.fullmatch(self.name):
            raise DeclarationError(
                f"window {self.name!r} is not a whole number with a unit s, m, h, d or w, such as '30m', '12h' or '7d', nor 'all'"
            )

    @classmethod
    def all(cls) -> Self:
        """Everything before the example."""
        return cls("all")

    @classmethod
    def of(cls, declared: str | Window) -> Window:
        """A window from its spelling; a window is returned as it is."""
        if isinstance(declared, Window):
            return declared
        if not isinstance(declared, str):
            raise DeclarationError(f"window {declared!r} must be a string such as '7d', or Window.all()")
        return Window(declared)

    @property
    def seconds(self) -> int | None:
        """Length in seconds; None for everything before."""
        match = _PATTERN.fullmatch(self.name)
        return int(match[1]) * _UNITS[match[2]] if match else None
