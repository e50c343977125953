"""Recomputation: a feature of an example must be the same where the log ends just before the example."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from features.leaks.finding import Finding
from features.leaks.subject import Subject

TOLERANCE = 1e-9
"""Relative; sums may be added up in another order."""
_FLOOR = 1e-12  # of the column's largest magnitude: what is left of a difference of large sums


@dataclass
class Compared:
    """What came of one column's recomputed rows."""

    rows: int = 0
    differ: list[int] = field(default_factory=list)
    recomputed: list[float] = field(default_factory=list)  # of the rows that differ


def sampled(subject: Subject, size: int, rng: np.random.Generator) -> np.ndarray:
    """Rows to recompute, in random order; up to half of them such that an event lies at the row's very time, where leaks show first."""
    order = rng.permutation(len(subject.times))
    tied = order[subject.tied()[order]][: size // 2]
    rest = order[~np.isin(order, tied)][: size - len(tied)]
    return rng.permutation(np.concatenate([tied, rest]))


def recompute(subject: Subject, values: pl.DataFrame, rows: np.ndarray) -> dict[str, Compared]:
    """Each column's values for some rows against those from a log that ends just before each row."""
    found = {name: Compared() for name in values.columns}
    scales = {name: _largest(values[name].to_numpy()) for name in values.columns}
    for mine, part in subject.before(rows):
        for column in part:
            if column.name not in found:
                continue
            again, whole = column.to_numpy(), values[column.name].to_numpy()[mine]
            different = differs(again, whole, TOLERANCE, _FLOOR * scales[column.name])
            compared = found[column.name]
            compared.rows += len(mine)
            compared.differ += mine[different].tolist()
            compared.recomputed += again[different].tolist()
    return found


def differs(one: np.ndarray, other: np.ndarray, relative: float, absolute: float) -> np.ndarray:
    """Whether numbers differ by more than a tolerance; NaN equals NaN and nothing else."""
    nans = np.isnan(one) | np.isnan(other)
    with np.errstate(invalid="ignore"):
        apart = np.abs(one - other) > np.maximum(relative * np.maximum(np.abs(one), np.abs(other)), absolute)
        apart |= (one != other) & (np.isinf(one) | np.isinf(other))
    return np.where(nans, np.isnan(one) != np.isnan(other), apart)


def findings(subject: Subject, values: pl.DataFrame, compared: dict[str, Compared]) -> Iterator[Finding]:
    """Evidence for each column that differs, and a note on columns of which nothing could be compared."""
    for name, found in compared.items():
        if found.differ:
            row, again = found.differ[0], found.recomputed[0]
            whole = float(values[name].to_numpy()[row])
            yield Finding(
                "recomputation",
                "evidence",
                f"{len(found.differ)} of {found.rows} rows change when the log ends just before them: {subject.name(row)} is "
                f"{shown(whole)} with the whole log and {shown(again)} with the events before it",
                name,
                len(found.differ),
                whole,
                again,
            )
    unseen = [name for name, found in compared.items() if not found.rows]
    if unseen:
        yield Finding(
            "recomputation",
            "note",
            f"{len(unseen)} columns could not be recomputed: no sampled example has an event before it ({unseen[0]!r} first)",
        )


def shown(value: float) -> str:
    """A value as the explanations show it."""
    return "null" if np.isnan(value) else f"{value:.10g}"


def _largest(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.abs(finite).max()) if len(finite) else 0.0
