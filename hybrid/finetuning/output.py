"""The folders of a fine-tuning run: the encoder that comes out, and the checkpoints beside it while it trains."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hybrid.errors import EncoderError
from hybrid.model_files import FINETUNING_RECORD

_PACKAGES = ("intentree", "torch", "transformers", "sentence-transformers", "accelerate", "peft")


def require_encoder_place(folder: Path, base: Path) -> None:
    """Raise EncoderError if a fine-tuned encoder could not be saved as ``folder``."""
    if folder.exists() and folder.resolve() == base.resolve():
        raise EncoderError(f"{folder} is the encoder to fine-tune; name another folder for the result")
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / FINETUNING_RECORD).is_file()):
        raise EncoderError(f"{folder} is there and holds no fine-tuned encoder; name a new or empty folder")
    folder.parent.mkdir(parents=True, exist_ok=True)


def write_encoder(folder: Path, save: Callable[[Path], None], record: dict[str, Any]) -> None:
    """Write model and record; a former encoder in the folder is replaced only when the new one is complete."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        written = Path(temporary) / "encoder"
        save(written)
        text = json.dumps(record | {"versions": _versions()}, ensure_ascii=False, indent=2)
        (written / FINETUNING_RECORD).write_text(text + "\n", encoding="utf-8")
        if folder.exists():
            folder.rename(Path(temporary) / "former")
        written.rename(folder)


def checkpoints(folder: Path, run: str) -> Path:
    """Where the run of this digest keeps its checkpoints; those of another run for the same folder are deleted."""
    place = folder.resolve().with_name(f".{folder.name}-training")
    known, said = (
        place / "run.txt",
        f"{run}\n{place}\n",
    )  # the place too, since checkpoints name each other by their paths
    if place.exists() and not (known.is_file() and known.read_text(encoding="utf-8") == said):
        shutil.rmtree(place)
    place.mkdir(parents=True, exist_ok=True)
    known.write_text(said, encoding="utf-8")
    return place


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
