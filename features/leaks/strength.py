"""Strength of single columns: how well each orders the label on its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from features.errors import ColumnError
from features.leaks.finding import Finding

FEW = 10
"""A class with fewer rows, or fewer rows outside it, has no AUC worth telling."""
_MANY_CLASSES = 1_000
_NORMAL = 1.4826  # the median absolute deviation of normal values, times this, is their standard deviation
_PERFECT = 0.999  # stronger than this is far above the others wherever they lie
_OTHERS = 3  # a median of fewer other columns says nothing


def labels(y: object, rows: int) -> np.ndarray:
    """Labels as codes 0, 1, ...

    Raises
    ------
    ColumnError
        For another number of rows, nulls, or numbers that are no classes.
    """
    given = y if isinstance(y, pl.Series) else pl.Series("y", np.asarray(y).tolist())
    if len(given) != rows:
        raise ColumnError(f"y has {len(given):,} rows and examples {rows:,}")
    missing = given.null_count() + (int(given.is_nan().sum()) if given.dtype.is_float() else 0)
    if missing:
        raise ColumnError(f"y has {missing:,} missing values in {rows:,} rows; leave those examples out")
    codes = given.rank("dense").to_numpy().astype(np.int64) - 1
    if codes.max() >= _MANY_CLASSES:
        raise ColumnError(f"y has {codes.max() + 1:,} different values; the audit needs classes: cut it into some")
    return codes


def strengths(values: pl.DataFrame, y: np.ndarray) -> dict[str, float]:
    """AUC of each column against the label, from 0.5 to 1: of the class that it tells from the others best, in either direction.

    Nulls stand below all values or above them, whichever tells more. NaN where every class is rarer than ``FEW``.
    """
    sizes = np.bincount(y)
    scored = np.flatnonzero((sizes >= FEW) & (len(y) - sizes >= FEW))
    if not len(scored):
        return dict.fromkeys(values.columns, float("nan"))
    return {column.name: _strength(column, y, sizes, scored) for column in values}


def _strength(column: pl.Series, y: np.ndarray, sizes: np.ndarray, scored: np.ndarray) -> float:
    known = column.fill_nan(None)
    fills = (-np.inf, np.inf) if known.null_count() else (-np.inf,)
    return max(_auc(known.fill_null(fill).rank("average").to_numpy(), y, sizes, scored) for fill in fills)


def _auc(ranks: np.ndarray, y: np.ndarray, sizes: np.ndarray, scored: np.ndarray) -> float:
    sums = np.bincount(y, weights=ranks)[scored]
    n = sizes[scored].astype(np.float64)
    above = (sums - n * (n + 1) / 2) / (n * (len(y) - n))
    return float(np.maximum(above, 1 - above).max())


def findings(strength: Mapping[str, float], threshold: float, deviations: float, rows: int) -> Iterator[Finding]:
    """Columns stronger than the threshold: evidence where they stand far above the others, too, else a warning."""
    names = [name for name, value in strength.items() if not np.isnan(value)]
    all_of_them = np.array([strength[name] for name in names])
    for place, name in enumerate(names):
        value, others = strength[name], np.delete(all_of_them, place)
        if value < threshold:
            continue
        if len(others) < _OTHERS:
            yield Finding(
                "strength",
                "evidence",
                f"orders the label on its own with AUC {value:.4f} (there are too few other columns to compare with)",
                name,
                rows,
                value,
                threshold,
            )
            continue
        median = float(np.median(others))
        bound = median + deviations * _NORMAL * float(np.median(np.abs(others - median)))
        far = value > min(bound, _PERFECT)
        yield Finding(
            "strength",
            "evidence" if far else "warning",
            f"orders the label on its own with AUC {value:.4f}, "
            + (
                f"far above the other columns (median {median:.4f}): too good to have been known before"
                if far
                else f"though no further above the other columns (median {median:.4f}) than they lie apart"
            ),
            name,
            rows,
            value,
            max(threshold, min(bound, _PERFECT)),
        )
