"""Availability: a column must be there, and vary, in the test rows as it did in the training rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from features.leaks.finding import Finding

FEW = 30
"""Fewer rows on either side say nothing about shares."""


def shares(values: pl.DataFrame, test: np.ndarray) -> pl.DataFrame:
    """Each column's shares of nulls and zeros among training and test rows, and of training rows with the test rows' only value.

    ``constant_train`` and ``constant_test`` are null unless all test rows (of which some are not null) have one value.
    """
    rows = []
    for column in values:
        numbers = column.to_numpy()
        train, held = numbers[~test], numbers[test]
        constant = len(held) > 0 and bool((held == held[0]).all())
        rows.append(
            {
                "column": column.name,
                "null_train": _share(np.isnan(train)),
                "null_test": _share(np.isnan(held)),
                "zero_train": _share(train == 0),
                "zero_test": _share(held == 0),
                "constant_train": _share(train == held[0]) if constant else None,
                "constant_test": 1.0 if constant else None,
            }
        )
    floats = ("null_train", "null_test", "zero_train", "zero_test", "constant_train", "constant_test")
    return pl.DataFrame(rows, schema={"column": pl.String, **dict.fromkeys(floats, pl.Float64)})


def findings(table: pl.DataFrame, n_train: int, n_test: int, effect: float, z: float) -> Iterator[Finding]:
    """Shares that differ by an effect size and beyond chance: evidence where the test rows have one value only, else a warning."""
    if min(n_train, n_test) < FEW:
        yield Finding(
            "availability", "note", f"not compared: {n_train:,} training and {n_test:,} test rows are too few"
        )
        return
    for row in table.iter_rows(named=True):
        differing = [
            (_effect(before, after), what, before, after)
            for what in ("null", "zero", "constant")
            for before, after in [(row[f"{what}_train"], row[f"{what}_test"])]
            if before is not None and _effect(before, after) >= effect and _z(before, after, n_train, n_test) >= z
        ]
        if differing:
            _, what, before, after = max(differing)
            gone = after == 1
            seen = {"null": "null", "zero": "0", "constant": "the one value of the test rows"}[what]
            yield Finding(
                "availability",
                "evidence" if gone else "warning",
                f"{seen} in {before:.1%} of the training rows and {after:.1%} of the test rows"
                + ("; what a model learns from it is not there when it is asked" if gone else ""),
                row["column"],
                round(after * n_test),
                after,
                before,
            )


def _share(holds: np.ndarray) -> float:
    return float(holds.mean()) if len(holds) else float("nan")


def _effect(before: float, after: float) -> float:
    """Cohen's h, between 0 and pi."""
    return abs(2 * np.arcsin(np.sqrt(after)) - 2 * np.arcsin(np.sqrt(before)))


def _z(before: float, after: float, n_before: int, n_after: int) -> float:
    """The pooled two-proportion statistic."""
    pooled = (before * n_before + after * n_after) / (n_before + n_after)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / n_before + 1 / n_after))
    return abs(after - before) / spread if spread > 0 else 0.0
