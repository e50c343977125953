"""One immutable file of an embedding store: sorted digests of texts, and their vectors, memory-mapped."""

from __future__ import annotations

import os
import struct
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DIGEST = np.dtype("S16")
_MAGIC = b"intentree.seg.1\n"
_HEADER = struct.Struct("<16sQQ")  # magic, rows, width
_ALIGN = 64
_COPY_ROWS = 4096


class SegmentError(Exception):
    """A file that is no segment, or no whole one."""


@dataclass(frozen=True, eq=False)
class Segment:
    """An open segment.

    Parameters
    ----------
    path : pathlib.Path
    digests : numpy.ndarray of S16, shape (n_rows,)
        Sorted, each once.
    checks : numpy.ndarray of uint32, shape (n_rows,)
        A sum over each vector's bits: a damaged vector is told from a sound one when it is read.
    vectors : numpy.ndarray of float32, shape (n_rows, width)
    """

    path: Path
    digests: np.ndarray
    checks: np.ndarray
    vectors: np.ndarray

    @classmethod
    def open(cls, path: Path) -> Segment:
        """Map the file at ``path``; ``SegmentError`` where it is foreign or cut short."""
        size = path.stat().st_size
        if size < _HEADER.size:
            raise SegmentError(f"{path} is too short")
        try:
            raw = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
        except ValueError as error:
            raise SegmentError(f"{path} was cut short while it was opened") from error
        magic, rows, width = _HEADER.unpack(raw[: _HEADER.size].tobytes())
        if magic != _MAGIC or not rows or not width or size != _size(rows, width):
            raise SegmentError(f"{path} is foreign or cut short")
        checks_at, vectors_at = _offsets(rows)
        return cls(
            path=path,
            digests=raw[_ALIGN:checks_at].view(DIGEST),
            checks=raw[checks_at : checks_at + 4 * rows].view("<u4"),
            vectors=raw[vectors_at:].view("<f4").reshape(rows, width),
        )

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return int(self.vectors.shape[1])

    def find(self, digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of ``digests`` are here (bool), and the rows of those that are (int64)."""
        rows = np.minimum(np.searchsorted(self.digests, digests), len(self.digests) - 1)
        here = self.digests[rows] == digests
        return here, rows[here]

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Copy the vectors at ``rows``; ``SegmentError`` where one is damaged."""
        vectors = self.vectors[rows]
        if not np.array_equal(_checks(vectors), self.checks[rows]):
            raise SegmentError(f"{self.path} holds damaged vectors")
        return vectors


def write(path: Path, digests: np.ndarray, vectors: np.ndarray) -> None:
    """Write a segment in one step: under ``path`` there is all of it or nothing.

    Parameters
    ----------
    path : pathlib.Path
    digests : numpy.ndarray of S16, shape (n,)
        In any order; of a repeated digest the first row counts.
    vectors : numpy.ndarray of float32, shape (n, width)
    """
    digests, rows = np.unique(digests, return_index=True)
    vectors = np.ascontiguousarray(vectors[rows], dtype="<f4")
    _write(path, digests, _checks(vectors), [vectors], vectors.shape[1])


def merge(path: Path, segments: Sequence[Segment]) -> None:
    """Write the rows of ``segments``, which have one width, as one segment at ``path``, a few thousand rows at a time."""
    source = np.repeat(np.arange(len(segments)), [len(segment.digests) for segment in segments])
    row = np.concatenate([np.arange(len(segment.digests)) for segment in segments])
    checks = np.concatenate([segment.checks for segment in segments])
    digests, keep = np.unique(np.concatenate([segment.digests for segment in segments]), return_index=True)

    def chunks() -> Iterator[np.ndarray]:
        for start in range(0, len(keep), _COPY_ROWS):
            part = keep[start : start + _COPY_ROWS]
            chunk = np.empty((len(part), segments[0].width), dtype="<f4")
            for number in np.unique(source[part]):
                mine = source[part] == number
                chunk[mine] = segments[number].vectors[row[part[mine]]]
            yield chunk

    _write(path, digests, checks[keep], chunks(), segments[0].width)


def _write(path: Path, digests: np.ndarray, checks: np.ndarray, vectors: Iterable[np.ndarray], width: int) -> None:
    temporary = path.with_name(f"{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(_HEADER.pack(_MAGIC, len(digests), width).ljust(_ALIGN, b"\0"))
            file.write(digests.tobytes())
            file.write(checks.astype("<u4").tobytes())
            file.write(b"\0" * (_offsets(len(digests))[1] - file.tell()))
            for chunk in vectors:
                file.write(chunk.data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _offsets(rows: int) -> tuple[int, int]:
    """Where the checks and the vectors begin."""
    checks_at = _ALIGN + DIGEST.itemsize * rows
    return checks_at, -(-(checks_at + 4 * rows) // _ALIGN) * _ALIGN


def _size(rows: int, width: int) -> int:
    return _offsets(rows)[1] + 4 * rows * width


def _checks(vectors: np.ndarray) -> np.ndarray:
    return vectors.view("<u4").sum(axis=1, dtype=np.uint32)
