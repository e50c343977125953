"""`intentree tune`: run or resume a study of the declared model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from intentree.options import ArtifactOption, LangOption, StudyFile
from intentree.toml_file import read_config

if TYPE_CHECKING:
    from tuning import Study


def tune(
    study: StudyFile,
    fit: Annotated[
        bool, typer.Option("--fit", help="Then fit the best model to the train examples and save it.")
    ] = False,
    artifact: ArtifactOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File, in place of [output] study_report.")
    ] = None,
    lang: LangOption = None,
) -> None:
    """Search for the model's best parameters on the train examples.

    A study whose name is in its storage goes on with [tune] n_trials more trials; with n_trials = 0 it is read as it is.
    Prints the best trials and the best parameters as TOML, and writes the study's report. Ctrl-C ends the search and
    keeps the trials that are done.
    """
    config = read_config(study)
    import warnings

    from intentree.inputs import declared_model, read_events, read_train
    from intentree.outputs import require_artifact_place, require_place
    from intentree.printing import print_lines
    from intentree.progress import shown_progress
    from tuning import tune as search

    config.require("examples", "model")
    page, target = output or config.output.study_report, artifact or config.output.artifact
    require_place(page, ".html")
    if fit:
        require_artifact_place(target)
    train = read_train(config)
    if train.weight is not None:
        warnings.warn("trials do not weigh examples: [examples] weight is not used by this verb", stacklevel=1)
    with shown_progress() as progress:
        found = search(
            declared_model(config, train.y),
            train.frame,
            train.y,
            read_events(config),
            **config.tune,
            groups=train.groups if config.tune.get("cv") == "group" else None,
            progress=progress,
        )
    found.report(page, lang=lang or config.output.lang)
    _print_best(found)
    print_lines(f"study report: {page}")
    if found.interrupted:
        raise KeyboardInterrupt
    if fit:
        with shown_progress() as progress:
            found.best_model(progress).save(target)
        print_lines(f"artifact: {target}")


def _print_best(found: Study) -> None:
    """The five best trials, and the best one's parameters as lines for `[model]`."""
    import polars as pl

    from intentree.printing import print_lines, print_table, toml

    trials = found.trials.filter(pl.col("state") == "COMPLETE")
    best = trials.sort("value", descending=found.task.metric.greater_is_better, maintain_order=True).head(5)
    rows = [
        (str(n), f"{value:.5f}", f"{seconds:.1f}")
        for n, value, seconds in best.select("number", "value", "duration_s").rows()
    ]
    done = f"{trials.height:,} of {found.trials.height:,} trials finished; the best of them"
    print_table(["trial", found.task.metric.name, "seconds"], rows, done)
    print_lines(f"Parameters of trial {found.best_trial.number}, in {found.best_rounds:,} rounds:", "", "[model]")
    print_lines(*(f"{name} = {toml(value)}" for name, value in found.best_params.items()), "")
