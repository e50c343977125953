"""Embeddings on disk, found by what they are: the model, prompt, dimension, dtype and text that they were made from."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import uuid
import warnings
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hybrid.errors import ParameterError, StoreError
from hybrid.segment import DIGEST, Segment, SegmentError, merge, write

_SUFFIX = ".seg"
_MERGE_COUNT = 8  # segments of one size class (a factor of 8 in bytes) that are merged into one
_MERGE_BELOW = 64 * 2**20  # bytes; a larger segment stays as it is
_STALE_SECONDS = 3600.0  # a temporary file this old was left behind by a killed process


@dataclass(frozen=True)
class StoreKey:
    """What, besides its text, a vector was made from.

    Parameters
    ----------
    fingerprint : str
        Of the model.
    prompt : str
        Prepended to every text; "" for none.
    dim : int or None
        The dimension that vectors were truncated to; None for the model's own.
    dtype : str
        The precision that the model computed in ("float32", "float16"); vectors are stored in float32.
    """

    fingerprint: str
    prompt: str = ""
    dim: int | None = None
    dtype: str = "float32"

    @cached_property
    def digest(self) -> bytes:
        """32 bytes that stand for the key."""
        parts = json.dumps([self.fingerprint, self.prompt, self.dim, self.dtype])
        return hashlib.blake2b(parts.encode(), digest_size=32).digest()

    def text_digests(self, texts: Sequence[str]) -> np.ndarray:
        """BLAKE2b-128 of each text, keyed, so that a digest of one key never stands for a vector of another."""
        keyed = hashlib.blake2b(digest_size=DIGEST.itemsize, key=self.digest)

        def digest(text: str) -> bytes:
            text_hash = keyed.copy()
            text_hash.update(text.encode())
            return text_hash.digest()

        return np.frombuffer(b"".join(map(digest, texts)), dtype=DIGEST)


def cache_folder(name: str) -> Path:
    """``$INTENTREE_CACHE/name``, else ``$XDG_CACHE_HOME/intentree/name``, else below ``~/.cache``."""
    if cache := os.environ.get("INTENTREE_CACHE"):
        return Path(cache).expanduser() / name
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "intentree" / name


def default_folder() -> Path:
    """Where the store lies unless told otherwise: ``embeddings`` in the user's cache."""
    return cache_folder("embeddings")


class EmbeddingStore:
    """A folder of embeddings that several processes read and write at once.

    Vectors lie in immutable, memory-mapped files (segments). A file appears whole or not at all, so a killed process
    leaves nothing half-written, and no lock is needed: what is written twice is the same. Small files are merged as
    they gather; the oldest are removed when the folder outgrows ``max_bytes``. Damaged and foreign segment files are
    removed when they are met; other files in the folder are left alone.

    Parameters
    ----------
    folder : path, optional
        Created if need be. Default: see ``default_folder``.
    max_bytes : int, default 10 GiB
        Size limit of the folder, over all models.

    Raises
    ------
    StoreError
        The folder cannot be written. A disk that fills up later is warned of once, and no more is stored.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = EmbeddingStore(folder)
    ...     key = StoreKey(fingerprint="my-model")
    ...     store.put(key, ["red shoe"], np.ones((1, 2), dtype=np.float32))
    ...     store.get(key, ["red shoe", "blue shoe"])
    (array([[1., 1.],
           [0., 0.]], dtype=float32), array([ True, False]))
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, *, max_bytes: int = 10 * 2**30) -> None:
        if not isinstance(max_bytes, int) or max_bytes < 0:
            raise ParameterError(f"max_bytes must be a number of bytes, not {max_bytes!r}")
        self.folder = default_folder() if folder is None else Path(folder).expanduser()
        self.max_bytes = max_bytes
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f"{uuid.uuid4().hex}.tmp"
            probe.touch(exist_ok=False)
            probe.unlink()
        except OSError as error:
            raise StoreError(
                f"the embedding store cannot write to {self.folder} ({error.strerror}): set INTENTREE_CACHE to a folder "
                "that can be written, name another folder with store=..., or go without a store with store=None"
            ) from error
        self._remove_stale()
        self._forget()

    def __repr__(self) -> str:
        return f"EmbeddingStore({str(self.folder)!r}, max_bytes={self.max_bytes})"

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "max_bytes": self.max_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def _forget(self) -> None:
        self._open: dict[Path, Segment] = {}
        self._lock = threading.Lock()
        self._stopped = False

    @property
    def nbytes(self) -> int:
        """Bytes of all segments in the folder now."""
        return sum(size for _, size in self._sizes())

    def get(self, key: StoreKey, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Look texts up.

        Parameters
        ----------
        key : StoreKey
        texts : sequence of str

        Returns
        -------
        vectors : numpy.ndarray of float32, shape (n_texts, width)
            In the order of ``texts``; zeros where a text is not found. Width is 0 when nothing is stored under ``key``.
        found : numpy.ndarray of bool, shape (n_texts,)
        """
        segments = self._segments(key)
        width = segments[0].width if segments else 0
        vectors = np.zeros((len(texts), width), dtype=np.float32)
        found = np.zeros(len(texts), dtype=bool)
        if not len(texts) or not segments:
            return vectors, found
        digests = key.text_digests(texts)
        pending = np.argsort(digests, kind="stable")
        for segment in segments:
            if segment.width != width or not len(pending):
                continue
            here, rows = segment.find(digests[pending])
            try:
                vectors[pending[here]] = segment.read(rows)
            except SegmentError:
                self._remove(segment.path)
                continue
            found[pending[here]] = True
            pending = pending[~here]
        return vectors, found

    def put(self, key: StoreKey, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Store the vectors of texts, in one file and one step.

        Parameters
        ----------
        key : StoreKey
        texts : sequence of str
        vectors : numpy.ndarray of float32, shape (n_texts, width)
        """
        if len(vectors) != len(texts) or vectors.ndim != 2:
            raise ParameterError(f"vectors of shape {vectors.shape} do not fit {len(texts)} texts")
        if self._stopped or not len(texts):
            return
        space = self._space(key)
        try:
            space.mkdir(parents=True, exist_ok=True)
            write(space / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}{_SUFFIX}", key.text_digests(texts), vectors)
            while self._merge_small(key):
                pass
            self._evict()
        except OSError as error:
            self._stopped = True
            warnings.warn(
                f"the embedding store cannot write to {self.folder} ({error.strerror}): embeddings computed from here "
                "on are not kept. Free some space or name another folder with INTENTREE_CACHE",
                RuntimeWarning,
                stacklevel=2,
            )

    def _space(self, key: StoreKey) -> Path:
        return self.folder / key.digest.hex()[:32]

    def _segments(self, key: StoreKey) -> list[Segment]:
        """The segments under ``key``, newest first."""
        with self._lock:
            space = self._space(key)
            for _ in range(5):  # a listed segment may be merged or evicted by another process before it is opened
                paths = sorted(space.glob(f"*{_SUFFIX}"), reverse=True)
                for path in [path for path in self._open if path.parent == space and path not in paths]:
                    del self._open[path]
                vanished = False
                for path in paths:
                    if path in self._open:
                        continue
                    try:
                        self._open[path] = Segment.open(path)
                    except FileNotFoundError:
                        vanished = True
                    except SegmentError:
                        self._remove(path)
                    except OSError:
                        continue  # not ours to read
                if not vanished:
                    break
            return [self._open[path] for path in paths if path in self._open]

    def _merge_small(self, key: StoreKey) -> bool:
        """Merge segments of one width and size class, where enough of them have gathered."""
        classes: defaultdict[tuple[int, int], list[Segment]] = defaultdict(list)
        for segment in self._segments(key):
            if segment.vectors.nbytes < min(_MERGE_BELOW, self.max_bytes // (2 * _MERGE_COUNT)):
                classes[segment.width, segment.vectors.nbytes.bit_length() // 3].append(segment)
        group = next((group for group in classes.values() if len(group) >= _MERGE_COUNT), None)
        if group is None:
            return False
        # As old as its newest part. Processes that merge the same segments at once write the same file.
        names = hashlib.blake2b("".join(segment.path.name for segment in group).encode(), digest_size=4).hexdigest()
        merge(group[0].path.with_name(f"{group[0].path.name.split('-')[0]}-{names}{_SUFFIX}"), group)
        for segment in group:
            self._remove(segment.path)
        return True

    def _evict(self) -> None:
        """Remove the oldest segments, of whatever key, until the folder is within its limit."""
        sizes = self._sizes()
        excess = sum(size for _, size in sizes) - self.max_bytes
        for path, size in sorted(sizes, key=lambda item: item[0].name):
            if excess <= 0:
                break
            self._remove(path)
            excess -= size

    def _remove_stale(self) -> None:
        before = time.time() - _STALE_SECONDS
        for path in [*self.folder.glob("*.tmp"), *self.folder.glob("*/*.tmp")]:
            with suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()

    def _sizes(self) -> list[tuple[Path, int]]:
        sizes = []
        for path in self.folder.glob(f"*/*{_SUFFIX}"):
            with suppress(FileNotFoundError):
                sizes.append((path, path.stat().st_size))
        return sizes

    @staticmethod
    def _remove(path: Path) -> None:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def default_store() -> EmbeddingStore:
    """The store in ``default_folder()``, one for the process."""
    return _store_in(default_folder())


@lru_cache
def _store_in(folder: Path) -> EmbeddingStore:
    return EmbeddingStore(folder)
