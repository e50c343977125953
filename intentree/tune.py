"""`intentree tune`: run a study of the declared model, finish it, help it, or say how it stands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from intentree.errors import ConfigError
from intentree.options import ArtifactOption, LangOption
from intentree.toml_file import read_config

if TYPE_CHECKING:
    from intentree.config import Config
    from tuning import Study


def tune(
    study: Annotated[Path, typer.Argument(metavar="STUDY.TOML", help="The TOML file that declares everything.")] = Path(
        "study.toml"
    ),
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", metavar="NAME", help="Finish the study of this name: run what it lacks of its trials."
        ),
    ] = None,
    worker: Annotated[
        bool,
        typer.Option("--worker", help="Help a study that runs in another terminal or on another host, until it ends."),
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="Say how the study stands, from its storage alone.")] = False,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Show the storage's studies in a browser, by optuna-dashboard.")
    ] = False,
    port: Annotated[int, typer.Option("--port", help="Of the dashboard.")] = 8080,
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
    keeps the trials that are done; --resume runs the others.
    """
    asked = {"--resume": resume is not None, "--worker": worker, "--status": status, "--dashboard": dashboard}
    given = [option for option, is_given in asked.items() if is_given]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} are different things to do: give one of them")
    config = read_config(study)
    if status:
        _print_status(config)
    elif dashboard:
        _serve(config, port)
    else:
        page = output or config.output.study_report
        _search(config, resume, worker, fit, artifact or config.output.artifact, page, lang or config.output.lang)


def _search(config: Config, resume: str | None, worker: bool, fit: bool, artifact: Path, page: Path, lang: str) -> None:
    import warnings

    from intentree.inputs import declared_model, read_events, read_train
    from intentree.outputs import require_artifact_place, require_place
    from intentree.printing import print_lines
    from intentree.progress import StudyProgress, shown_progress
    from tuning import tune as search

    config.require("examples", "model")
    settings: dict[str, Any] = dict(config.tune)
    if resume is not None or worker:
        settings |= {"storage": _storage(config, "--worker" if worker else "--resume"), "n_trials": None}
        settings |= {} if resume is None else {"study_name": resume}
    require_place(page, ".html")
    if fit:
        require_artifact_place(artifact)
    train = read_train(config)
    if train.weight is not None:
        warnings.warn("trials do not weigh examples: [examples] weight is not used by this verb", stacklevel=1)
    with StudyProgress() as progress:
        found = search(
            declared_model(config, train.y),
            train.frame,
            train.y,
            read_events(config),
            **settings,
            groups=train.groups if settings.get("cv") in ("group", "group_time") else None,
            progress=progress,
            on_trial=progress.trial,
        )
    if worker:
        print_lines(f"the study {found.optuna_study.study_name!r} has all its trials, or they run elsewhere")
    else:
        found.report(page, lang=lang)
        _print_best(found)
        print_lines(f"study report: {page}")
    if found.interrupted:
        raise KeyboardInterrupt
    if fit:
        with shown_progress() as shown:
            found.best_model(shown).save(artifact)
        print_lines(f"artifact: {artifact}")


def _storage(config: Config, option: str) -> str:
    """The declared storage, which ``option`` cannot do without."""
    declared = config.tune.get("storage")
    if declared is None:
        raise ConfigError(f'{option} needs a study that is kept: set [tune] storage, such as "sqlite:///study.db"')
    return str(declared)


def _print_status(config: Config) -> None:
    """What has ended, what runs, and the time left."""
    from intentree.printing import print_lines, print_table
    from tuning import status
    from tuning.status import lasting

    found = status(_storage(config, "--status"), _name(config))
    print_lines(f"study {found.name!r}: {found}")
    if found.lost or found.waiting:
        print_lines(f"{found.lost:,} lost with their process and queued again, {found.waiting:,} wait in the queue")
    rows = [(str(trial.number), lasting(trial.seconds), trial.worker) for trial in found.running]
    if rows:
        print_table(["trial", "runs for", "worker"], rows, f"{len(rows):,} running", texts=["worker"])


def _serve(config: Config, port: int) -> None:
    """Serve the dashboard until Ctrl-C."""
    try:
        from optuna_dashboard import run_server
    except ImportError as error:
        raise ConfigError("--dashboard needs optuna-dashboard: pip install 'intentree[dashboard]'") from error
    from intentree.printing import print_lines
    from tuning.storage import existing_study

    record = existing_study(_storage(config, "--dashboard"), _name(config))
    print_lines(f"http://localhost:{port} shows the study {record.study_name!r}; Ctrl-C ends it")
    run_server(record._storage, host="localhost", port=port)


def _name(config: Config) -> str:
    """The study's name, which is the API's default where the file gives none."""
    return str(config.tune.get("study_name", "intentree"))


def _print_best(found: Study) -> None:
    """The five best trials, and the best one's parameters as lines for `[model]`."""
    import polars as pl

    from intentree.printing import print_lines, print_table
    from tuning.report import settings_as_toml

    trials = found.trials.filter(pl.col("state") == "COMPLETE")
    best = trials.sort("value", descending=found.task.metric.greater_is_better, maintain_order=True).head(5)
    rows = [
        (str(n), f"{value:.5f}", f"{seconds:.1f}")
        for n, value, seconds in best.select("number", "value", "duration_s").rows()
    ]
    done = f"{trials.height:,} of {found.trials.height:,} trials finished; the best of them"
    print_table(["trial", found.task.metric.name, "seconds"], rows, done)
    print_lines(f"Parameters of trial {found.best_trial.number}, in {found.best_rounds:,} rounds:", "")
    print_lines(*settings_as_toml(found), "")
