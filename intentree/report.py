"""`intentree report`: which evidence mattered and where the model fails, as one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from intentree.errors import ConfigError
from intentree.options import ArtifactOption, LangOption
from intentree.toml_file import read_config

if TYPE_CHECKING:
    import polars as pl

    from hybrid import HybridClassifier
    from intentree.config import Config

_REPORT = Path("report.html")


def report(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="STUDY.TOML | ARTIFACT DATA...", help="The TOML file; or an artifact's folder and labelled rows."
        ),
    ],
    artifact: ArtifactOption = None,
    examples: Annotated[
        list[Path] | None,
        typer.Option("--examples", help="Labelled rows, in place of [examples] test; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File, .html or .json, in place of [output] report.")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="Column of the labels, where no TOML file names it.")
    ] = None,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare", help="Two artifacts are named: the second is shown beside the first, on the same rows."
        ),
    ] = False,
    lang: LangOption = None,
) -> None:
    """Report which evidence the artifact's scores rest on, and where it fails.

    Reads the artifact and the test examples (without any: the valid examples). Prints the answer in words and the groups,
    and writes one HTML page. Without a TOML file: `intentree report artifact/ rows.parquet --label bought`. Two models on
    the same rows: `intentree report --compare old/ new/ study.toml`, or with rows in place of study.toml.
    """
    asked = _Asked.of(inputs, compare)
    config = None if asked.study is None else read_config(asked.study)
    from hybrid.languages import languages, speaking
    from intentree.outputs import require_place
    from intentree.printing import print_lines, print_table, with_interval
    from intentree.progress import shown_progress

    target = output or (_REPORT if config is None else config.output.report)
    require_place(target, ".html", ".json")
    if not asked.artifacts:
        assert config is not None
        asked.artifacts.append(artifact or config.output.artifact)
    first, *others = (_load(folder, config) for folder in asked.artifacts)
    events, options = None, dict[str, Any]()
    if config is None:
        frame, y = _labelled(first, asked.data, label)
    else:
        frame, y, events, options = _declared(config, asked, examples)
    baseline = dict(zip(_names(asked.artifacts)[1:], others, strict=True)) or None
    with shown_progress() as progress:
        made = first.report(frame, y, events, baseline=baseline, **options, progress=progress)
    spoken = lang or ("en" if config is None else config.output.lang)
    made.save(target, lang=spoken)
    with speaking(languages(spoken)[0]):
        print_lines(*made.answer)
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
    if baseline:
        print_table(
            ["model", "metric", "value", "difference"],
            [
                (
                    row["model"],
                    row["metric"],
                    with_interval(row["value"], row["low"], row["high"]),
                    with_interval(row["difference"], row["difference_low"], row["difference_high"]),
                )
                for row in made.metrics.iter_rows(named=True)
            ],
        )
    print_lines(f"report: {target}")


@dataclass
class _Asked:
    """What the arguments name: a TOML file, folders of artifacts, files of rows."""

    study: Path | None
    artifacts: list[Path]
    data: list[Path]

    @classmethod
    def of(cls, inputs: Sequence[Path], compare: bool) -> _Asked:
        studies = [path for path in inputs if path.suffix.lower() == ".toml"]
        artifacts = [path for path in inputs if path.is_dir()]
        data = [path for path in inputs if path not in studies and path not in artifacts]
        for path in data:
            if not path.exists() and not path.suffix and not set("*?[") & set(str(path)):
                raise ConfigError(f"there is no artifact {path}: no such folder")
        wanted = 2 if compare else 1 if data or artifacts else 0
        if len(artifacts) != wanted:
            names = ", ".join(map(str, artifacts)) or "none"
            raise ConfigError(
                f"{'--compare needs the folders of two artifacts' if compare else 'name the folder of one artifact'}, not {names}"
                + ("; a second one needs --compare" if len(artifacts) > 1 and not compare else "")
            )
        if len(studies) > 1 or (studies and data):
            raise ConfigError("name one TOML file, or files of labelled rows")
        if not studies and not data:
            raise ConfigError("name the labelled rows to report on, or the TOML file that names them")
        return cls(studies[0] if studies else None, artifacts, data)


def _names(folders: Sequence[Path]) -> list[str]:
    """Folders by their last part, where that tells them apart."""
    short = [folder.name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


def _load(folder: Path, config: Config | None) -> HybridClassifier:
    from hybrid import load
    from hybrid.blend import is_blend
    from intentree.inputs import declared_encoder

    if is_blend(folder):
        raise ConfigError(
            f"{folder} is a blend, which has no report of its own: report on one of its models, {folder}/model_1"
        )
    return load(
        folder,
        encoder=declared_encoder(config) if config is not None and config.encoder else None,
        device=(config.model or {}).get("device", "auto") if config is not None else "auto",
    )


def _labelled(model: HybridClassifier, files: Sequence[Path], label: str | None) -> tuple[pl.DataFrame, pl.Series]:
    """Rows and labels of files that no TOML file describes."""
    from features.frames import closest
    from intentree.errors import TableError
    from intentree.tables import read_table

    if label is None:
        raise ConfigError("say which column holds the labels: --label NAME")
    frame = read_table(files, time=model.timestamp())
    if label not in frame.columns:
        raise TableError(f"{files[0]} has no column {label!r}{closest(label, frame.columns)}")
    return frame, frame[label]


def _declared(
    config: Config, asked: _Asked, examples: Sequence[Path] | None
) -> tuple[pl.DataFrame, pl.Series, pl.DataFrame | None, dict[str, Any]]:
    """Rows, labels, log and options as the TOML file declares them."""
    from intentree.inputs import read_examples, read_other_events

    rows = read_examples(config, "test", examples) or read_examples(config, "valid")
    if rows is None:
        raise ConfigError(f"{asked.study} names no rows to report on: add [examples] test, or --examples")
    options = {name: value for name, value in config.report.items() if name != "events"}
    return rows.frame, rows.y, read_other_events(config, config.report.get("events")), options
