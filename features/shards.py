"""A table on disk in shards: rows with the same values of some columns are in the same shard, in the order in which they came."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa


class Shards:
    """Files of Arrow's stream format, written chunk by chunk and read shard by shard.

    Parameters
    ----------
    folder : Path
        Made here; must not be there.
    by : sequence of str
    number : int
        At most 65,536.
    """

    def __init__(self, folder: Path, by: Sequence[str], number: int) -> None:
        folder.mkdir()
        self._folder, self._by, self._number = folder, list(by), number
        self._empty: pl.DataFrame | None = None
        self._writers: dict[int, pa.RecordBatchStreamWriter] = {}
        self._open = ExitStack()

    def append(self, rows: pl.DataFrame) -> None:
        """Add rows, all chunks with the same columns."""
        if self._empty is None:
            self._empty = rows.clear()
        if not rows.height:
            return
        # Without a seed Polars 2 hashes alike within a process, whatever the frame.
        shard = (rows.select(self._by).hash_rows() % self._number).to_numpy().astype(np.uint16)
        order = np.argsort(shard, kind="stable")
        stops = np.cumsum(np.bincount(shard, minlength=self._number)).tolist()
        table = rows[pl.Series(order)].to_arrow(compat_level=pl.CompatLevel.oldest())
        for place, (start, stop) in enumerate(zip([0, *stops[:-1]], stops, strict=True)):
            if stop > start:
                if place not in self._writers:
                    sink = self._open.enter_context(pa.OSFile(str(self._path(place)), "wb"))
                    self._writers[place] = self._open.enter_context(pa.ipc.new_stream(sink, table.schema))
                self._writers[place].write_table(table.slice(start, stop - start))

    def read(self, shard: int) -> pl.DataFrame:
        """The rows of a shard; once all are added and ``close`` was called."""
        assert self._empty is not None
        if shard not in self._writers:
            return self._empty
        with pa.OSFile(str(self._path(shard))) as source, pa.ipc.open_stream(source) as stream:
            return pl.DataFrame(pl.from_arrow(stream.read_all())).rechunk()

    def remove(self, shard: int) -> None:
        """Give the disk back what a shard took."""
        self._path(shard).unlink(missing_ok=True)

    def close(self) -> None:
        """End writing, before any shard is read."""
        self._open.close()

    def _path(self, shard: int) -> Path:
        return self._folder / f"{shard}.arrows"
