"""Where results go: checked before any long work, so that none is lost for want of a place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from hybrid.artifact import MANIFEST
from intentree.errors import ConfigError

_ENDINGS = (".parquet", ".csv", ".ndjson")


def require_place(file: Path, *endings: str) -> None:
    """Make the folder of a file to be written, and raise ConfigError if the file cannot be of that name."""
    if file.suffix.lower() not in endings:
        raise ConfigError(f"{file} must end in {', '.join(endings)}")
    if file.is_dir():
        raise ConfigError(f"{file} is a folder; name a file")
    file.parent.mkdir(parents=True, exist_ok=True)


def require_table_place(file: Path) -> None:
    """``require_place`` for a table."""
    require_place(file, *_ENDINGS)


def require_artifact_place(folder: Path) -> None:
    """Raise ConfigError if an artifact could not be saved as ``folder``."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file()):
        raise ConfigError(f"{folder} is there and is no artifact; name a new or empty folder")
    folder.parent.mkdir(parents=True, exist_ok=True)


def write_table(table: pl.DataFrame, file: Path) -> None:
    """Write a table in the format that the file's ending names; a former file is replaced when the new one is complete."""
    write: Callable[[Path], object] = getattr(table, f"write_{file.suffix.lower()[1:]}")
    temporary = file.with_name(f".{file.name}")
    try:
        write(temporary)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
