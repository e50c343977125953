"""A model's metrics under integer row weights, many times over the same scores: what a bootstrap evaluates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class WeightedMetrics:
    """The metrics of fixed predictions as a function of how often each group of rows was drawn.

    Everything that does not depend on the weights (sorting, losses of rows) is done once.

    Parameters
    ----------
    names : sequence of str
        Metrics, named as in `hybrid.metrics`.
    y : numpy.ndarray of int64, shape (n_rows,)
        Class codes.
    proba : numpy.ndarray, shape (n_rows, n_classes)
    codes : numpy.ndarray of int64, shape (n_rows,)
        The group of each row, 0 .. n_groups - 1.
    n_groups : int
    """

    def __init__(
        self, names: Sequence[str], y: np.ndarray, proba: np.ndarray, codes: np.ndarray, n_groups: int
    ) -> None:
        self._names = tuple(names)
        self._y, self._codes = y, codes
        self._n_classes = proba.shape[1]
        self._predicted = proba.argmax(axis=1)
        self._group_rows = np.bincount(codes, minlength=n_groups).astype(np.float64)
        self._group_losses = {
            name: np.bincount(codes, weights=_row_values(name, y, proba), minlength=n_groups)
            for name in names
            if name in ("log_loss", "accuracy", "brier_score_loss")
        }
        self._rankings: list[_Ranking] = []
        if {"roc_auc", "average_precision"} & set(names):
            classes = [1] if self._n_classes == 2 else range(self._n_classes)
            self._rankings = [_Ranking(y == k, proba[:, k], codes) for k in classes]

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """The metrics when group ``g`` is drawn ``counts[g]`` times, float64 in the order of the names; NaN where undefined."""
        values: dict[str, float] = {}
        for name, losses in self._group_losses.items():
            values[name] = _total(counts, losses) / _total(counts, self._group_rows)
        if self._rankings:
            per_class = np.array([ranking(counts) for ranking in self._rankings])
            values["roc_auc"], values["average_precision"] = per_class.mean(axis=0)
        if {"balanced_accuracy", "f1_macro"} & set(self._names):
            values["balanced_accuracy"], values["f1_macro"] = self._class_means(counts)
        return np.array([values[name] for name in self._names])

    def _class_means(self, counts: np.ndarray) -> tuple[float, float]:
        """Mean recall over the classes drawn and mean F1 over the classes drawn or predicted."""
        weight = counts[self._codes].astype(np.float64)
        hit = np.where(self._predicted == self._y, weight, 0.0)
        true = np.bincount(self._y, weights=weight, minlength=self._n_classes)
        predicted = np.bincount(self._predicted, weights=weight, minlength=self._n_classes)
        hits = np.bincount(self._y, weights=hit, minlength=self._n_classes)
        drawn, seen = true > 0, true + predicted > 0
        return float(np.mean(hits[drawn] / true[drawn])), float(np.mean(2 * hits[seen] / (true + predicted)[seen]))


def _row_values(name: str, y: np.ndarray, proba: np.ndarray) -> np.ndarray:
    """What the metric averages over rows, float64."""
    if name == "accuracy":
        return (proba.argmax(axis=1) == y).astype(np.float64)
    if name == "brier_score_loss":
        return (proba[:, 1].astype(np.float64) - y) ** 2
    eps = np.finfo(proba.dtype).eps  # scikit-learn clips by the dtype's epsilon
    return -np.log(np.clip(proba[np.arange(len(y)), y].astype(np.float64), eps, 1 - eps))


def _total(counts: np.ndarray, values: np.ndarray) -> float:
    # Not `counts @ values`: BLAS starts threads for it, which on a busy machine costs ten times the sum (NumPy 2.4, OpenBLAS).
    return float((counts * values).sum())


class _Ranking:
    """ROC AUC and average precision of one score, sorted once; ties count as scikit-learn counts them."""

    def __init__(self, positive: np.ndarray, score: np.ndarray, codes: np.ndarray) -> None:
        order = np.argsort(-score, kind="stable")
        ordered = score[order]
        self._codes = codes[order]
        self._positives = np.flatnonzero(positive[order])
        # Rows of one score form a block: a threshold lies before or after a block, never within.
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        ends = np.append(starts[1:], len(ordered))
        block = np.searchsorted(starts, self._positives, side="right") - 1
        self._start, self._end = starts[block], ends[block]
        self._positive_start = np.searchsorted(block, block, side="left")
        self._positive_end = np.searchsorted(block, block, side="right")

    def __call__(self, counts: np.ndarray) -> tuple[float, float]:
        weight = counts[self._codes]
        positive = weight[self._positives]
        rows = np.concatenate([[0], np.cumsum(weight)])
        positives = np.concatenate([[0], np.cumsum(positive)])
        n_positive = int(positives[-1])
        n_negative = int(rows[-1]) - n_positive
        if n_positive == 0:
            return np.nan, np.nan
        rows_end, positives_end = rows[self._end], positives[self._positive_end]
        precision = positives_end / np.maximum(rows_end, 1)  # a block of weight 0 holds no positive
        average_precision = _total(positive, precision) / n_positive
        if n_negative == 0:
            return np.nan, average_precision
        negatives_start = rows[self._start] - positives[self._positive_start]
        negatives_end = rows_end - positives_end
        ranked_below = n_negative - (negatives_start + negatives_end) / 2
        return _total(positive, ranked_below) / (n_positive * n_negative), average_precision
