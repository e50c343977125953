"""Columns that are computed shard by shard, on disk, and read back in the order of the rows."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np


class RowOrder:
    """Values of a table's rows, each shard in a file of its own.

    Within a shard rows are in the table's order, so every chunk of the table is one stretch of each shard's columns.

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
        self.dtypes: list[np.dtype] = []  # of the columns, once a shard is kept

    def keep(self, shard: int, rows: np.ndarray, columns: Iterable[np.ndarray]) -> None:
        """Write a shard: its row numbers (Int64, ascending) and its columns, of the same number and dtypes in all shards."""
        dtypes = []
        with self._path(shard).open("wb", buffering=0) as file:
            for values in itertools.chain([rows], columns):
                dtypes.append(values.dtype)
                left = np.ascontiguousarray(values).data.cast("B")
                while left:  # a single call writes no more than 2 GiB
                    left = left[file.write(left) :]
        self.dtypes = dtypes[1:]
        self._cuts[shard] = np.searchsorted(rows, self._starts)

    def chunk(self, place: int) -> Iterator[np.ndarray]:
        """Each column over the rows of a chunk, in their order; once all shards are kept."""
        first, n = int(self._starts[place]), int(self._starts[place + 1] - self._starts[place])
        files = {shard: os.open(self._path(shard), os.O_RDONLY) for shard in self._cuts}
        try:

            def read(dtype: np.dtype, before: int) -> np.ndarray:
                """A column shard by shard; ``before`` is what each row takes in the file's earlier columns, in bytes."""
                values, done = np.empty(n, dtype=dtype), 0
                for shard, cuts in self._cuts.items():
                    start, stop = int(cuts[place]), int(cuts[place + 1])
                    if stop > start:
                        stretch = values[done : done + stop - start].data.cast("B")
                        _read(files[shard], stretch, before * int(cuts[-1]) + start * values.itemsize)
                        done += stop - start
                return values

            back = np.empty(n, dtype=np.int64)
            back[read(np.dtype(np.int64), 0) - first] = np.arange(n)
            before = back.itemsize
            for dtype in self.dtypes:
                yield read(dtype, before).take(back)
                before += dtype.itemsize
        finally:
            for file in files.values():
                os.close(file)

    def _path(self, shard: int) -> Path:
        return self._folder / f"{shard}.columns"


def _read(file: int, into: memoryview, offset: int) -> None:
    while into:
        got = os.preadv(file, [into], offset)
        if not got:
            raise OSError(f"a temporary file ends {len(into):,} bytes early")
        into, offset = into[got:], offset + got
