"""Columns that are computed shard by shard, on disk, and read back in the order of the rows."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

_CODEC = "lz4_raw"  # counts and missing values shrink to little, and the disk is what a large table waits for


class RowOrder:
    """Values of a table's rows, each shard in a file of its own.

    Within a shard rows are in the table's order, so every chunk of the table is one stretch of each shard's columns; it is compressed by
    itself.

    Parameters
    ----------
    folder : Path
        Made here; must not be there.
    starts : numpy.ndarray of Int64, shape (n_chunks + 1,)
        First row of each chunk of the table that will be read back, and the number of rows.
    """

    def __init__(self, folder: Path, starts: np.ndarray) -> None:
        folder.mkdir()
        self._folder, self._starts = folder, starts
        self._cuts: dict[int, np.ndarray] = {}  # where each shard's stretch of a chunk starts
        self._offsets: dict[int, np.ndarray] = {}  # where its file has each column's, (n_columns, n_chunks + 1)
        self.dtypes: list[np.dtype] = []  # of the columns, once a shard is kept

    def keep(self, shard: int, rows: np.ndarray, columns: Iterable[np.ndarray]) -> None:
        """Write a shard: its row numbers (Int64, ascending) and its columns, of the same number and dtypes in all shards."""
        cuts = np.searchsorted(rows, self._starts)
        codec, dtypes, offsets, at = pa.Codec(_CODEC), [], [], 0
        with self._path(shard).open("wb") as file:
            for values in itertools.chain([rows], columns):
                dtypes.append(values.dtype)
                offsets.append([at])
                whole = np.ascontiguousarray(values)
                for start, stop in itertools.pairwise(cuts.tolist()):
                    if stop > start:
                        at += file.write(codec.compress(whole[start:stop]))
                    offsets[-1].append(at)
        self.dtypes = dtypes[1:]
        self._cuts[shard], self._offsets[shard] = cuts, np.array(offsets)

    def chunk(self, place: int) -> Iterator[np.ndarray]:
        """Each column over the rows of a chunk, in their order; once all shards are kept."""
        first, n = int(self._starts[place]), int(self._starts[place + 1] - self._starts[place])
        files = {shard: os.open(self._path(shard), os.O_RDONLY) for shard in self._cuts}
        codec = pa.Codec(_CODEC)
        try:

            def read(column: int, dtype: np.dtype) -> np.ndarray:
                """A column, shard by shard; the first is the row numbers."""
                values, done = np.empty(n, dtype=dtype), 0
                for shard, cuts in self._cuts.items():
                    rows = int(cuts[place + 1] - cuts[place])
                    if rows:
                        start, stop = self._offsets[shard][column, place : place + 2].tolist()
                        packed = os.pread(files[shard], stop - start, start)
                        stretch = codec.decompress(packed, rows * dtype.itemsize)
                        values[done : done + rows] = np.frombuffer(stretch, dtype)
                        done += rows
                return values

            back = np.empty(n, dtype=np.int64)
            back[read(0, back.dtype) - first] = np.arange(n)
            for column, dtype in enumerate(self.dtypes, start=1):
                yield read(column, dtype).take(back)
        finally:
            for file in files.values():
                os.close(file)

    def _path(self, shard: int) -> Path:
        return self._folder / f"{shard}.columns"
