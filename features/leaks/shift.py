"""Shift test: with every event a tick later, features may lose what lay just before the example, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from features.leaks.finding import Finding
from features.leaks.recomputation import Compared, differs, recompute
from features.leaks.strength import strengths
from features.leaks.subject import Subject

_SMOOTH = 1e-3  # relative: what a tick does to seconds since an event or to a decay is no jump


def findings(
    subject: Subject,
    values: pl.DataFrame,
    strength: Mapping[str, float] | None,
    y: np.ndarray | None,
    tick: int,
    fall: float,
    size: int,
    rng: np.random.Generator,
) -> Iterator[Finding]:
    """Columns that jump where they should not, or whose strength falls, when all events come a tick later.

    A jump proves nothing by itself: an event may have lain within the tick before the example, or at the far edge of a window. Rows that
    jump are therefore recomputed from the log before them, and only those that differ are evidence. They are where a leak at the
    example's own time sits, in all rows and not in a sample.

    Parameters
    ----------
    subject : Subject
    values : polars.DataFrame
        The features with the events where they are.
    strength, y : optional
        Their strengths, and the label as codes.
    tick : int
        Microseconds.
    fall : float
        A strength that falls by more used what lies within a tick of the example.
    size : int
        Rows to recompute.
    """
    shifted = subject.values(tick)
    jumps = {name: _jumps(values[name], shifted[name]) for name in values.columns}
    told = f"{tick} microsecond{'s' * (tick > 1)}" if tick < 1_000_000 else f"{tick / 1e6:g} s"
    rises = _rises(subject, values, shifted, told)
    compared = _recomputed(subject, values, jumps, size, rng)
    weaker = {} if strength is None or y is None else strengths(shifted, y)
    for name in values.columns:
        jumped, found = int(jumps[name].sum()), compared[name]
        was, now = (strength or {}).get(name), weaker.get(name)
        fell = was is not None and now is not None and was - now > fall
        weakening = f"; its AUC falls from {was:.4f} to {now:.4f}" if fell else ""
        if name in rises:
            yield rises[name]
        elif found.differ:
            yield Finding(
                "shift",
                "evidence",
                f"{jumped:,} rows jump when all events come {told} later, and of {found.rows} of them recomputed without the events at or "
                f"after their time {len(found.differ)} differ, such as {subject.name(found.differ[0])}{weakening}",
                name,
                jumped,
                now,
                was,
            )
        elif fell:
            yield Finding(
                "shift",
                "warning",
                f"its AUC falls from {was:.4f} to {now:.4f} when all events come {told} later: its signal lies in events within {told} "
                "before the examples; make sure that they are known by then",
                name,
                jumped,
                now,
                was,
            )


def _jumps(before: pl.Series, after: pl.Series) -> np.ndarray:
    one, other = before.to_numpy(), after.to_numpy()
    return differs(one, other, _SMOOTH, 1e-9)


def _rises(subject: Subject, values: pl.DataFrame, shifted: pl.DataFrame, told: str) -> dict[str, Finding]:
    """Counts over all time that rise: they counted no event before, but one that was not yet there."""
    found = {}
    for name in subject.counts():
        rose = np.flatnonzero(shifted[name].to_numpy() > values[name].to_numpy())
        if len(rose):
            row = int(rose[0])
            found[name] = Finding(
                "shift",
                "evidence",
                f"a count of all events before the example rises when they come {told} later, such as in {subject.name(row)}",
                name,
                len(rose),
                float(shifted[name][row]),
                float(values[name][row]),
            )
    return found


def _recomputed(
    subject: Subject, values: pl.DataFrame, jumps: Mapping[str, np.ndarray], size: int, rng: np.random.Generator
) -> dict[str, Compared]:
    """Some of the rows that jump, as many of each column's, recomputed; first those with an event at their very time."""
    jumping = [np.flatnonzero(rows) for rows in jumps.values() if rows.any()]
    if not jumping:
        return {name: Compared() for name in values.columns}
    tied, share = subject.tied(), -(-size // len(jumping))
    chosen = []
    for rows in jumping:
        mixed = rng.permutation(rows)
        chosen.append(mixed[np.argsort(~tied[mixed], kind="stable")][:share])
    rows = rng.permutation(np.unique(np.concatenate(chosen)))
    compared = recompute(subject, values, rows)
    for name, found in compared.items():
        kept = [place for place, row in enumerate(found.differ) if jumps[name][row]]
        found.differ, found.recomputed = [found.differ[i] for i in kept], [found.recomputed[i] for i in kept]
    return compared
