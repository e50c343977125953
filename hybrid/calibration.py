"""Whether probabilities can be taken at their word: predicted against observed shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

PREDICTED_CLASS = "predicted class"
N_BINS = 10


def calibration_table(y: np.ndarray, proba: np.ndarray, classes: list[Any], n_bins: int = N_BINS) -> pl.DataFrame:
    """Compare predicted probabilities with observed shares in bins of equally many rows.

    Parameters
    ----------
    y : numpy.ndarray of int64, shape (n_rows,)
        Class codes.
    proba : numpy.ndarray, shape (n_rows, n_classes)
    classes : list
        Labels in code order.
    n_bins : int, default 10
        At most so many bins; rows of equal probability are never parted, so there may be fewer.

    Returns
    -------
    polars.DataFrame
        ``class, mean_predicted, observed, low, high, rows``, with 95 % Wilson intervals of the observed share (rows taken as independent).
        For two classes the bins of the second one. For more, first the bins of the probability of the class that each row is predicted as
        (``class`` is "predicted class", ``observed`` the share of right predictions), then of each class against all others.
    """
    if len(classes) == 2:
        return _bins(str(classes[1]), proba[:, 1], y == 1, n_bins)
    predicted = proba.argmax(axis=1)
    parts = [_bins(PREDICTED_CLASS, proba.max(axis=1), predicted == y, n_bins)]
    parts += [_bins(str(label), proba[:, k], y == k, n_bins) for k, label in enumerate(classes)]
    return pl.concat(parts)


def expected_calibration_error(table: pl.DataFrame) -> float:
    """The mean gap between predicted and observed, weighted by rows, over the first class of a calibration table.

    For two classes that is the second class; for more, the predicted class (Guo et al., "On Calibration of Modern Neural Networks", 2017,
    with bins of equally many rows).
    """
    first = table.filter(pl.col("class") == pl.col("class").first())
    gap = np.abs(first["mean_predicted"].to_numpy() - first["observed"].to_numpy())
    return float(np.average(gap, weights=first["rows"].to_numpy()))


def wilson(successes: np.ndarray, trials: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % score interval of a share (Wilson 1927)."""
    z = 1.959963984540054
    share = successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def bin_codes(probability: np.ndarray, n_bins: int) -> np.ndarray:
    """The bin of each probability, int64: bins of equally many rows, those of equal probability never parted."""
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, n_bins + 1)[1:-1], method="inverted_cdf"))
    return np.searchsorted(edges, probability, side="left")


def _bins(label: str, probability: np.ndarray, hit: np.ndarray, n_bins: int) -> pl.DataFrame:
    p = probability.astype(np.float64)
    code = bin_codes(p, n_bins)
    rows = np.bincount(code)
    filled = rows > 0
    rows = rows[filled]
    hits = np.bincount(code, weights=hit)[filled]
    low, high = wilson(hits, rows)
    return pl.DataFrame(
        {
            "class": [label] * len(rows),
            "mean_predicted": np.bincount(code, weights=p)[filled] / rows,
            "observed": hits / rows,
            "low": low,
            "high": high,
            "rows": rows,
        }
    )
