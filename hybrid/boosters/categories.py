"""Categories that the training data lack: they count as missing, whatever the library would make of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from hybrid.matrix import FeatureMatrix


def absent_codes(matrix: FeatureMatrix) -> dict[int, list[int]]:
    """The codes that no row holds, by position of their column; columns that hold all of theirs are left out."""
    absent = {}
    for j, column in enumerate(matrix.columns):
        if column.categories > 0:
            missing = np.setdiff1d(np.arange(column.categories), on_host(matrix.values[:, j])).tolist()
            if missing:
                absent[j] = missing
    return absent


def with_codes_missing(matrix: FeatureMatrix, absent: Mapping[int, list[int]]) -> FeatureMatrix:
    """The matrix with these codes turned to NaN; itself, uncopied, where it holds none of them."""
    found = {j: np.isin(on_host(matrix.values[:, j]), codes) for j, codes in absent.items()}
    if not any(rows.any() for rows in found.values()):
        return matrix
    values = matrix.values.clone() if isinstance(matrix.values, torch.Tensor) else matrix.values.copy()
    for j, rows in found.items():
        values[np.flatnonzero(rows), j] = np.nan
    return FeatureMatrix(values, matrix.columns)


def on_host(values: np.ndarray | torch.Tensor) -> np.ndarray:
    """Values as a NumPy array, wherever they lie."""
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else values
