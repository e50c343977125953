"""Arguments and options that verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.TOML", help="The TOML file that declares everything.")]
ArtifactOption = Annotated[
    Path | None, typer.Option("--artifact", help="Folder of the artifact, in place of [output] artifact.")
]
LangOption = Annotated[
    Literal["en", "zh", "both"] | None, typer.Option("--lang", help="Language of the page, in place of [output] lang.")
]
