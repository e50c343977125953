"""What every family of behaviour features has: names known before any data, and one computation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from features.timeline import Standing


def key_name(key: Sequence[str]) -> str:
    """Name of a key in columns: its parts joined with ``_x_``."""
    return "_x_".join(key)


@dataclass(frozen=True)
class BehaviorColumn:
    """One behaviour feature: its name, the parts of its key, and the family that it belongs to."""

    name: str
    key: tuple[str, ...]
    family: str


class Family(ABC):
    """A declared set of features of one key."""

    name: ClassVar[str]

    @abstractmethod
    def columns(self, key: tuple[str, ...]) -> list[str]:
        """Names of the key's features, in the order of ``compute``."""

    @abstractmethod
    def compute(self, key: tuple[str, ...], standing: Standing) -> Iterator[np.ndarray]:
        """The features, each in the examples' order; NaN where a feature is null."""
