"""From margins to probabilities that hold: one temperature and a bias for each class, fitted on rows that the trees did not see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

CALIBRATIONS = (None, "temperature")
_COLDEST, _HOTTEST = 0.05, 20.0


@dataclass(frozen=True)
class Calibrator:
    """Margins divided by one temperature, plus a bias for each class.

    The temperature mends scores that are too sure or too timid; the biases mend what class weights did, which move the margin of each
    class by a constant (Alexandari et al., "Maximum Likelihood with Bias-Corrected Calibration is Hard-To-Beat at Label Shift
    Adaptation", 2020). For two classes it is Platt's scaling, which leaves the order of rows as it is.

    Parameters
    ----------
    temperature : float
    biases : tuple of float
        One for each class, their sum 0.
    """

    temperature: float
    biases: tuple[float, ...]

    @classmethod
    def fit(cls, margin: np.ndarray, codes: np.ndarray, n_classes: int, weight: np.ndarray | None = None) -> Self:
        """The temperature, between 0.05 and 20, and the biases of the least log loss.

        A row of a class with n rows is taken as that class with (n + 1) / (n + 2), and as the others with what is left (Platt,
        "Probabilistic Outputs for Support Vector Machines", 1999): so few rows, or a class without any, promise nothing.

        Parameters
        ----------
        margin : numpy.ndarray, shape (n_rows, n_margins)
            As from ``Booster.margin``.
        codes : numpy.ndarray of int64, shape (n_rows,)
        n_classes : int
        weight : numpy.ndarray, shape (n_rows,), optional
            Weights of rows, without those of classes.
        """
        logits = _logits(margin)
        weight = np.ones(len(codes)) if weight is None else weight
        counts = np.bincount(codes, weights=weight, minlength=n_classes)
        soft = np.broadcast_to(1 / (counts + 2) / (n_classes - 1), (n_classes, n_classes)).T.copy()
        np.fill_diagonal(soft, (counts + 1) / (counts + 2))
        targets, share = soft[codes], (weight / weight.sum())[:, None]

        def loss(found: np.ndarray) -> tuple[float, np.ndarray]:
            logs = log_softmax(found[0] * logits + found[1:], axis=1)
            slopes = share * (np.exp(logs) - targets)
            return float(-(share * targets * logs).sum()), np.append((slopes * logits).sum(), slopes.sum(axis=0))

        found = minimize(
            loss,
            np.append(1.0, np.zeros(n_classes)),
            jac=True,
            method="L-BFGS-B",
            bounds=[(1 / _HOTTEST, 1 / _COLDEST), *[(None, None)] * n_classes],
            options={"maxiter": 1_000, "ftol": 1e-14, "gtol": 1e-8},
        ).x
        return cls(float(1 / found[0]), tuple((found[1:] - found[1:].mean()).tolist()))

    def probabilities(self, margin: np.ndarray) -> np.ndarray:
        """Class probabilities of margins, float32 of shape (n_rows, n_classes)."""
        return softmax(_logits(margin) / self.temperature + np.array(self.biases), axis=1).astype(np.float32)


def _logits(margin: np.ndarray) -> np.ndarray:
    """Margins with a column for each class, float64: of two classes the first one's is 0."""
    logits = margin.astype(np.float64)
    return np.concatenate([np.zeros_like(logits), logits], axis=1) if margin.shape[1] == 1 else logits
