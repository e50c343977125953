"""The frames of an importance report, each from ready predictions or a trained booster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from hybrid.boosters.base import Booster
from hybrid.languages import message
from hybrid.matrix import TEXT_HEAD, FeatureMatrix
from hybrid.metrics import row_losses
from hybrid.reports.importance import OnStep, coordinate_runs, mean_shap, permutation_rises
from hybrid.reports.inference import Ordering, Statistic, holm, mean

MODEL = "model"
BASE_RATE = "base rate"
_BOUNDS = {"log_loss": (0.0, np.inf)}
"""What a metric can be, where that is not 0 to 1."""

_COMPARED = {
    "metric": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "difference": pl.Float64,
    "difference_low": pl.Float64,
    "difference_high": pl.Float64,
}


def metric_statistics(y: np.ndarray, proba: np.ndarray) -> dict[str, Statistic]:
    """The metrics that a report shows, by their names."""
    loss = mean(row_losses(y, proba))
    if proba.shape[1] != 2:
        return {"log_loss": loss, "accuracy": mean((proba.argmax(axis=1) == y).astype(np.float64))}
    ordering = Ordering(y == 1, proba[:, 1])
    return {"log_loss": loss, "roc_auc": ordering.roc_auc(), "average_precision": ordering.average_precision()}


def base_rate(y: np.ndarray, n_classes: int) -> np.ndarray:
    """The probabilities of one who knows the classes' shares in these rows and nothing else, float64 of shape (n_rows, n_classes)."""
    shares = np.bincount(y, minlength=n_classes) / len(y)
    return np.tile(shares, (len(y), 1))


def comparison(kind: str, y: np.ndarray, probas: Mapping[str, np.ndarray], groups: np.ndarray | None) -> pl.DataFrame:
    """Metrics of several models with intervals, and their paired differences to the first model.

    Parameters
    ----------
    kind : str
        Name of the first column, which holds the models' names.
    y : numpy.ndarray of int64, shape (n_rows,)
    probas : mapping of str to numpy.ndarray of shape (n_rows, n_classes)
    groups : numpy.ndarray of int64, shape (n_rows,), optional
        Codes of what counts as one.

    Returns
    -------
    polars.DataFrame
        ``{kind}, metric, value, low, high, difference, difference_low, difference_high``.
    """
    reference: dict[str, Statistic] = {}
    rows = []
    for model, proba in probas.items():
        found = metric_statistics(y, proba)
        reference = reference or found
        for name, statistic in found.items():
            value, gap = statistic.estimate(groups), (statistic - reference[name]).estimate(groups)
            ends = value.interval(*_BOUNDS.get(name, (0.0, 1.0)))
            rows.append((model, name, value.value, *ends, gap.value, *gap.interval()))
    return pl.DataFrame(rows, schema={kind: pl.String, **_COMPARED}, orient="row")


def no_comparison(kind: str) -> pl.DataFrame:
    """The empty frame of `comparison`."""
    return pl.DataFrame(schema={kind: pl.String, **_COMPARED})


@dataclass(frozen=True)
class Attributions:
    """SHAP and gain of columns and of sets of them, greatest SHAP first; ``ImportanceReport`` says what each frame holds."""

    groups: pl.DataFrame
    columns: pl.DataFrame
    coordinates: pl.DataFrame
    families: pl.DataFrame
    by_class: pl.DataFrame
    shap_gap: float


def attribution_tables(
    booster: Booster,
    matrix: FeatureMatrix,
    classes: Sequence[Any],
    rows_as_one: np.ndarray | None,
    on_step: OnStep | None,
) -> Attributions:
    """SHAP and gain of groups, of columns, of runs of coordinates and of families of behaviour features; errors are over ``rows_as_one``,
    codes of rows that were drawn together."""
    runs, families = coordinate_runs(matrix.columns), _families(matrix)
    sets = [*map(matrix.positions, matrix.groups), *(places for _, places in runs), *families.values()]
    margin_set = None if matrix.margin is None else matrix.groups.index(TEXT_HEAD)
    shap = mean_shap(booster, matrix, sets, on_step, margin_set)
    n_groups, n_runs = len(matrix.groups), len(runs)
    of_columns, of_sets = (_with_error(found, rows_as_one) for found in (shap.columns, shap.sets))
    gain = booster.gain()
    groups = pl.DataFrame({"group": list(matrix.groups)}).hstack(of_sets[:n_groups])
    groups = groups.hstack(_shares(shap.sets[:n_groups], rows_as_one))
    columns = pl.DataFrame(
        {
            "column": [column.name for column in matrix.columns],
            "group": [column.group for column in matrix.columns],
            "gain": gain,
        }
    )
    coordinates = pl.DataFrame(
        {
            "coordinates": [stem for stem, _ in runs],
            "group": [matrix.columns[positions[0]].group for _, positions in runs],
            "columns": [len(positions) for _, positions in runs],
            "gain": [float(gain[positions].sum()) for _, positions in runs],
        },
        schema={"coordinates": pl.String, "group": pl.String, "columns": pl.Int64, "gain": pl.Float64},
    )
    in_families = pl.DataFrame(
        {
            "group": [group for group, _ in families],
            "family": [family for _, family in families],
            "columns": [len(places) for places in families.values()],
            "gain": [float(gain[places].sum()) for places in families.values()],
        },
        schema={"group": pl.String, "family": pl.String, "columns": pl.Int64, "gain": pl.Float64},
    )
    return Attributions(
        groups=_strongest_first(groups),
        columns=_strongest_first(columns.hstack(of_columns)),
        coordinates=_strongest_first(coordinates.hstack(of_sets[n_groups : n_groups + n_runs])),
        families=_strongest_first(in_families.hstack(of_sets[n_groups + n_runs :])),
        by_class=_by_class(shap.by_margin[:, :n_groups], matrix, classes),
        shap_gap=shap.gap,
    )


def _with_error(found: Sequence[Statistic], rows_as_one: np.ndarray | None) -> pl.DataFrame:
    """``shap, shap_error``: means and their standard errors."""
    estimates = [statistic.estimate(rows_as_one) for statistic in found]
    return pl.DataFrame(
        {"shap": [one.value for one in estimates], "shap_error": [one.error for one in estimates]},
        schema={"shap": pl.Float64, "shap_error": pl.Float64},
    )


def _shares(groups: Sequence[Statistic], rows_as_one: np.ndarray | None) -> pl.DataFrame:
    """``shap_share, shap_share_low, shap_share_high``: of each group's mean in the sum of all."""
    total = max(sum(group.value for group in groups), np.finfo(np.float64).tiny)
    influence = np.sum([group.influence for group in groups], axis=0)
    shares = [
        Statistic(group.value / total, (group.influence - influence * group.value / total) / total).estimate(
            rows_as_one
        )
        for group in groups
    ]
    ends = [share.interval(0.0, 1.0) for share in shares]
    return pl.DataFrame(
        {
            "shap_share": [share.value for share in shares],
            "shap_share_low": [low for low, _ in ends],
            "shap_share_high": [high for _, high in ends],
        }
    )


def _strongest_first(table: pl.DataFrame) -> pl.DataFrame:
    return table.sort("shap", descending=True, maintain_order=True)


def _by_class(shap: np.ndarray, matrix: FeatureMatrix, classes: Sequence[Any]) -> pl.DataFrame:
    """``class, group, shap, shap_share``: of the margins of the classes; with two classes of the second one's, the only one."""
    names = [str(label) for label in (classes[1:] if len(classes) == 2 else classes)]
    totals = np.maximum(shap.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return pl.DataFrame(
        {
            "class": np.repeat(names, len(matrix.groups)).tolist(),
            "group": list(matrix.groups) * len(names),
            "shap": shap.ravel(),
            "shap_share": (shap / totals).ravel(),
        }
    )


def _families(matrix: FeatureMatrix) -> dict[tuple[str, str], np.ndarray]:
    """Positions of the columns of each family within each group."""
    found: dict[tuple[str, str], list[int]] = {}
    for place, column in enumerate(matrix.columns):
        if column.family:
            found.setdefault((column.group, column.family), []).append(place)
    return {name: np.array(places) for name, places in found.items()}


def permutation_table(
    booster: Booster,
    matrix: FeatureMatrix,
    y: np.ndarray,
    groups: np.ndarray | None,
    *,
    n_repeats: int,
    random_state: int,
    on_step: OnStep | None,
) -> pl.DataFrame:
    """``group, permutation, permutation_low, permutation_high, permutation_p, permutation_p_adjusted``: see ``ImportanceReport.groups``."""
    intact = row_losses(y, booster.predict_proba(matrix))
    rises = permutation_rises(
        booster, matrix, y, intact, n_repeats=n_repeats, random_state=random_state, on_step=on_step
    )
    found = [mean(rise).estimate(groups) for rise in rises.values()]
    p = np.array([rise.p_above_zero for rise in found])
    return pl.DataFrame(
        {
            "group": list(rises),
            "permutation": [rise.value for rise in found],
            "permutation_low": [rise.interval()[0] for rise in found],
            "permutation_high": [rise.interval()[1] for rise in found],
            "permutation_p": p,
            "permutation_p_adjusted": holm(p),
        },
        schema_overrides={"group": pl.String, "permutation": pl.Float64},
    )


def why_no_ablation(y: np.ndarray, wanted_folds: int, n_units: int) -> str:
    """The reason that no ablation can be made, or nothing."""
    if wanted_folds == 0:
        return message("it was switched off (ablation_folds=0)")
    if n_units < 2:
        return message("the rows form a single group, which no folds can split")
    if len(np.unique(y)) < 2:
        return message("the rows hold one class only, from which nothing can be learned")
    return ""
