"""The metrics that models are compared by, and bootstrap intervals around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import sklearn.metrics as skm
from sklearn.preprocessing import label_binarize

from hybrid.errors import LabelError, ParameterError
from hybrid.weighted_metrics import WeightedMetrics


@dataclass(frozen=True)
class Metric:
    """A number that says how good class probabilities are; computed by scikit-learn, under its name.

    Parameters
    ----------
    name : str
    greater_is_better : bool
    function : callable
        ``(y, proba, weight) -> float``.
    binary_only : bool, default False
        Defined for two classes only.
    """

    name: str
    greater_is_better: bool
    function: Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]
    binary_only: bool = False

    def __call__(self, y: np.ndarray, proba: np.ndarray, weight: np.ndarray | None = None) -> float:
        """The metric's value.

        Parameters
        ----------
        y : numpy.ndarray of int64, shape (n_rows,)
            Class codes, 0 .. n_classes - 1; a class may be absent.
        proba : numpy.ndarray, shape (n_rows, n_classes)
        weight : numpy.ndarray, shape (n_rows,), optional
            Weights of rows.

        Returns
        -------
        float
            NaN where the rows lack a class that the metric needs.
        """
        return float(self.function(y, proba, weight))


def metric(name: str, n_classes: int | None = None) -> Metric:
    """The metric of that name.

    Parameters
    ----------
    name : str
        One of ``METRICS``.
    n_classes : int, optional
        Checks that the metric is defined for so many classes.

    Raises
    ------
    ParameterError
        No such metric (the message names the closest one), or none for this number of classes.

    Examples
    --------
    >>> metric("roc_auc").greater_is_better
    True
    """
    if name not in METRICS:
        close = get_close_matches(str(name), METRICS, n=1, cutoff=0.0)
        raise ParameterError(f"no metric {name!r}; did you mean {close[0]!r}? There are: {', '.join(METRICS)}")
    found = METRICS[name]
    if found.binary_only and n_classes is not None and n_classes != 2:
        raise ParameterError(f"metric {name!r} is defined for two classes, the labels have {n_classes}")
    return found


def _log_loss(y: np.ndarray, proba: np.ndarray, weight: np.ndarray | None) -> float:
    return skm.log_loss(y, proba, sample_weight=weight, labels=np.arange(proba.shape[1]))


def _roc_auc(y: np.ndarray, proba: np.ndarray, weight: np.ndarray | None) -> float:
    if len(np.unique(y)) < proba.shape[1]:
        return np.nan
    return skm.roc_auc_score(*_one_vs_rest(y, proba), average="macro", sample_weight=weight)


def _average_precision(y: np.ndarray, proba: np.ndarray, weight: np.ndarray | None) -> float:
    positives = np.bincount(y, minlength=proba.shape[1])
    if positives[1] == 0 if proba.shape[1] == 2 else (positives == 0).any():
        return np.nan
    return skm.average_precision_score(*_one_vs_rest(y, proba), average="macro", sample_weight=weight)


def _one_vs_rest(y: np.ndarray, proba: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores of the binary questions "this class or another": one for two classes, else one a class."""
    if proba.shape[1] == 2:
        return y, proba[:, 1]
    return label_binarize(y, classes=np.arange(proba.shape[1])), proba


def _accuracy(y: np.ndarray, proba: np.ndarray, weight: np.ndarray | None) -> float:
    return skm.accuracy_score(y, proba.argmax(axis=1), sample_weight=weight)


def _balanced_accuracy(y: np.ndarray, proba: np.ndarray, weight: np.ndarray | None) -> float:
    # The mean recall over the classes that y holds. balanced_accuracy_score is that too, but warns of predicted classes that y lacks.
    return skm.recall_score(y, proba.argmax(axis=1), labels=np.unique(y), average="macro", sample_weight=weight)


def _f1_macro(y: np.ndarray, proba: np.ndarray, weight: np.ndarray | None) -> float:
    return skm.f1_score(y, proba.argmax(axis=1), average="macro", sample_weight=weight)


def _brier(y: np.ndarray, proba: np.ndarray, weight: np.ndarray | None) -> float:
    return skm.brier_score_loss(y, proba[:, 1], sample_weight=weight, pos_label=1)


METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric("log_loss", False, _log_loss),
        Metric("roc_auc", True, _roc_auc),
        Metric("average_precision", True, _average_precision),
        Metric("accuracy", True, _accuracy),
        Metric("balanced_accuracy", True, _balanced_accuracy),
        Metric("f1_macro", True, _f1_macro),
        Metric("brier_score_loss", False, _brier, binary_only=True),
    )
}


def row_losses(y: np.ndarray, proba: np.ndarray) -> np.ndarray:
    """The log loss of each row, float64; probabilities are clipped by their dtype's epsilon, as scikit-learn clips them."""
    eps = np.finfo(proba.dtype).eps
    return -np.log(np.clip(proba[np.arange(len(y)), y].astype(np.float64), eps, 1 - eps))


@dataclass(frozen=True)
class Interval:
    """A value with the bounds that a bootstrap puts around it; NaN where no resample defines it."""

    value: float
    low: float
    high: float


class Bootstrap:
    """Metrics of several models on the same rows, each over the same resamples, so that differences are paired.

    Parameters
    ----------
    y : numpy.ndarray of int64, shape (n_rows,)
        Class codes.
    probas : mapping of str to numpy.ndarray of shape (n_rows, n_classes)
        Class probabilities by the model's name.
    metrics : sequence of str
    groups : array of shape (n_rows,), optional
        Ids of what is drawn, all its rows together (a household, a session); by default each row is its own group.
    n_resamples : int, default 500
    random_state : int, default 0

    Examples
    --------
    >>> y = np.array([0, 1, 0, 1])
    >>> good = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])
    >>> table = Bootstrap(y, {"good": good, "even": np.full((4, 2), 0.5)}, ["accuracy"], n_resamples=100)
    >>> table.interval("good", "accuracy")
    Interval(value=1.0, low=1.0, high=1.0)
    >>> table.difference("good", "even", "accuracy").value
    0.5
    """

    def __init__(
        self,
        y: np.ndarray,
        probas: Mapping[str, np.ndarray],
        metrics: Sequence[str],
        *,
        groups: np.ndarray | Sequence[object] | None = None,
        n_resamples: int = 500,
        random_state: int = 0,
    ) -> None:
        for name, proba in probas.items():
            if len(proba) != len(y):
                raise LabelError(f"{name}: probabilities of {len(proba)} rows for {len(y)} labels")
        if n_resamples < 1:
            raise ParameterError(f"n_resamples must be at least 1, not {n_resamples}")
        if groups is not None and len(groups) != len(y):
            raise LabelError(f"group ids of {len(groups)} rows for {len(y)} labels")
        chosen = {name: metric(name, proba.shape[1]) for proba in probas.values() for name in metrics}
        self._values = {(model, name): m(y, proba) for model, proba in probas.items() for name, m in chosen.items()}

        codes = np.arange(len(y)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        n_groups = int(codes.max()) + 1
        models = [WeightedMetrics(tuple(chosen), y, proba, codes, n_groups) for proba in probas.values()]
        drawn = np.array(
            [[model(counts) for model in models] for counts in _resamples(n_groups, n_resamples, random_state)]
        )
        self._drawn = {(model, name): drawn[:, i, j] for i, model in enumerate(probas) for j, name in enumerate(chosen)}

    def interval(self, model: str, metric: str, confidence: float = 0.95) -> Interval:
        """The model's metric with its percentile interval."""
        return _percentiles(self._values[model, metric], self._drawn[model, metric], confidence)

    def difference(self, model: str, other: str, metric: str, confidence: float = 0.95) -> Interval:
        """The paired difference ``model - other`` of a metric with its percentile interval."""
        value = self._values[model, metric] - self._values[other, metric]
        return _percentiles(value, self._drawn[model, metric] - self._drawn[other, metric], confidence)


def bootstrap(
    metric: str,
    y: np.ndarray,
    proba: np.ndarray,
    *,
    groups: np.ndarray | Sequence[object] | None = None,
    n_resamples: int = 500,
    random_state: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """One model's metric with its interval; the parameters are `Bootstrap`'s."""
    table = Bootstrap(y, {"model": proba}, [metric], groups=groups, n_resamples=n_resamples, random_state=random_state)
    return table.interval("model", metric, confidence)


def bootstrap_difference(
    metric: str,
    y: np.ndarray,
    proba_a: np.ndarray,
    proba_b: np.ndarray,
    *,
    groups: np.ndarray | Sequence[object] | None = None,
    n_resamples: int = 500,
    random_state: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """The paired difference ``a - b`` of two models' metric with its interval; the parameters are `Bootstrap`'s."""
    models = {"a": proba_a, "b": proba_b}
    table = Bootstrap(y, models, [metric], groups=groups, n_resamples=n_resamples, random_state=random_state)
    return table.difference("a", "b", metric, confidence)


def _resamples(n_groups: int, n_resamples: int, random_state: int) -> Iterator[np.ndarray]:
    """How often each group is drawn when ``n_groups`` are drawn with replacement, int64, one array a resample."""
    rng = np.random.default_rng(random_state)
    for _ in range(n_resamples):
        yield np.bincount(rng.integers(0, n_groups, size=n_groups), minlength=n_groups)


def _percentiles(value: float, drawn: np.ndarray, confidence: float) -> Interval:
    if not 0 < confidence < 1:
        raise ParameterError(f"confidence must lie between 0 and 1, not {confidence}")
    defined = drawn[~np.isnan(drawn)]
    if len(defined) == 0:
        return Interval(value, np.nan, np.nan)
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high))
