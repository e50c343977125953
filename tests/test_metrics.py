"""Metrics against scikit-learn, bootstrap against resampled rows and known standard errors."""

import warnings

import numpy as np
import pytest
import sklearn.metrics as skm

from hybrid.errors import LabelError, ParameterError
from hybrid.metrics import METRICS, Bootstrap, Interval, bootstrap, bootstrap_difference, metric
from hybrid.weighted_metrics import WeightedMetrics

BINARY = list(METRICS)
MULTI = [name for name in METRICS if name != "brier_score_loss"]


def scores(n_classes: int, n: int = 300, ties: bool = False, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities that know something of them."""
    rng = np.random.default_rng(seed)
    y = rng.choice(n_classes, size=n, p=np.arange(1, n_classes + 1) / np.arange(1, n_classes + 1).sum())
    logits = rng.normal(size=(n, n_classes)) + 1.2 * np.eye(n_classes)[y]
    if ties:
        logits = np.round(logits)
    if n_classes == 2:
        positive = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
        return y, np.column_stack([1 - positive, positive]).astype(np.float32)
    proba = np.exp(logits)
    return y, (proba / proba.sum(axis=1, keepdims=True)).astype(np.float32)


def truth(name: str, y: np.ndarray, proba: np.ndarray, weight: np.ndarray | None = None) -> float:
    """scikit-learn, called as its documentation says for this metric and number of classes."""
    binary, predicted = proba.shape[1] == 2, proba.argmax(axis=1)
    one_hot = np.eye(proba.shape[1])[y]
    match name:
        case "log_loss":
            return skm.log_loss(y, proba, sample_weight=weight)
        case "roc_auc" if binary:
            return skm.roc_auc_score(y, proba[:, 1], sample_weight=weight)
        case "roc_auc":
            return skm.roc_auc_score(y, proba, multi_class="ovr", average="macro", sample_weight=weight)
        case "average_precision" if binary:
            return skm.average_precision_score(y, proba[:, 1], sample_weight=weight)
        case "average_precision":
            return skm.average_precision_score(one_hot, proba, average="macro", sample_weight=weight)
        case "accuracy":
            return skm.accuracy_score(y, predicted, sample_weight=weight)
        case "balanced_accuracy":
            return skm.balanced_accuracy_score(y, predicted, sample_weight=weight)
        case "f1_macro":
            return skm.f1_score(y, predicted, average="macro", sample_weight=weight)
        case "brier_score_loss":
            return skm.brier_score_loss(y, proba[:, 1], sample_weight=weight)
    raise AssertionError(name)


CASES = [(name, 2) for name in BINARY] + [(name, 4) for name in MULTI]


@pytest.mark.parametrize(("name", "n_classes"), CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_metric_is_scikit_learns(name: str, n_classes: int, weighted: bool) -> None:
    y, proba = scores(n_classes)
    weight = np.random.default_rng(1).uniform(0.1, 3, len(y)) if weighted else None
    assert metric(name)(y, proba, weight) == pytest.approx(truth(name, y, proba, weight), abs=1e-12)


@pytest.mark.parametrize("name", BINARY)
def test_greater_is_better_says_which_way(name: str) -> None:
    y, proba = scores(2)
    better = 0.5 * proba + 0.5 * np.eye(2, dtype=np.float32)[y]
    improved = metric(name)(y, better) > metric(name)(y, proba)
    assert improved == metric(name).greater_is_better


@pytest.mark.parametrize("n_classes", [2, 3])
def test_rows_without_a_class(n_classes: int) -> None:
    """A missing class leaves threshold metrics and log loss defined and makes ranking undefined, without a warning."""
    y, proba = scores(n_classes)
    keep = y != 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = {name: m(y[keep], proba[keep]) for name, m in METRICS.items() if n_classes == 2 or not m.binary_only}
    assert np.isnan(values.pop("roc_auc"))
    assert np.isnan(values.pop("average_precision"))
    assert not np.isnan(list(values.values())).any()
    expected = -np.log(proba[keep][np.arange(keep.sum()), y[keep]]).mean()
    assert values["log_loss"] == pytest.approx(expected, rel=1e-5)
    assert values["balanced_accuracy"] == pytest.approx(
        np.mean([(proba.argmax(axis=1) == y)[y == k].mean() for k in np.unique(y[keep])])
    )


def test_unknown_and_undefined_metrics() -> None:
    with pytest.raises(ParameterError, match="did you mean 'roc_auc'"):
        metric("auc_roc")
    with pytest.raises(ParameterError, match="two classes, the labels have 3"):
        metric("brier_score_loss", n_classes=3)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_row_counts_are_repeated_rows(n_classes: int, ties: bool) -> None:
    """Weighing groups of rows by counts gives what scikit-learn gives on the rows repeated as often."""
    y, proba = scores(n_classes, ties=ties)
    rng = np.random.default_rng(2)
    groups = rng.integers(0, 80, len(y))
    names = BINARY if n_classes == 2 else MULTI
    weighted = WeightedMetrics(names, y, proba, groups, 80)
    for _ in range(5):
        counts = rng.poisson(1.0, 80)
        rows = np.repeat(np.arange(len(y)), counts[groups])
        np.testing.assert_allclose(
            weighted(counts), [truth(name, y[rows], proba[rows]) for name in names], rtol=1e-6, err_msg=str(names)
        )


def test_row_counts_that_leave_a_class_out() -> None:
    y = np.array([0, 0, 1, 2, 2, 1])
    _, proba = scores(3, n=6)
    counts = np.array([1, 2, 0, 3, 1, 0])  # no row of class 1
    weighted = dict(zip(MULTI, WeightedMetrics(MULTI, y, proba, np.arange(6), 6)(counts), strict=True))
    rows = np.repeat(np.arange(6), counts)
    assert np.isnan([weighted.pop("roc_auc"), weighted.pop("average_precision")]).all()
    for name, value in weighted.items():
        assert value == pytest.approx(metric(name)(y[rows], proba[rows]), rel=1e-6), name


def test_interval_has_the_width_of_the_standard_error() -> None:
    y, proba = scores(2, n=4000)
    found = bootstrap("accuracy", y, proba, n_resamples=2000)
    accuracy = truth("accuracy", y, proba)
    error = np.sqrt(accuracy * (1 - accuracy) / len(y))
    assert found.value == pytest.approx(accuracy)
    assert found.low == pytest.approx(accuracy - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(accuracy + 1.96 * error, abs=0.15 * error)
    narrow = bootstrap("accuracy", y, proba, n_resamples=2000, confidence=0.5)
    assert narrow.high - narrow.low == pytest.approx(2 * 0.6745 * error, rel=0.1)


@pytest.mark.parametrize("name", ["roc_auc", "log_loss"])
def test_groups_are_drawn_whole(name: str) -> None:
    """Rows copied nine times within their group carry no new information; drawn as rows they would pretend to."""
    y, proba = scores(2)
    groups = np.array([f"household {i}" for i in range(len(y))])
    copied = bootstrap(name, np.tile(y, 9), np.tile(proba, (9, 1)), groups=np.tile(groups, 9))
    single = bootstrap(name, y, proba, groups=groups)
    as_rows = bootstrap(name, np.tile(y, 9), np.tile(proba, (9, 1)))
    assert (copied.low, copied.high) == pytest.approx((single.low, single.high), rel=1e-6)
    assert as_rows.high - as_rows.low == pytest.approx((single.high - single.low) / 3, rel=0.2)


def test_differences_are_paired() -> None:
    y, proba = scores(2, n=2000)
    slightly_worse = 0.9 * proba + 0.05
    a, b = bootstrap("log_loss", y, proba), bootstrap("log_loss", y, slightly_worse)
    difference = bootstrap_difference("log_loss", y, proba, slightly_worse)
    assert difference.value == pytest.approx(a.value - b.value)
    assert difference.low < difference.value < difference.high
    assert difference.high - difference.low < 0.5 * (a.high - a.low)
    assert bootstrap_difference("roc_auc", y, proba, proba) == Interval(0.0, 0.0, 0.0)


def test_many_models_and_metrics_share_resamples() -> None:
    y, proba = scores(3)
    other = scores(3, seed=5)[1]
    groups = np.arange(len(y)) // 3
    table = Bootstrap(
        y, {"one": proba, "two": other}, ["f1_macro", "roc_auc"], groups=groups, n_resamples=100, random_state=3
    )
    for name in ("f1_macro", "roc_auc"):
        options = {"groups": groups, "n_resamples": 100, "random_state": 3}
        assert table.interval("two", name) == bootstrap(name, y, other, **options)
        assert table.difference("one", "two", name) == bootstrap_difference(name, y, proba, other, **options)


def test_resamples_without_a_positive_are_left_out() -> None:
    y, proba = scores(2, n=40)
    y[:] = 0
    y[7] = 1
    found = bootstrap("roc_auc", y, proba)
    assert 0 <= found.low <= found.high <= 1
    y[7] = 0
    assert np.isnan([found.value for found in [bootstrap("roc_auc", y, proba)]]).all()


def test_bootstrap_refuses_what_does_not_fit() -> None:
    y, proba = scores(2)
    with pytest.raises(LabelError, match="300 labels"):
        bootstrap("roc_auc", y, proba[:-1])
    with pytest.raises(LabelError, match="group ids of 2 rows"):
        bootstrap("roc_auc", y, proba, groups=[1, 2])
    with pytest.raises(ParameterError, match="confidence"):
        bootstrap("roc_auc", y, proba, n_resamples=2, confidence=95)
