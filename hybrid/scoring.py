"""Score Parquet files with an artifact: constant memory, same order, resumable."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from features.frames import Frame, closest, to_polars
from hybrid.artifact import MANIFEST, load
from hybrid.blend import BLEND, is_blend
from hybrid.builder import Progress
from hybrid.classifier import HybridClassifier
from hybrid.errors import ScoringError

_MADE_FROM = b"intentree.made_from"


def score_parquet(
    artifact: str | Path,
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    batch_rows: int = 65_536,
    id_columns: str | Sequence[str] = (),
    events: Frame | None = None,
    device: str = "auto",
    encoder: object = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Score the rows of Parquet files into Parquet files of the same names.

    Memory is bounded by ``batch_rows``, whatever the size of the files. Each file is written under a temporary name and renamed
    when complete, so a run that was killed goes on at the next file. A finished file is scored again only if the artifact, the
    input file or the events have changed since.

    Parameters
    ----------
    artifact : str or Path
    inputs : str, Path or sequence of these
        Paths or glob patterns.
    output : str or Path
        Folder; made if it is not there.
    batch_rows : int, default 65,536
    id_columns : str or sequence of str, default ()
        Columns of the input to carry into the output.
    events : frame, optional
        A log to use in place of the artifact's.
    device, encoder : as in ``load``
    progress : callable (step, rows done, rows in all), optional

    Returns
    -------
    list of Path
        The files written or found complete, one an input, in the inputs' order. Each holds the id columns, ``prediction`` (the label)
        and ``proba_{label}`` (Float32) for each class, rows in the input's order.

    Raises
    ------
    ScoringError
        Before any scoring: no file matches, a file is not Parquet, or lacks a column that the model or ``id_columns`` needs, or two
        inputs have the same name. While scoring: the disk is full or a file cannot be written; finished files stay.
    """
    if batch_rows < 1:
        raise ScoringError(f"batch_rows must be at least 1, not {batch_rows}")
    ids = [id_columns] if isinstance(id_columns, str) else list(id_columns)
    model = load(artifact, encoder=encoder, device=device)
    files = _files(inputs)
    needed = list(dict.fromkeys([*ids, *model.required_columns()]))
    rows = _check(files, needed)
    if events is not None:
        model.check_events(events)
        model.replace_log(events)
    made_with = _made_with(Path(artifact), events, ids)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    done, written = 0, []
    for path, n_rows in zip(files, rows, strict=True):
        target = folder / path.name
        made_from = f"{made_with} {path.stat().st_size} {path.stat().st_mtime_ns}".encode()
        if not _is_complete(target, made_from):
            _score_file(model, path, target, needed, ids, batch_rows, made_from, progress, done, sum(rows))
        done += n_rows
        written.append(target)
        if progress is not None:
            progress("score", done, sum(rows))
    return written


def _files(inputs: str | Path | Sequence[str | Path]) -> list[Path]:
    patterns = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    files: list[Path] = []
    for pattern in patterns:
        # Path.glob takes no absolute patterns (Python 3.11), so the module's own is used.
        found = [str(pattern)] if Path(pattern).exists() else sorted(glob.glob(str(pattern), recursive=True))  # noqa: PTH207
        if not found:
            raise ScoringError(f"no file matches {str(pattern)!r}")
        files += [Path(path) for path in found]
    names = [path.name for path in files]
    for name in names:
        if names.count(name) > 1:
            raise ScoringError(
                f"two input files are named {name!r}, and so would be their scores; score the folders apart"
            )
    return files


def _check(files: Sequence[Path], needed: Sequence[str]) -> list[int]:
    """Rows of each file; raise for the first that cannot be scored."""
    rows = []
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                names, n_rows = file.schema_arrow.names, file.metadata.num_rows
        except (pa.ArrowInvalid, OSError) as error:
            raise ScoringError(f"{path} is not a readable Parquet file: {error}") from None
        for name in needed:
            if name not in names:
                raise ScoringError(f"{path} has no column {name!r}{closest(name, names)}")
        rows.append(n_rows)
    return rows


def _score_file(
    model: HybridClassifier,
    path: Path,
    target: Path,
    needed: list[str],
    ids: list[str],
    batch_rows: int,
    made_from: bytes,
    progress: Progress | None,
    done: int,
    total: int,
) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with pq.ParquetFile(path) as file:
            id_fields = [file.schema_arrow.field(name) for name in ids]
            labels = pa.array(model.classes_.tolist())
            schema = pa.schema(
                [
                    *id_fields,
                    ("prediction", labels.type),
                    *((f"proba_{name}", pa.float32()) for name in model.classes_.tolist()),
                ],
                metadata={_MADE_FROM: made_from},
            )
            # Probabilities hardly repeat: a dictionary of them would be built and thrown away.
            repeating = [*ids, "prediction"]
            with pq.ParquetWriter(temporary, schema, use_dictionary=repeating) as writer:
                for batch in file.iter_batches(batch_rows, columns=needed):
                    proba = model.predict_proba(pl.DataFrame(pl.from_arrow(batch)))
                    columns = [batch.column(name) for name in ids]
                    columns.append(labels.take(pa.array(proba.argmax(axis=1))))
                    columns += [pa.array(proba[:, i]) for i in range(proba.shape[1])]
                    writer.write_batch(pa.record_batch(columns, schema=schema))
                    done += batch.num_rows
                    if progress is not None:
                        progress("score", done, total)
        temporary.replace(target)
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        raise ScoringError(f"{target} could not be written: {why}; finished files stay, run again to go on") from error
    finally:
        temporary.unlink(missing_ok=True)


def _is_complete(target: Path, made_from: bytes) -> bool:
    try:
        return (pq.read_schema(target).metadata or {}).get(_MADE_FROM) == made_from
    except (pa.ArrowInvalid, OSError):
        return False


def _made_with(artifact: Path, events: Frame | None, ids: Sequence[str]) -> str:
    """A digest of everything but the input file that the scores depend on."""
    digest = hashlib.sha256((artifact / (BLEND if is_blend(artifact) else MANIFEST)).read_bytes())
    digest.update(repr(list(ids)).encode())
    if events is not None:
        digest.update(to_polars(events, "events").hash_rows().to_numpy().tobytes())
    return digest.hexdigest()
