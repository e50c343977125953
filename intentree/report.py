"""`intentree report`: which evidence mattered, as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from intentree.options import ArtifactOption, LangOption, StudyFile
from intentree.toml_file import read_config


def report(
    study: StudyFile,
    artifact: ArtifactOption = None,
    examples: Annotated[
        list[Path] | None,
        typer.Option("--examples", help="Labelled rows, in place of [examples] test; may be repeated."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File, in place of [output] report.")] = None,
    lang: LangOption = None,
) -> None:
    """Report which evidence the artifact's scores rest on.

    Reads the artifact and the test examples (without any: the valid examples). Prints the answer in words and the groups,
    and writes one HTML page.
    """
    config = read_config(study)
    from hybrid import load
    from hybrid.languages import languages, speaking
    from hybrid.reports.findings import answer
    from intentree.errors import ConfigError
    from intentree.inputs import declared_encoder, read_examples, read_other_events
    from intentree.outputs import require_place
    from intentree.printing import print_lines, print_table, with_interval
    from intentree.progress import shown_progress

    target, spoken = output or config.output.report, lang or config.output.lang
    require_place(target, ".html")
    rows = read_examples(config, "test", examples) or read_examples(config, "valid")
    if rows is None:
        raise ConfigError(f"{study} names no rows to report on: add [examples] test, or --examples")
    options = {name: value for name, value in config.report.items() if name != "events"}
    model = load(
        artifact or config.output.artifact,
        encoder=declared_encoder(config) if config.encoder else None,
        device=(config.model or {}).get("device", "auto"),
    )
    with shown_progress() as progress:
        made = model.report(
            rows.frame, rows.y, read_other_events(config, config.report.get("events")), **options, progress=progress
        )
    made.save(target, lang=spoken)
    with speaking(languages(spoken)[0]):
        print_lines(*answer(made))
    print_table(
        ["group", "share of SHAP", "rise of log loss when shuffled"],
        [
            (
                row["group"],
                f"{row['shap_share']:.1%}",
                with_interval(row["permutation"], row["permutation_low"], row["permutation_high"]),
            )
            for row in made.groups.iter_rows(named=True)
        ],
    )
    print_lines(f"report: {target}")
