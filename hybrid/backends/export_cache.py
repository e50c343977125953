"""Exports of models in the user's cache: each made once, whole or not at all, and checked before it is used."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from hybrid.errors import StoreError
from hybrid.model_files import file_sha256
from hybrid.store import cache_folder

RECORD = "export.json"
"""In each export: what it was made from, the digests of its files, and how well it agrees with torch."""

_FORMAT = 1


@dataclass(frozen=True)
class ExportKey:
    """What an export is made from and with.

    Parameters
    ----------
    backend : str
    fingerprint : str
        Of the model and the recipe.
    versions : dict
        Of the packages that export and run it.
    """

    backend: str
    fingerprint: str
    versions: dict[str, str]

    @property
    def folder(self) -> Path:
        """Where it is kept: in ``models`` beside the default embedding store."""
        parts = json.dumps([_FORMAT, self.backend, self.fingerprint, self.versions], sort_keys=True)
        return cache_folder("models") / f"{self.backend}-{hashlib.sha256(parts.encode()).hexdigest()[:32]}"


def kept_export(key: ExportKey, write: Callable[[Path], dict[str, Any]]) -> Path:
    """The folder of an export, made now if there is none or if it is damaged.

    Processes that want the same export wait for the one that makes it. What a killed one left is removed by the next.

    Parameters
    ----------
    key : ExportKey
    write : callable
        Fills an empty folder and returns what else to record.

    Raises
    ------
    StoreError
        The cache cannot be written.
    """
    folder = key.folder
    if _intact(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not _intact(folder):
                _make(key, folder, write)
    except OSError as error:
        raise StoreError(
            f"the export of a model cannot be written to {folder.parent} ({error.strerror}): set INTENTREE_CACHE to a folder "
            "that can be written, or use backend='torch'"
        ) from error
    return folder


def _make(key: ExportKey, folder: Path, write: Callable[[Path], dict[str, Any]]) -> None:
    for left in folder.parent.glob(f"{folder.name}-*.tmp"):  # ours is the lock: nobody is at work in them
        shutil.rmtree(left, ignore_errors=True)
    temporary = folder.with_name(f"{folder.name}-{uuid.uuid4().hex[:8]}.tmp")
    temporary.mkdir()
    try:
        recorded = write(temporary)
        files = {path.relative_to(temporary).as_posix(): path for path in temporary.rglob("*") if path.is_file()}
        record = {
            "format": _FORMAT,
            "backend": key.backend,
            "fingerprint": key.fingerprint,
            "versions": key.versions,
            **recorded,
            "files": {name: file_sha256(path) for name, path in sorted(files.items())},
        }
        (temporary / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
        if folder.exists():  # damaged
            folder.rename(folder.with_name(f"{folder.name}-{uuid.uuid4().hex[:8]}.tmp"))
        temporary.rename(folder)
    finally:
        for left in folder.parent.glob(f"{folder.name}-*.tmp"):
            shutil.rmtree(left, ignore_errors=True)


def _intact(folder: Path) -> bool:
    with suppress(OSError, ValueError, KeyError, AttributeError):
        files = json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"]
        return all(file_sha256(folder / name) == digest for name, digest in files.items())
    return False
