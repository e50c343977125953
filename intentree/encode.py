"""`intentree encode`: put the vectors of all texts into the store ahead of time."""

from __future__ import annotations

from intentree.options import StudyFile
from intentree.toml_file import read_config


def encode(study: StudyFile) -> None:
    """Encode the texts of all examples into the embedding store.

    The other verbs then find them there. A run that was stopped goes on where it was.
    """
    config = read_config(study)
    from intentree.printing import print_lines, print_table
    from intentree.progress import shown_progress
    from intentree.warming import warm

    with shown_progress() as progress:
        warmed = warm(config, progress)
    rows = [(role, f"{texts:,}", f"{warmed.added[role]:,}") for role, texts in warmed.texts.items()]
    print_table(["role", "distinct texts", "new"], rows)
    print_lines(
        f"{warmed.dimension} dimensions; the store {warmed.store.folder} holds {warmed.store.nbytes / 2**20:,.1f} MiB "
        f"of at most {warmed.store.max_bytes / 2**20:,.0f}"
    )
