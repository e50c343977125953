"""What turns texts into vectors, as a ``TextEncoder`` sees it; and the wrapper of any object with ``encode``."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch

from hybrid.errors import EncoderError

PROBES = ("red cotton shirt, size M", "无线蓝牙耳机 64GB")
"""Texts whose vectors stand for a model that has no files to hash."""

_PROBE_TOLERANCE = 2e-3  # float noise between machines, next to the 1e-4 that probes are rounded to


class TextModel(ABC):
    """A model of texts."""

    @property
    @abstractmethod
    def name(self) -> str:
        """For people and manifests."""

    @property
    @abstractmethod
    def prompts(self) -> Mapping[str, str]:
        """The prompts that the model declares, by role."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256, hexadecimal; models that give other vectors have another."""

    @property
    @abstractmethod
    def storable(self) -> bool:
        """Whether the fingerprint tells the model from others well enough to keep vectors under it."""

    @property
    def probes(self) -> np.ndarray | None:
        """Rounded vectors of the probe texts, float64, shape (2, dimension), where the fingerprint does not decide; else None."""
        return None

    def gives(self, probes: Any) -> bool:
        """Whether the model gives these vectors to the probe texts, but for float noise."""
        expected = np.asarray(probes, dtype=np.float64)
        found = self.probes
        return (
            found is not None and expected.shape == found.shape and np.allclose(expected, found, atol=_PROBE_TOLERANCE)
        )

    @abstractmethod
    def dtype(self, device: str) -> str:
        """The precision that the model computes in on ``device``."""

    @abstractmethod
    def dimension(self, device: str) -> int:
        """Numbers in a vector."""

    @abstractmethod
    def encode(self, texts: list[str], *, prompt: str, device: str, batch_size: int) -> np.ndarray:
        """Vectors of ``texts``, float32, in their order; neither truncated nor normalised."""


class ObjectModel(TextModel):
    """Any object with ``encode(list of str) -> array``, known by the vectors that it gives to two probe texts.

    Parameters
    ----------
    model : object
        Must not change once it is in use: its vectors are stored under what it was.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def name(self) -> str:
        return f"{type(self.model).__module__}.{type(self.model).__qualname__}"

    @property
    def prompts(self) -> Mapping[str, str]:
        return {}

    @cached_property
    def probes(self) -> np.ndarray:
        """The vectors of the probe texts, rounded to four decimals, float64, shape (2, dimension)."""
        return probe_vectors(self)

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps([self.name, self.probes.tolist()]).encode()).hexdigest()

    @property
    def storable(self) -> bool:
        # Probes that come out zero or alike (a vocabulary without these words) could be many a model's.
        return bool(self.probes.any(axis=1).all() and (self.probes[0] != self.probes[1]).any())

    def dtype(self, device: str) -> str:
        return "float32"

    def dimension(self, device: str) -> int:
        return int(self.probes.shape[1])

    def encode(self, texts: list[str], *, prompt: str, device: str, batch_size: int) -> np.ndarray:
        return checked(self.model.encode([prompt + text for text in texts]), texts, self.name)


def probe_vectors(model: TextModel) -> np.ndarray:
    """The vectors that a model gives to the probe texts, rounded to four decimals, float64, shape (2, dimension)."""
    vectors = model.encode(list(PROBES), prompt="", device="cpu", batch_size=len(PROBES))
    return vectors.astype(np.float64).round(4) + 0.0  # + 0.0 turns -0.0 into 0.0


def checked(vectors: Any, texts: list[str], name: str) -> np.ndarray:
    """The vectors that model ``name`` gave to ``texts``, as float32, or an ``EncoderError`` that says what is wrong."""
    if isinstance(vectors, torch.Tensor):
        vectors = vectors.detach().float().cpu().numpy()
    try:
        array = np.ascontiguousarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise EncoderError(f"the encoder {name} must give an array of numbers, not {type(vectors).__name__}") from error
    if array.ndim != 2 or len(array) != len(texts) or array.shape[1] == 0:
        raise EncoderError(
            f"the encoder {name} must give an array of shape ({len(texts)}, dimension) for {len(texts)} texts, "
            f"not {np.shape(vectors)}"
        )
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        raise EncoderError(
            f"the encoder {name} gives NaN or infinite vectors to {(~finite).sum()} of {len(texts)} texts, "
            f"the first is {texts[finite.argmin()][:80]!r}"
        )
    return array
