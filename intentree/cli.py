"""The command `intentree`: its verbs, one file each, all driven by one TOML file.

Verbs import what they need inside their functions: torch, the boosters and Optuna take seconds, and `--help` must not.
"""

from __future__ import annotations

import importlib.metadata
from typing import Annotated

import typer

from intentree.demo import demo
from intentree.encode import encode
from intentree.exits import Verbs
from intentree.features import features
from intentree.finetune import finetune
from intentree.fit import fit
from intentree.outline import outline
from intentree.report import report
from intentree.score import score
from intentree.tune import tune

# Without Rich's markup: it would take the [tables] of the TOML file in the help for styles.
app = typer.Typer(cls=Verbs, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"intentree {importlib.metadata.version('intentree')}")
        raise typer.Exit


@app.callback()
def main(
    debug: Annotated[
        bool, typer.Option("--debug", envvar="INTENTREE_DEBUG", help="Show the traceback of a mistake.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Predict shopping intent from text and behaviour.

    Each verb reads one TOML file, whose keys are the parameters of the Python API. `intentree fit --help` shows one.
    """


# The verbs, in the order of work. One that reads no TOML file has no outline.
app.command()(demo)
app.command(epilog=outline("events", "examples", "behavior", "label_statistics", "output"))(features)
app.command(epilog=outline("encoder", "finetune"))(finetune)
app.command(epilog=outline("examples", "encoder", "model"))(encode)
app.command(epilog=outline("events", "examples", "behavior", "label_statistics", "encoder", "model", "output"))(fit)
app.command(epilog=outline("events", "examples", "behavior", "label_statistics", "encoder", "model", "tune", "output"))(
    tune
)
app.command(epilog=outline("score", "output"))(score)
app.command(epilog=outline("examples", "report", "output"))(report)
