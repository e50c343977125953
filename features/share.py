"""A key's share of the events of a larger key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from features.errors import DeclarationError
from features.family import Declared, Key, as_key, key_name
from features.history import Batch
from features.windowed import WindowedFamily

ALL = "all"


@dataclass(frozen=True, kw_only=True, eq=False)
class Share(WindowedFamily):
    """``{key}__{event}_share_of_{of}__{window}``: the key's events of a kind over those of a larger key in the window, Float64.

    0 where the larger key has such events and the key has none, null where the larger key has none.

    Parameters
    ----------
    of : str or sequence of str, optional
        The larger key: some of the key's parts (``"user"`` for the share of an item among a user's events), or ``"all"`` for all events
        of the log, those with null keys too. Default: each part alone for a key of several parts, ``"all"`` for a key of one.
    """

    name: ClassVar[str] = "share"

    of: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.of is not None and self.of != ALL:
            self._set(of=as_key(self.of))

    def describes(self, key: Key) -> bool:
        return self.of is None or self.of == ALL or set(self.of) < set(key)

    def bound(self, declared: Declared) -> Self:
        if self.keys is None and not any(map(self.describes, declared.keys)):
            raise DeclarationError(f"share: no key has the parts of={self.of!r} and others; declare one in keys")
        bound = super().bound(declared)
        for key in map(as_key, bound.keys or ()):
            if not self.describes(key):
                raise DeclarationError(
                    f"share: of={self.of!r} must be some but not all of the parts of the key {key_name(key)!r}, or 'all'"
                )
        return bound

    def reads(self, key: Key) -> tuple[Key, ...] | None:
        wholes = self._wholes(key)
        return None if () in wholes else (key, *wholes)

    def columns(self, key: Key) -> list[str]:
        return [
            f"{key_name(key)}__{event}_share_of_{key_name(whole) or ALL}__{window.name}"
            for whole in self._wholes(key)
            for event, window in self.pairs()
        ]

    def compute(self, key: Key, batch: Batch) -> Iterator[np.ndarray]:
        standing = batch.standing(key)
        for whole in self._wholes(key):
            larger = batch.standing(whole)
            for event, window in self.pairs():
                counted = standing.give(standing.count(event, window))
                among = larger.give(larger.count(event, window))
                yield np.divide(counted, among, out=np.full(len(among), np.nan), where=among > 0)

    def _wholes(self, key: Key) -> list[Key]:
        """The larger keys; ``()`` is all events."""
        if self.of is None:
            return [()] if len(key) == 1 else [(part,) for part in key]
        return [() if self.of == ALL else as_key(self.of)]
