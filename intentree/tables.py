"""Tables of events and examples, read from Parquet, CSV or NDJSON files."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import polars as pl

from features.frames import closest
from intentree.errors import TableError

_READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".parquet": partial(pl.read_parquet, glob=False, hive_partitioning=False),
    ".csv": partial(pl.read_csv, glob=False, try_parse_dates=True, infer_schema_length=None),
    ".ndjson": partial(pl.read_ndjson, infer_schema_length=None),
    ".jsonl": partial(pl.read_ndjson, infer_schema_length=None),
}
_TWICE = re.compile(r"(.+)_duplicated_\d+")  # how Polars 2 renames a column of a CSV file that is there twice


def read_table(patterns: Sequence[Path], time: str | None = None) -> pl.DataFrame:
    """Read files into one frame, in the order of the patterns and, within a pattern, of the names.

    Parameters
    ----------
    patterns : sequence of Path
        Files or glob patterns. The ending says what a file is: .parquet, .csv, .ndjson or .jsonl.
    time : str, optional
        A column to read as date and time where the files hold it as text.

    Raises
    ------
    TableError
        No file matches, a file cannot be read, has no rows, or does not fit the others.
    """
    files = [file for pattern in patterns for file in _matching(pattern)]
    frames = [_read(file) for file in files]
    first = frames[0]
    for file, frame in zip(files, frames, strict=True):
        for name in first.columns:
            if name not in frame.columns:
                raise TableError(f"{file} has no column {name!r}, which {files[0]} has{closest(name, frame.columns)}")
        for name in frame.columns:
            if name not in first.columns:
                raise TableError(f"{files[0]} has no column {name!r}, which {file} has{closest(name, first.columns)}")
    table = pl.concat([frame.select(first.columns) for frame in _alike(files, frames)], how="vertical_relaxed")
    if table.is_empty():
        raise TableError(
            f"{files[0]} has no rows" if len(files) == 1 else f"{patterns[0]}: none of {len(files)} files has a row"
        )
    return _parse_time(table, time, files[0]) if time in table.columns else table


def _matching(pattern: Path) -> list[Path]:
    if pattern.is_dir():
        raise TableError(f"{pattern} is a folder; name the files in it: {pattern / '*.parquet'}")
    if pattern.exists():
        return [pattern]
    found = sorted(Path(path) for path in glob.glob(str(pattern), recursive=True))  # noqa: PTH207 - absolute patterns too
    if not found:
        what = "no file matches" if glob.has_magic(str(pattern)) else "there is no file"
        raise TableError(f"{what} {pattern}")
    return found


def _read(file: Path) -> pl.DataFrame:
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise TableError(f"{file} must end in {', '.join(_READERS)} to be read as a table")
    try:
        frame = reader(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise TableError(f"{file} cannot be read as {file.suffix[1:]}: {_first_line(error)}") from None
    for name in frame.columns:
        twice = _TWICE.fullmatch(name)
        if twice and twice[1] in frame.columns:
            raise TableError(f"{file} has more than one column named {twice[1]!r}")
    return frame


def _parse_time(table: pl.DataFrame, time: str | None, file: Path) -> pl.DataFrame:
    assert time is not None
    if table[time].dtype != pl.String:
        return table
    text = table[time]
    try:
        return table.with_columns(text.str.to_datetime())
    except pl.exceptions.PolarsError:
        raise TableError(
            f"{file}: column {time!r} holds text that cannot be read as date and time, such as {text.drop_nulls().first()!r}; "
            "write it as 2026-01-31T12:00:00"
        ) from None


def _alike(files: Sequence[Path], frames: Sequence[pl.DataFrame]) -> Sequence[pl.DataFrame]:
    """The frames, if each column is of one kind in all of them; numbers may differ in width, and a column may be all null."""
    first: dict[str, tuple[Path, pl.DataType]] = {}
    for file, frame in zip(files, frames, strict=True):
        for name, dtype in frame.schema.items():
            if dtype == pl.Null:
                continue
            where, known = first.setdefault(name, (file, dtype))
            if dtype != known and not (dtype.is_numeric() and known.is_numeric()):
                raise TableError(f"column {name!r} is {known} in {where} and {dtype} in {file}; make them one")
    return frames


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
