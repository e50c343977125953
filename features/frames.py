"""Frames at the door: Polars inside, pandas and Arrow accepted and answered in kind."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from typing import Any

import polars as pl
import pyarrow as pa

from features.errors import ColumnError, EmptyFrameError

Frame = Any
"""A polars.DataFrame, a pandas.DataFrame or a pyarrow.Table."""


def to_polars(frame: Frame, what: str) -> pl.DataFrame:
    """Convert a frame to Polars, its rows in their order.

    Parameters
    ----------
    frame : polars.DataFrame, pandas.DataFrame or pyarrow.Table
    what : str
        What the frame is to the caller ("events", "examples"), for error messages.

    Raises
    ------
    ColumnError
        If the frame is of another kind, or a column name is there twice.
    """
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        raise ColumnError(f"{what} is a LazyFrame, whose rows have no fixed order; call .collect() on it first")
    if isinstance(frame, pa.Table):
        _no_duplicates(frame.column_names, what)
        return pl.DataFrame(pl.from_arrow(frame))
    if is_pandas(frame):
        _no_duplicates([str(name) for name in frame.columns], what)
        return pl.from_pandas(frame.reset_index(drop=True))
    raise ColumnError(f"{what} must be a Polars, pandas or Arrow table, not {type(frame).__name__}")


def answer_in_kind(result: pl.DataFrame, asked: Frame) -> Frame:
    """Convert ``result`` to the kind of frame that was ``asked`` with; a pandas answer keeps the asker's index."""
    if isinstance(asked, pa.Table):
        return result.to_arrow()
    if is_pandas(asked):
        return result.to_pandas().set_index(asked.index)
    return result


def is_pandas(frame: Frame) -> bool:
    """Whether ``frame`` is a pandas.DataFrame, without importing pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(frame, pandas.DataFrame)


def require_columns(frame: pl.DataFrame, names: Iterable[str], what: str) -> None:
    """Raise ColumnError for the first of ``names`` that ``frame`` lacks, naming the closest that it has."""
    for name in names:
        if name not in frame.columns:
            raise ColumnError(f"{what} has no column {name!r}{closest(name, frame.columns)}")


def require_rows(frame: pl.DataFrame, what: str) -> None:
    """Raise EmptyFrameError if ``frame`` has no rows."""
    if frame.height == 0:
        raise EmptyFrameError(f"{what} is empty: it has {frame.width} columns and no rows")


def require_finite(frame: pl.DataFrame, names: Iterable[str], what: str) -> None:
    """Raise ColumnError for the first of ``names`` that is not numeric, or holds NaN or infinity (nulls are allowed)."""
    for name in names:
        column = frame[name]
        if not column.dtype.is_numeric() and column.dtype not in (pl.Boolean, pl.Null):
            raise ColumnError(f"column {name!r} of {what} must be numeric, not {column.dtype}")
        if column.dtype.is_float():
            bad = column.len() - column.null_count() - int(column.is_finite().sum())
            if bad:
                raise ColumnError(
                    f"column {name!r} of {what} has {bad:,} NaN or infinite values in {column.len():,} rows; "
                    "replace them with null (missing)"
                )


def closest(name: str, names: Iterable[str]) -> str:
    """A clause that names the closest of ``names``, or lists them when none is close."""
    names = list(names)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    shown = ", ".join(map(repr, names[:12])) + (", ..." if len(names) > 12 else "")
    return f"; there are: {shown}" if names else ""


def _no_duplicates(names: list[str], what: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ColumnError(f"{what} has more than one column named {twice[0]!r}")
