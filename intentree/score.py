"""`intentree score`: score Parquet files with the artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from intentree.options import ArtifactOption, StudyFile
from intentree.toml_file import read_config


def score(
    study: StudyFile,
    artifact: ArtifactOption = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", help="Parquet file or pattern, in place of [score] inputs; may be repeated."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder, in place of [score] output.")] = None,
    events: Annotated[
        list[Path] | None, typer.Option("--events", help="Log, in place of [score] events; may be repeated.")
    ] = None,
) -> None:
    """Score Parquet files with the artifact.

    Memory stays constant whatever the size of the files. Writes a file of the same name for each input, with the id
    columns, `prediction` and one `proba_...` a class, rows in the same order. A run that was stopped goes on at the next
    file.
    """
    config = read_config(study)
    import time

    from hybrid import score_parquet
    from intentree.errors import ConfigError
    from intentree.inputs import declared_encoder, read_other_events
    from intentree.printing import print_lines
    from intentree.progress import shown_progress

    overrides = {"inputs": inputs, "output": output, "events": events}
    declared = {**config.score, **{name: value for name, value in overrides.items() if value}}
    for name in ("inputs", "output"):
        if name not in declared:
            raise ConfigError(
                f"{study} says nothing of the {name} to score: add [score] {name}, or --{name.removesuffix('s')}"
            )
    declared["events"] = read_other_events(config, declared.get("events"))
    started, rows = time.perf_counter(), 0
    with shown_progress() as progress:

        def count(step: str, done: int, total: int) -> None:
            nonlocal rows
            rows = total
            progress(step, done, total)

        try:
            written = score_parquet(
                artifact or config.output.artifact,
                **declared,
                device=(config.model or {}).get("device", "auto"),
                encoder=declared_encoder(config) if config.encoder else None,
                progress=count,
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped by Ctrl-C; finished files stay, run again to go on") from None
    seconds = time.perf_counter() - started
    print_lines(f"{rows:,} rows in {len(written):,} files, {seconds:.1f} s: {declared['output']}")
