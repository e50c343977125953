"""What a matrix and its labels must be before a booster sees them: the libraries' own messages are cryptic or missing."""

from __future__ import annotations

import numpy as np
import torch

from hybrid.boosters.categories import on_host
from hybrid.errors import LabelError, MatrixError
from hybrid.matrix import Column, FeatureMatrix

ROWS_AT_ONCE = 65_536
"""Rows whose mask is held at a time, so that a check costs little memory beside the matrix."""


def check_labels(matrix: FeatureMatrix, y: np.ndarray, weight: np.ndarray | None) -> None:
    """One label, and one weight if any, for each row of the matrix."""
    if len(y) != len(matrix):
        raise LabelError(f"{len(y)} labels for a matrix of {len(matrix)} rows")
    if weight is not None and len(weight) != len(matrix):
        raise LabelError(f"{len(weight)} weights for a matrix of {len(matrix)} rows")


def check_values(matrix: FeatureMatrix) -> None:
    """No infinity, and category codes within each column's categories; NaN is a missing value and fine."""
    infinite = np.flatnonzero(_any_infinite(matrix.values))
    if len(infinite):
        raise MatrixError(
            f"column {matrix.columns[infinite[0]].name!r} holds infinite values: replace them by a number or by NaN (missing)"
        )
    for j, column in enumerate(matrix.columns):
        if column.categories > 0:
            _check_codes(column, on_host(matrix.values[:, j]))


def check_columns(trained: tuple[Column, ...], matrix: FeatureMatrix) -> None:
    """The matrix has the columns that the trees were trained on, in their order; groups may differ."""
    if trained is matrix.columns:
        return
    for position, (wanted, given) in enumerate(zip(trained, matrix.columns, strict=False)):
        if wanted.name != given.name:
            raise MatrixError(f"column {position} is {given.name!r}, the trees were trained with {wanted.name!r} there")
        if wanted.categories != given.categories:
            raise MatrixError(
                f"column {wanted.name!r} has {given.categories} categories, the trees were trained with {wanted.categories}"
            )
    if len(matrix.columns) < len(trained):
        raise MatrixError(
            f"column {trained[len(matrix.columns)].name!r}, which the trees were trained with, is missing"
        )
    if len(matrix.columns) > len(trained):
        raise MatrixError(f"column {matrix.columns[len(trained)].name!r} is unknown to the trees")


def _any_infinite(values: np.ndarray | torch.Tensor) -> np.ndarray:
    """Which columns hold an infinity, bool of shape (n_columns,)."""
    found = np.zeros(values.shape[1], dtype=bool)
    for start in range(0, values.shape[0], ROWS_AT_ONCE):
        rows = values[start : start + ROWS_AT_ONCE]
        found |= on_host(torch.isinf(rows).any(dim=0)) if isinstance(rows, torch.Tensor) else np.isinf(rows).any(axis=0)
    return found


def _check_codes(column: Column, codes: np.ndarray) -> None:
    valid = np.isnan(codes) | ((codes >= 0) & (codes < column.categories) & (codes == np.floor(codes)))
    if not valid.all():
        raise MatrixError(
            f"column {column.name!r} holds {codes[~valid][0]:g}, which is no code of its {column.categories} categories "
            f"(0 .. {column.categories - 1}, NaN for missing)"
        )
