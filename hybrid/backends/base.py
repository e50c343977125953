"""What a backend is: how a model is exported for it, how an export is opened, and how near to torch it must be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from hybrid.backends.agreement import Agreement
from hybrid.errors import EncoderError
from hybrid.model_files import ModelFiles

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class OpenExport(Protocol):
    """An export that is ready to encode."""

    def __call__(self, texts: list[str], *, prompt: str, batch_size: int) -> np.ndarray:
        """Vectors of ``texts`` in their order, float32."""


class Backend(ABC):
    """One way to compute a model's vectors on the CPU."""

    name: ClassVar[str]
    extra: ClassVar[str]
    """The extra of Intentree that installs what it needs."""
    packages: ClassVar[tuple[str, ...]]
    """Distributions that it needs; a change of their versions calls for a new export."""
    dtype: ClassVar[str]
    keeps_space: ClassVar[bool] = True
    """Whether its vectors lie in the space of the model's own, so that a cosine of the two means something."""
    keeps_prompts: ClassVar[bool] = True
    """Whether prompts that the model declares are of use to it."""

    @property
    @abstractmethod
    def recipe(self) -> list[str | int | float]:
        """What decides the numbers besides the model: part of the fingerprint, so that other numbers have another."""

    @abstractmethod
    def export(self, model: SentenceTransformer, name: str, folder: Path) -> None:
        """Write what ``open`` needs into ``folder``; ``model`` is this call's to change."""

    @abstractmethod
    def open(self, files: ModelFiles, folder: Path) -> OpenExport:
        """Ready an export of the model in ``files``."""

    @abstractmethod
    def refusal(self, agreement: Agreement) -> str | None:
        """Why an export that agrees with torch this well cannot be used, and what to do; None if it can."""

    @property
    def versions(self) -> dict[str, str]:
        """The installed versions of ``packages``."""
        return {package: version(package) for package in self.packages}

    def require_installed(self) -> None:
        """``EncoderError`` with what to install if a package is missing."""
        missing = [package for package in self.packages if find_spec(package) is None]
        if missing:
            raise EncoderError(
                f"backend={self.name!r} needs {' and '.join(missing)}, not installed here: "
                f"`pip install intentree[{self.extra}]`, or use backend='torch'"
            )
