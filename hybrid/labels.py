"""Labels at the door: any type in, codes 0 .. n_classes - 1 inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from sklearn.utils.class_weight import compute_class_weight

from hybrid.errors import LabelError, ParameterError


def as_labels(y: Any, n_rows: int, what: str) -> np.ndarray:
    """Labels as a NumPy array of shape (n_rows,), without nulls.

    Raises
    ------
    LabelError
        If the length differs from the frame's, or labels are missing.
    """
    labels = y.to_numpy() if hasattr(y, "to_numpy") else np.asarray(y)
    if labels.ndim != 1:
        raise LabelError(f"{what} must have one label a row, not shape {labels.shape}")
    if len(labels) != n_rows:
        raise LabelError(f"{what} has {len(labels):,} labels for {n_rows:,} rows")
    missing = int(np.sum(labels != labels)) + sum(label is None for label in labels if labels.dtype == object)
    if isinstance(y, pl.Series):
        missing = y.null_count() + int(y.is_nan().sum() if y.dtype.is_float() else 0)
    if missing:
        raise LabelError(f"{what} has {missing:,} null labels in {n_rows:,} rows; drop those rows")
    return labels.astype(str) if labels.dtype == object and all(isinstance(label, str) for label in labels) else labels


def encode(labels: np.ndarray, classes: np.ndarray | None, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Classes (sorted, unless given) and each label's position in them, int64.

    Raises
    ------
    LabelError
        If there is only one class, or a label that the given ``classes`` lack.
    """
    if classes is None:
        classes, codes = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise LabelError(f"{what} holds one class only, {classes.tolist()[0]!r}; a classifier needs two")
        return classes, codes.astype(np.int64)
    codes = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    unknown = classes[codes] != labels
    if unknown.any():
        raise LabelError(f"{what} holds the label {labels[unknown].tolist()[0]!r}, which the training labels lack")
    return classes, codes.astype(np.int64)


def row_weights(
    codes: np.ndarray, classes: np.ndarray, class_weight: str | Mapping[Any, float] | None, sample_weight: Any
) -> np.ndarray | None:
    """Class weights times sample weights, float64 of shape (n_rows,); None where all are 1."""
    weight = None
    if sample_weight is not None:
        weight = np.asarray(sample_weight, dtype=np.float64)
        if weight.shape != codes.shape or not np.isfinite(weight).all() or (weight < 0).any() or weight.sum() == 0:
            raise ParameterError(f"sample_weight must hold {len(codes):,} finite weights of at least 0, not all 0")
    if class_weight is None:
        return weight
    if isinstance(class_weight, str) and class_weight != "balanced":
        raise ParameterError(f'class_weight must be "balanced", a mapping or None, not {class_weight!r}')
    given = class_weight if isinstance(class_weight, str) else dict(class_weight)
    by_class = compute_class_weight(given, classes=classes, y=classes[codes])
    return by_class[codes] if weight is None else by_class[codes] * weight
