"""A sentence-transformers model that another backend than torch computes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hybrid.backends.agreement import PROBES, Agreement
from hybrid.backends.base import Backend, OpenExport
from hybrid.backends.export_cache import ExportKey, kept_export
from hybrid.errors import EncoderError
from hybrid.folder_model import load_folder
from hybrid.model_files import ModelFiles
from hybrid.text_model import TextModel, checked, probe_vectors

_PROBE_BATCH = 7  # the last batch of the probes then holds a single text

_OPENED: dict[str, OpenExport] = {}
_OPENING = threading.Lock()
_ENCODING = threading.Lock()  # a fast tokenizer refuses a second thread


class ExportedModel(TextModel):
    """A model in a folder, exported for a backend at first need and opened once in a process.

    Parameters
    ----------
    files : ModelFiles
    backend : Backend
    """

    def __init__(self, files: ModelFiles, backend: Backend) -> None:
        self.files = files
        self.backend = backend

    @property
    def name(self) -> str:
        return self.files.name

    @cached_property
    def prompts(self) -> Mapping[str, str]:
        return self.files.prompts if self.backend.keeps_prompts else {}

    @cached_property
    def fingerprint(self) -> str:
        parts = [self.files.fingerprint, self.backend.name, self.backend.recipe]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @cached_property
    def probes(self) -> np.ndarray | None:
        # A space of its own is found anew on each machine: the fingerprint cannot vouch for its numbers.
        return None if self.backend.keeps_space else probe_vectors(self)

    @property
    def storable(self) -> bool:
        return True

    def dtype(self, device: str) -> str:
        return self.backend.dtype

    def dimension(self, device: str) -> int:
        if self.backend.keeps_space and (declared := load_folder(self.files, "cpu").get_embedding_dimension()):
            return declared  # sooner than an export
        return self.encode([PROBES[0]], prompt="", device=device, batch_size=1).shape[1]

    def encode(self, texts: list[str], *, prompt: str, device: str, batch_size: int) -> np.ndarray:
        encode = self._open()
        with _ENCODING:
            vectors = encode(texts, prompt=prompt, batch_size=batch_size)
        return checked(vectors, texts, f"{self.name} ({self.backend.name})")

    def _open(self) -> OpenExport:
        with _OPENING:
            if self.fingerprint not in _OPENED:
                key = ExportKey(self.backend.name, self.fingerprint, self.backend.versions)
                _OPENED[self.fingerprint] = self.backend.open(self.files, kept_export(key, self._export))
            return _OPENED[self.fingerprint]

    def _export(self, folder: Path) -> dict[str, Any]:
        """Export into ``folder`` and compare with torch."""
        model = load_folder(self.files, "cpu")
        expected = model.encode(list(PROBES), prompt="", batch_size=_PROBE_BATCH, show_progress_bar=False)
        try:
            self.backend.export(model, self.name, folder)
        except EncoderError:
            raise
        except Exception as error:  # whatever an exporter raises over a model that it does not know
            raise EncoderError(
                f"{self.name} cannot be exported for backend={self.backend.name!r} "
                f"({type(error).__name__}: {str(error)[:300]}): use backend='torch'"
            ) from error
        del model
        found = self.backend.open(self.files, folder)(list(PROBES), prompt="", batch_size=_PROBE_BATCH)
        agreement = Agreement.of(np.asarray(expected), found, same_space=self.backend.keeps_space)
        refusal = self.backend.refusal(agreement)
        if refusal is not None:
            raise EncoderError(f"backend={self.backend.name!r} cannot be used for {self.name}: {refusal}")
        return {"model": self.name, "probes": len(PROBES), **dataclasses.asdict(agreement)}
