"""`intentree features`: behaviour features of the examples, as of each, and statistics of labels, into one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from intentree.exits import EVIDENCE
from intentree.options import StudyFile
from intentree.toml_file import read_config

if TYPE_CHECKING:
    import polars as pl

    from features import BehaviorFeatures, LabelStatistics
    from intentree.config import Config
    from intentree.inputs import Examples


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
    """Compute the behaviour features of all examples, as of each, and their statistics of labels.

    Writes one file (.parquet, .csv or .ndjson): a row an example, train, valid and test one after the other, with the
    columns `split`, the id columns (without any: keys and timestamp), the label and one column a feature. Statistics of
    labels are those of the train examples: out of time or out of fold for these, as new rows have them for the others.

    With `--out-of-core` the output is a folder ([output] features without its ending): for each Parquet file of the
    examples one of the same name, rows in the same order, with the same columns but `split`.
    """
    config = read_config(study)
    import polars as pl

    from features.frames import require_columns
    from intentree.errors import ConfigError
    from intentree.inputs import declared_behavior, declared_label_statistics, read_events, read_examples
    from intentree.outputs import require_table_place, write_table
    from intentree.printing import print_lines
    from intentree.progress import shown_progress

    if audit and out_of_core:
        raise ConfigError(
            "--audit needs log and examples in memory; run it without --out-of-core, on a sample of the files"
        )
    behavior, statistics = declared_behavior(config), declared_label_statistics(config)
    config.require("examples", *(["behavior"] if audit or out_of_core or statistics is None else []))
    target = output or config.output.features
    assert config.examples is not None
    ids = [config.examples.id] if isinstance(config.examples.id, str) else list(config.examples.id)
    carried = list(dict.fromkeys([*(ids or _keys(behavior, statistics)), config.examples.label]))
    if out_of_core:
        if statistics is not None:
            raise ConfigError(
                "[label_statistics] reads the labels of all train examples at once; run without --out-of-core, or take the table out"
            )
        assert behavior is not None
        _out_of_core(config, behavior, carried, output or target.with_suffix(""))
        return
    require_table_place(target)
    splits = {split: read_examples(config, split) for split in ("train", "valid", "test")}
    given = {split: examples for split, examples in splits.items() if examples is not None}
    for split, examples in given.items():
        require_columns(examples.frame, carried, f"{split} examples")
    parts = {split: examples.frame.select(pl.lit(split).alias("split"), *carried) for split, examples in given.items()}
    of_labels = {} if statistics is None else _of_labels(statistics, given)
    fitted = None if behavior is None else _fitted(config, behavior, read_events(config), given)
    names = [
        *(() if fitted is None else fitted.get_feature_names_out()),
        *(of_labels["train"].columns if of_labels else ()),
    ]
    twice = set(names) & {"split", *carried}
    if twice:
        raise ConfigError(f"column {min(twice)!r} of the examples has the name of a column to be written; rename it")
    done, total = 0, sum(part.height for part in parts.values())
    with shown_progress() as progress:
        for split, examples in given.items():
            if fitted is not None:
                parts[split] = parts[split].hstack(fitted.transform(examples.frame))
            if of_labels:
                parts[split] = parts[split].hstack(of_labels[split])
            done += examples.frame.height
            progress("features", done, total)
    table = pl.concat(parts.values(), how="vertical_relaxed")
    write_table(table, target)
    print_lines(f"{table.height:,} examples with {len(names):,} features: {target}")
    if audit:
        from intentree.audit import audited, print_audit

        assert fitted is not None
        report = audited(config, fitted, given, pl.concat(of_labels.values()) if of_labels else None)
        print_audit(report)
        if not report.passed:
            raise typer.Exit(EVIDENCE)


def _keys(behavior: BehaviorFeatures | None, statistics: LabelStatistics | None) -> list[str]:
    """The columns of the examples by which features are computed."""
    return [
        *([] if behavior is None else [*behavior.key_columns(), behavior.log.timestamp]),
        *([] if statistics is None else statistics.required_columns()),
    ]


def _fitted(
    config: Config, behavior: BehaviorFeatures, events: pl.DataFrame | None, splits: Mapping[str, Examples]
) -> BehaviorFeatures:
    """Behaviour over the log, with the declared vectors."""
    from intentree.inputs import with_declared_vectors

    assert events is not None
    return with_declared_vectors(config, behavior.fit(events), [events, *(part.frame for part in splits.values())])


def _of_labels(statistics: LabelStatistics, splits: Mapping[str, Examples]) -> dict[str, pl.DataFrame]:
    """Statistics of the train examples' labels, by split."""
    from hybrid.label_columns import LabelColumns
    from hybrid.labels import as_labels, encode

    train = splits["train"]
    what = f"column {train.y.name!r} of the train examples"
    classes, codes = encode(as_labels(train.y, train.frame.height, what), None, what)
    fitted, of_train = LabelColumns.fit(statistics, train.frame, codes, classes)
    return {split: of_train if split == "train" else fitted.transform(part.frame) for split, part in splits.items()}


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
