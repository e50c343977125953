"""`intentree finetune`: adapt the encoder to pairs of a query and an item that answered it."""

from __future__ import annotations

from intentree.options import StudyFile
from intentree.toml_file import read_config


def finetune(study: StudyFile) -> None:
    """Adapt the encoder of [encoder] to the pairs of [finetune], and save it as a folder.

    Queries are held out and ranked before, during and after the training; the folder holds the best of these states. A run that was
    stopped goes on where it was.
    """
    config = read_config(study)
    from hybrid import finetune as adapt
    from intentree.inputs import declared_encoder
    from intentree.printing import print_lines, print_table, toml
    from intentree.progress import shown_progress
    from intentree.tables import read_table

    config.require("finetune")
    declared = dict(config.finetune or {})
    pairs = read_table(declared.pop("pairs"), time=declared.get("time"))
    with shown_progress() as progress:
        tuned = adapt(declared_encoder(config), pairs, **declared, progress=progress)
    rows = [
        (f"{step:,}", f"{epoch:.2f}", f"{loss:.4f}", f"{value:.4f}")
        for step, epoch, loss, value in tuned.evaluations.rows()
    ]
    print_table(["step", "epoch", "training loss", tuned.metric], rows)
    print_lines(tuned.verdict, f"encoder: {tuned.folder}")
    if tuned.improved:
        print_lines("", "[encoder]", f"model = {toml(str(tuned.folder))}")
