"""One training watched round by round: reporting, early stopping and the best round, alike for every booster."""

from __future__ import annotations

import numpy as np

from hybrid.boosters.base import BinnedData, OnRound
from hybrid.errors import LabelError, ParameterError
from hybrid.metrics import Metric


def check_watch(
    valid: BinnedData | None,
    metric: Metric,
    n_classes: int,
    early_stopping_rounds: int | None,
    on_round: OnRound | None,
) -> None:
    """Early stopping and reporting need validation data, and those must define the metric."""
    if valid is None and (early_stopping_rounds is not None or on_round is not None):
        raise ParameterError("early_stopping_rounds and on_round follow a validation metric: pass valid as well")
    if early_stopping_rounds is not None and early_stopping_rounds < 1:
        raise ParameterError(f"early_stopping_rounds must be at least 1, not {early_stopping_rounds}")
    if valid is not None and np.isnan(metric(valid.y, np.full((valid.n_rows, n_classes), 1 / n_classes), valid.weight)):
        raise LabelError(f"{metric.name} cannot be computed on the {valid.n_rows} validation rows: they lack a class")


class RoundWatch:
    """Follows the validation metric of one training.

    Parameters
    ----------
    metric : Metric
    early_stopping_rounds : int, optional
        Rounds without improvement after which to stop; without it training runs to the end and the last round counts as the best.
    on_round : callable, optional
        Gets every round and its value; what it raises ends the training.
    """

    def __init__(self, metric: Metric, early_stopping_rounds: int | None, on_round: OnRound | None) -> None:
        self._greater_is_better = metric.greater_is_better
        self._patience = early_stopping_rounds
        self._on_round = on_round
        self._best_value = -np.inf
        self._best_round = -1

    def see(self, round_: int, value: float) -> bool:
        """Take the metric's value after a round (from 0); True when the training should stop."""
        signed = value if self._greater_is_better else -value
        if signed > self._best_value:
            self._best_value, self._best_round = signed, round_
        if self._on_round is not None:
            self._on_round(round_, value)
        return self._patience is not None and round_ - self._best_round >= self._patience

    def best_iteration(self, n_rounds: int) -> int:
        """How many of the ``n_rounds`` trained rounds predictions should use."""
        return n_rounds if self._patience is None or self._best_round < 0 else min(self._best_round + 1, n_rounds)
