"""A sentence-transformers model in a folder, loaded at first need and once per process and device."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hybrid.errors import EncoderError
from hybrid.model_files import ModelFiles
from hybrid.text_model import PROBES, TextModel, checked

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class FolderModel(TextModel):
    """A sentence-transformers model in a folder.

    Parameters
    ----------
    files : ModelFiles
    """

    def __init__(self, files: ModelFiles) -> None:
        self.files = files

    @property
    def name(self) -> str:
        return self.files.name

    @cached_property
    def prompts(self) -> Mapping[str, str]:
        return self.files.prompts

    @cached_property
    def fingerprint(self) -> str:
        return self.files.fingerprint

    @property
    def storable(self) -> bool:
        return True

    def dtype(self, device: str) -> str:
        return "float16" if device.startswith("cuda") else "float32"

    def dimension(self, device: str) -> int:
        declared = _load(self, device).model.get_embedding_dimension()
        return declared or self.encode([PROBES[0]], prompt="", device=device, batch_size=1).shape[1]

    def encode(self, texts: list[str], *, prompt: str, device: str, batch_size: int) -> np.ndarray:
        loaded = _load(self, device)
        with loaded.lock:
            vectors = loaded.model.encode(
                texts, prompt=prompt, batch_size=batch_size, show_progress_bar=False, convert_to_tensor=True
            )
        return checked(vectors, texts, self.name)


@dataclass(frozen=True)
class _Loaded:
    model: SentenceTransformer
    lock: threading.Lock = field(default_factory=threading.Lock)  # a fast tokenizer refuses a second thread


_LOADED: dict[tuple[str, str, bool], _Loaded] = {}
_LOADING = threading.Lock()


def _load(model: FolderModel, device: str) -> _Loaded:
    if device == "cuda":
        device = f"cuda:{torch.cuda.current_device()}"
    with _LOADING:
        key = (model.fingerprint, device, model.files.code)
        if key not in _LOADED:
            loaded = load_folder(model.files, device)
            # Half precision is 100 times slower on a CPU.
            _LOADED[key] = _Loaded(loaded.half() if device.startswith("cuda") else loaded)
        return _LOADED[key]


def load_folder(files: ModelFiles, device: str, config: Mapping[str, Any] | None = None) -> SentenceTransformer:
    """A model of its own, in single precision, that no one else uses.

    Parameters
    ----------
    files : ModelFiles
    device : str
    config : mapping, optional
        Values in place of those in the folder; a name that the model's configuration lacks says nothing.

    Raises
    ------
    EncoderError
        The folder is broken, or brings code that nobody trusts.
    """
    from sentence_transformers import SentenceTransformer  # here: 5 s that reading stored vectors does not need

    try:
        with quiet_transformers():
            model = SentenceTransformer(
                str(files.folder),
                device=device,
                local_files_only=True,
                trust_remote_code=files.code,
                config_kwargs=dict(config or {}),
            )
    except Exception as error:  # whatever three libraries raise over the contents of a folder
        if "trust_remote_code" in str(error):
            raise EncoderError(
                f"the model {files.name!r} brings code of its own, which is not run unless you say so: read it, then give "
                f"TextEncoder({files.name!r}, trust_remote_code=True), to an artifact that is loaded too. ({error})"
            ) from error
        raise EncoderError(f"{files.folder} cannot be loaded as a sentence-transformers model: {error}") from error
    return model.float().eval()  # transformers 5 keeps the precision of the checkpoint


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No bars for the shards of weights, and no remarks that a user cannot act on."""
    from transformers.utils import logging  # here: as above

    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
