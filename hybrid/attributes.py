"""Attributes: declared categorical and numeric columns of the examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from features.errors import ColumnError
from features.frames import require_columns, require_finite
from hybrid.matrix import Column, FeatureMatrix

GROUP = "attributes"


def fit_categories(frame: pl.DataFrame, categorical: Sequence[str], what: str) -> dict[str, list[str]]:
    """The values of each categorical column, sorted; their positions are the codes."""
    require_columns(frame, categorical, what)
    return {name: sorted(_as_text(frame[name], what).drop_nulls().unique().to_list()) for name in categorical}


def attributes(
    frame: pl.DataFrame, categories: Mapping[str, Sequence[str]], numeric: Sequence[str], what: str
) -> FeatureMatrix:
    """Category codes and numbers, float32; NaN for missing and for values that ``categories`` does not know."""
    require_columns(frame, [*categories, *numeric], what)
    require_finite(frame, numeric, what)
    values = np.empty((frame.height, len(categories) + len(numeric)), dtype=np.float32)
    columns = []
    for i, (name, known) in enumerate(categories.items()):
        codes = _as_text(frame[name], what).replace_strict(
            list(known), list(range(len(known))), default=None, return_dtype=pl.Float32
        )
        values[:, i] = codes.to_numpy()
        columns.append(Column(name, GROUP, categories=len(known)))
    for i, name in enumerate(numeric, start=len(categories)):
        values[:, i] = frame[name].cast(pl.Float32).to_numpy()
        columns.append(Column(name, GROUP))
    return FeatureMatrix(values, tuple(columns))


def _as_text(column: pl.Series, what: str) -> pl.Series:
    """Category values as strings, whatever integer width or categorical encoding they come in."""
    if column.dtype.is_float() or column.dtype.is_nested() or column.dtype.is_temporal():
        raise ColumnError(
            f"categorical column {column.name!r} of {what} must hold strings, integers or booleans, not {column.dtype}"
        )
    return column.cast(pl.String)
