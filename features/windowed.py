"""What families have in common that look at kinds of event, at trailing windows, or at both."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from features.errors import DeclarationError
from features.family import Declared, Family
from features.window import Window


def checked_windows(windows: Sequence[str | Window]) -> tuple[Window, ...]:
    """One or more different windows, from their spellings."""
    spans = tuple(Window.of(window) for window in windows)
    if len(set(spans)) < len(spans) or not spans:
        raise DeclarationError(
            f"windows must be one or more different windows, not {[window.name for window in spans]!r}"
        )
    return spans


@dataclass(frozen=True, kw_only=True, eq=False)
class KindFamily(Family):
    """A family over kinds of event.

    Parameters
    ----------
    events : sequence of str, optional
        Kinds of event. Default: those of the ``BehaviorFeatures``.
    """

    events: Sequence[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.events is not None:
            if isinstance(self.events, str) or not self.events:
                raise DeclarationError(f"{self.name}: events must be a list of kinds, not {self.events!r}")
            self._set(events=tuple(self.events))

    def bound(self, declared: Declared) -> Self:
        for event in self.events or ():
            declared.require_event(event, self.name)
        filled = dataclasses.replace(self, events=declared.events if self.events is None else self.events)
        return super(KindFamily, filled).bound(declared)

    def kinds(self) -> tuple[str, ...]:
        """The kinds of event of a bound family."""
        return tuple(self.events or ())


@dataclass(frozen=True, kw_only=True, eq=False)
class SpanFamily(Family):
    """A family over trailing windows.

    Parameters
    ----------
    windows : sequence of str or Window, optional
        Default: those of the ``BehaviorFeatures``.
    """

    windows: Sequence[str | Window] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.windows is not None:
            self._set(windows=checked_windows(self.windows))

    def bound(self, declared: Declared) -> Self:
        filled = dataclasses.replace(self, windows=declared.windows if self.windows is None else self.windows)
        return super(SpanFamily, filled).bound(declared)

    def spans(self) -> tuple[Window, ...]:
        """The windows of a bound family."""
        return tuple(Window.of(window) for window in self.windows or ())


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowedFamily(KindFamily, SpanFamily):
    """A family over kinds of event in trailing windows."""

    def pairs(self) -> Iterator[tuple[str, Window]]:
        """Each kind of event with each window, of a bound family."""
        for event in self.kinds():
            for window in self.spans():
                yield event, window
