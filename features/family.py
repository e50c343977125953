"""What every family of behaviour features has: a declaration, names known before any data, and one computation."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import polars as pl

from features.errors import DeclarationError
from features.event_log import EventLog
from features.frames import closest
from features.window import Window

if TYPE_CHECKING:
    from features.history import Batch, History

Key = tuple[str, ...]


def key_name(key: Sequence[str]) -> str:
    """Name of a key in columns: its parts joined with ``_x_``."""
    return "_x_".join(key)


def as_key(declared: str | Sequence[str]) -> Key:
    """A key from its spelling, a part or a sequence of parts."""
    key = (declared,) if isinstance(declared, str) else tuple(declared)
    if not key or len(set(key)) < len(key) or not all(isinstance(part, str) for part in key):
        raise DeclarationError(f"key {declared!r} must name one or more different parts")
    return key


@dataclass(frozen=True)
class BehaviorColumn:
    """One behaviour feature: its name, the parts of its key, and the family that it belongs to."""

    name: str
    key: Key
    family: str


@dataclass(frozen=True)
class Declared:
    """What a family may take over from the ``BehaviorFeatures`` that it is declared in."""

    log: EventLog
    keys: tuple[Key, ...]
    windows: tuple[Window, ...]
    events: tuple[str, ...]
    rates: Mapping[str, tuple[str, str]]

    def checked_rates(self, rates: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, str]]:
        """Rates as pairs of declared events; raise DeclarationError for others."""
        checked = {}
        for rate, pair in rates.items():
            if isinstance(pair, str) or len(pair) != 2:
                raise DeclarationError(f"rate {rate!r} must be (success event, trial event), not {pair!r}")
            for event in pair:
                self.require_event(event, f"rate {rate!r}")
            checked[rate] = (pair[0], pair[1])
        return checked

    def require_event(self, event: str, what: str) -> None:
        """Raise DeclarationError unless the event is one of those that are counted."""
        if event not in self.events:
            raise DeclarationError(f"{what} uses event {event!r}, which is not declared{closest(event, self.events)}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Family(ABC):
    """A declared set of features of each of some keys.

    A declaration is immutable. ``bound`` fills in what it leaves open, ``fitted`` adds what is learned from the log; both return
    another declaration, and every field of it is what JSON can hold or is made from that by ``__post_init__``.

    Parameters
    ----------
    keys : sequence of str or tuple of str, optional
        Whose features. Default: every key of the ``BehaviorFeatures`` that the family can describe.
    """

    name: ClassVar[str]

    keys: Sequence[str | Sequence[str]] | None = None

    def __post_init__(self) -> None:
        if self.keys is not None:
            if isinstance(self.keys, str) or not self.keys:
                raise DeclarationError(f"{self.name}: keys must be a list with at least one key, not {self.keys!r}")
            self._set(keys=tuple(as_key(key) for key in self.keys))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # immutable, and its vectors may be large

    def _set(self, **values: Any) -> None:
        """Normalise fields of a frozen declaration, in ``__post_init__``."""
        for field, value in values.items():
            object.__setattr__(self, field, value)

    def over(self, names: EventLog) -> Self:
        """This family with its open options taken from the roles that a log has; comes before ``log_parts`` is asked."""
        return self

    def bound(self, declared: Declared) -> Self:
        """This family with its open options taken from the whole declaration."""
        return self if self.keys is not None else self._with_keys(declared)

    def _with_keys(self, declared: Declared) -> Self:
        keys = tuple(key for key in declared.keys if self.describes(key))
        if not keys:
            names = ", ".join(map(key_name, declared.keys))
            raise DeclarationError(
                f"the family {self.name!r} can describe none of the keys {names}; give it keys=[...]"
            )
        return dataclasses.replace(self, keys=keys)

    def describes(self, key: Key) -> bool:
        """Whether the family has features of this key."""
        return True

    def log_parts(self) -> tuple[str, ...]:
        """Roles or columns that the log must have, beside the keys."""
        return ()

    def value_columns(self) -> tuple[str, ...]:
        """Numeric columns that the log must have, beside ``EventLog.values``; nulls stay null."""
        return ()

    def example_parts(self) -> tuple[str, ...]:
        """Roles or columns that the examples must have, beside the keys."""
        return ()

    def check_log(self, log: pl.DataFrame) -> None:
        """Raise ColumnError for values that the family cannot use, of a log that ``EventLog.read`` returned."""
        return

    def reads(self, key: Key) -> tuple[Key, ...] | None:
        """The keys whose own histories hold all that the features need; None where they need the whole log."""
        return (key,)

    def fitted(self, history: History) -> Self:
        """This family with what it learns from the log."""
        totals: dict[str, np.ndarray] = {}
        for key in map(as_key, self.keys or ()):
            totals.update(self.totals(key, history))
        return self.fitted_to(totals)

    def totals(self, key: Key, history: History) -> dict[str, np.ndarray]:
        """What there is to learn from a key's events, by names of its own: arrays with a row a value of the key, in any order.

        A log that is read in parts, none of which shares a value of the key with another, gives them in parts.
        """
        return {}

    def fitted_to(self, totals: Mapping[str, np.ndarray]) -> Self:
        """This family with what it learns from the totals of its keys."""
        return self

    @abstractmethod
    def columns(self, key: Key) -> list[str]:
        """Names of the key's features, in the order of ``compute``."""

    @abstractmethod
    def compute(self, key: Key, batch: Batch) -> Iterator[np.ndarray]:
        """The features, each in the examples' order; NaN where a feature is null."""

    def options(self) -> dict[str, Any]:
        """The declaration as JSON can hold it; ``declare`` reads it."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}


def declare(families: Mapping[str, type[Family]], options: Mapping[str, Any]) -> Family:
    """A family from a table of its options and, under ``"family"``, its name, as in the TOML file.

    Raises
    ------
    DeclarationError
        For an unknown family or option, naming the closest.
    """
    given = dict(options)
    name = given.pop("family", None)
    if name not in families:
        hint = closest(name, families) if isinstance(name, str) else f"; there are: {', '.join(families)}"
        raise DeclarationError(f"there is no family of behaviour features {name!r}{hint}")
    kind = families[name]
    known = [field.name for field in dataclasses.fields(kind)]
    for option in given:
        if option not in known:
            raise DeclarationError(f"the family {name!r} has no option {option!r}{closest(option, known)}")
    try:
        return kind(**given)
    except TypeError as error:
        raise DeclarationError(f"the family {name!r}: {error}") from None


def _plain(value: Any) -> Any:
    """A field as JSON can hold it."""
    if isinstance(value, Window):
        return value.name
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
