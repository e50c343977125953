"""Label: a transformer must not read the outcome that the examples carry."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from features.leaks.finding import Finding
from features.leaks.recomputation import TOLERANCE, differs, shown
from features.leaks.subject import Subject, TransformerSubject


def findings(subject: Subject, values: pl.DataFrame, y: np.ndarray, rng: np.random.Generator) -> Iterator[Finding]:
    """Evidence for each feature that changes when the columns of the examples that say what ``y`` says are shuffled.

    ``BehaviorFeatures`` reads keys and times alone, and is not asked.
    """
    if not isinstance(subject, TransformerSubject):
        return
    outcome = [name for name in subject.given.columns if name != subject.timestamp and _says(subject.given[name], y)]
    if not outcome:
        return
    order = rng.permutation(len(y))
    shuffled = subject.with_examples(subject.given.with_columns(pl.col(name).gather(order) for name in outcome))
    for name in values.columns:
        whole, blind = values[name].to_numpy(), shuffled[name].to_numpy()
        changed = np.flatnonzero(differs(whole, blind, TOLERANCE, 0.0))
        if len(changed):
            row = int(changed[0])
            yield Finding(
                "label",
                "evidence",
                f"changes when the label in column {outcome[0]!r} of the examples is shuffled: {subject.name(row)} is "
                f"{shown(whole[row])} with its own label and {shown(blind[row])} with another's",
                name,
                len(changed),
                float(whole[row]),
                float(blind[row]),
            )


def _says(column: pl.Series, y: np.ndarray) -> bool:
    """Whether each value of the column stands for one label and each label for one value."""
    if column.null_count():
        return False
    classes = len(np.unique(y))
    return (
        classes > 1
        and column.n_unique() == classes
        and pl.DataFrame([column, pl.Series("__y", y)]).n_unique() == classes
    )
