"""Parquet files that are one table: found, checked before any is read through, and read in parts."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import ColumnError, EmptyFrameError, FileError, TimestampError
from features.event_log import has_zone, key_values, microseconds
from features.frames import closest, require_finite

Files = str | Path | Sequence[str | Path]
"""Paths or glob patterns."""


@dataclass(frozen=True)
class ParquetFiles:
    """Files with the rows of one table, one after the other.

    Parameters
    ----------
    what : str
        What the table is to the caller ("events", "examples"), for error messages.
    paths : tuple of Path
    rows : tuple of int
        Rows of each file.
    schemas : tuple of polars.Schema
    """

    what: str
    paths: tuple[Path, ...]
    rows: tuple[int, ...]
    schemas: tuple[pl.Schema, ...]

    @classmethod
    def find(cls, files: Files, what: str) -> ParquetFiles:
        """The files of paths and patterns, those of a pattern sorted by name.

        Raises
        ------
        FileError, EmptyFrameError
        """
        patterns = [files] if isinstance(files, str | Path) else list(files)
        paths: list[Path] = []
        for pattern in patterns:
            # Path.glob takes no absolute patterns (Python 3.11), so the module's own is used.
            found = [str(pattern)] if Path(pattern).is_file() else sorted(glob.glob(str(pattern), recursive=True))  # noqa: PTH207
            if not found:
                raise FileError(f"no file of {what} matches {str(pattern)!r}")
            paths += [Path(path) for path in found]
        if not paths:
            raise FileError(f"no file of {what} is named")
        rows, schemas = [], []
        for path in paths:
            try:
                with pq.ParquetFile(path) as file:
                    rows.append(file.metadata.num_rows)
                schemas.append(pl.Schema(pl.read_parquet_schema(path)))
            except (pa.ArrowInvalid, pl.exceptions.PolarsError, OSError) as error:
                raise FileError(f"{path} is not a readable Parquet file: {error}") from None
        if not sum(rows):
            raise EmptyFrameError(f"{what} is empty: no row in {len(paths)} file(s), the first {paths[0]}")
        return cls(what, tuple(paths), tuple(rows), tuple(schemas))

    @property
    def height(self) -> int:
        """Rows of all files."""
        return sum(self.rows)

    def require(self, names: Iterable[str]) -> None:
        """Raise ColumnError for the first file that lacks one of the columns."""
        names = list(names)
        for path, schema in zip(self.paths, self.schemas, strict=True):
            for name in names:
                if name not in schema:
                    raise ColumnError(f"{path} has no column {name!r}{closest(name, schema)}")

    def key_dtypes(self, keys: Iterable[str]) -> dict[str, pl.DataType]:
        """The dtype that each key column is compared in; raise ColumnError where files differ in it."""
        return {name: self._key_dtype(name) for name in keys}

    def require_numeric(self, names: Sequence[str]) -> None:
        """Raise ColumnError for the first file where a column is not numeric."""
        for path, schema in zip(self.paths, self.schemas, strict=True):
            require_finite(pl.DataFrame(schema=schema), names, str(path))

    def zone(self, timestamp: str) -> bool:
        """Whether the timestamps have a time zone; raise TimestampError where files differ in that."""
        zones = []
        for path, schema in zip(self.paths, self.schemas, strict=True):
            column = pl.Series(timestamp, [], dtype=schema[timestamp])
            microseconds(column, str(path))
            zones.append(has_zone(column))
            if zones[-1] != zones[0]:
                words = ("have none", "have a time zone")
                raise TimestampError(
                    f"timestamps of {self.paths[0]} {words[zones[0]]} and those of {path} {words[zones[-1]]}; give both one or neither"
                )
        return zones[0]

    def require_same_columns(self) -> None:
        """Raise ColumnError for the first file whose columns or dtypes are not those of the first."""
        for path, schema in zip(self.paths, self.schemas, strict=True):
            if dict(schema) != dict(self.schemas[0]):
                raise ColumnError(f"{path} has the columns {dict(schema)} and {self.paths[0]} {dict(self.schemas[0])}")

    def parts(self, batch_rows: int, names: Sequence[str] | None = None) -> Iterator[tuple[Path, pl.DataFrame]]:
        """The rows in order, no more than ``batch_rows`` at once, each with the file that it is of."""
        for path in self.paths:
            for part in parts_of(path, batch_rows, names):
                yield path, pl.DataFrame(pl.from_arrow(part))

    def _key_dtype(self, name: str) -> pl.DataType:
        first: tuple[Path, pl.DataType] | None = None
        for path, schema in zip(self.paths, self.schemas, strict=True):
            try:
                dtype = key_values(pl.Series(name, [], dtype=schema[name]), self.what).dtype
            except ColumnError as error:
                raise ColumnError(f"{path}: {error}") from None
            if dtype == pl.Null:
                continue
            if first is None:
                first = path, dtype
            elif dtype != first[1]:
                raise ColumnError(
                    f"column {name!r} is {first[1]} in {first[0]} and {dtype} in {path}; cast one of them"
                )
        return pl.Null() if first is None else first[1]


def parts_of(path: Path, batch_rows: int, names: Sequence[str] | None) -> Iterator[pa.Table]:
    """The rows of a file in order, no more than ``batch_rows`` at once."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_rows, columns=None if names is None else list(names)):
            yield pa.Table.from_batches([batch])
