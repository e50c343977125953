"""`intentree features`: behaviour features of the examples, as of each, into one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from intentree.exits import EVIDENCE
from intentree.options import StudyFile
from intentree.toml_file import read_config

if TYPE_CHECKING:
    from features import BehaviorFeatures
    from intentree.config import Config


def features(
    study: StudyFile,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File, in place of [output] features.")] = None,
    audit: Annotated[
        bool, typer.Option("--audit", help="Look for leaks, too; exit code 1 where there is evidence of one.")
    ] = False,
    out_of_core: Annotated[
        bool,
        typer.Option(
            "--out-of-core",
            help="For Parquet files larger than memory: the output is a folder, a file for each of the examples.",
        ),
    ] = False,
) -> None:
    """Compute the behaviour features of all examples, as of each.

    Writes one file (.parquet, .csv or .ndjson): a row an example, train, valid and test one after the other, with the
    columns `split`, the id columns (without any: keys and timestamp), the label and one column a feature.

    With `--out-of-core` the output is a folder ([output] features without its ending): for each Parquet file of the
    examples one of the same name, rows in the same order, with the same columns but `split`.
    """
    config = read_config(study)
    import polars as pl

    from features.frames import require_columns
    from intentree.errors import ConfigError
    from intentree.inputs import declared_behavior, read_events, read_examples, with_declared_vectors
    from intentree.outputs import require_table_place, write_table
    from intentree.printing import print_lines
    from intentree.progress import shown_progress

    if audit and out_of_core:
        raise ConfigError(
            "--audit needs log and examples in memory; run it without --out-of-core, on a sample of the files"
        )
    config.require("examples", "behavior")
    target = output or config.output.features
    behavior = declared_behavior(config)
    assert behavior is not None
    assert config.examples is not None
    ids = [config.examples.id] if isinstance(config.examples.id, str) else list(config.examples.id)
    carried = list(dict.fromkeys([*(ids or [*behavior.key_columns(), behavior.log.timestamp]), config.examples.label]))
    if out_of_core:
        _out_of_core(config, behavior, carried, output or target.with_suffix(""))
        return
    require_table_place(target)
    splits = {split: read_examples(config, split) for split in ("train", "valid", "test")}
    given = {split: examples for split, examples in splits.items() if examples is not None}
    total = sum(examples.frame.height for examples in given.values())
    events = read_events(config)
    assert events is not None
    behavior = with_declared_vectors(config, behavior.fit(events), [events, *(part.frame for part in given.values())])
    twice = {"split", *behavior.get_feature_names_out()} & set(carried)
    if twice:
        raise ConfigError(f"column {min(twice)!r} of the examples has the name of a column to be written; rename it")
    parts, done = [], 0
    with shown_progress() as progress:
        for split, examples in given.items():
            require_columns(examples.frame, carried, f"{split} examples")
            kept = examples.frame.select(pl.lit(split).alias("split"), *carried)
            parts.append(kept.hstack(behavior.transform(examples.frame)))
            done += examples.frame.height
            progress("features", done, total)
    table = pl.concat(parts, how="vertical_relaxed")
    write_table(table, target)
    print_lines(f"{table.height:,} examples with {len(behavior.columns()):,} features: {target}")
    if audit:
        from intentree.audit import audited, print_audit

        report = audited(config, behavior, given)
        print_audit(report)
        if not report.passed:
            raise typer.Exit(EVIDENCE)


def _out_of_core(config: Config, behavior: BehaviorFeatures, carried: list[str], folder: Path) -> None:
    from features import transform_parquet
    from intentree.errors import ConfigError
    from intentree.printing import print_lines
    from intentree.progress import shown_progress

    assert config.events is not None
    assert config.examples is not None
    if folder.is_file():
        raise ConfigError(f"{folder} is a file; with --out-of-core name a folder")
    declared = config.examples
    files = [path for split in (declared.train, declared.valid, declared.test) for path in split or ()]
    with shown_progress() as progress:
        written = transform_parquet(
            behavior, config.events["path"], files, folder, id_columns=carried, progress=progress
        )
    print_lines(f"features of {len(written):,} files: {folder}")
