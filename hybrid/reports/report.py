"""The importance report: which evidence a model's scores rest on, how good they are, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hybrid.boosters.base import Booster, TreeParameters
from hybrid.calibration import calibration_table, expected_calibration_error
from hybrid.errors import LabelError, ParameterError
from hybrid.holdout import assign_folds
from hybrid.matrix import FeatureMatrix
from hybrid.reports.importance import NOTHING_DROPPED, ablation_probas, sample_rows, shap_rows
from hybrid.reports.page import importance_page
from hybrid.reports.tables import (
    BASE_RATE,
    MODEL,
    attribution_tables,
    base_rate,
    comparison,
    no_comparison,
    permutation_table,
    why_no_ablation,
)

Progress = Callable[[str, int, int], None]
"""Called with the part of the report, its steps done and its steps in all."""


@dataclass(frozen=True)
class Basis:
    """What the numbers of a report rest on.

    Parameters
    ----------
    rows : int
        Rows of the metrics and the calibration.
    class_rows : tuple of int
        Rows of each class.
    row_groups : int, optional
        Groups of rows (users, sessions) that were resampled together; None where rows were resampled singly.
    sampled_rows, shap_rows : int
        Rows of permutation and ablation, and of SHAP.
    sampled_row_groups : int, optional
    n_repeats : int
        Permutations of each group.
    ablation_folds, rounds : int
        Folds of the ablation (0: none was made) and boosting rounds of each refit.
    no_ablation : str
        Why there is no ablation, or empty.
    """

    rows: int
    class_rows: tuple[int, ...]
    row_groups: int | None
    sampled_rows: int
    sampled_row_groups: int | None
    shap_rows: int
    n_repeats: int
    ablation_folds: int
    rounds: int
    no_ablation: str


@dataclass(frozen=True, eq=False)
class ImportanceReport:
    """Which evidence a model rests on, as Polars frames and as one page.

    Intervals are 95 % bootstrap percentiles over rows, or over groups of rows where groups were given; NaN where a number is not defined.

    Parameters
    ----------
    title : str
    classes : tuple
        Labels in code order.
    groups : polars.DataFrame
        ``group, shap, shap_share, permutation, permutation_low, permutation_high``, greatest SHAP first. ``shap`` is the mean over rows and
        margins of the absolute sum of the group's contributions, in margin units; ``permutation`` the rise of the log loss when the group's
        columns are taken from another row, all together, mean over the repeats. Its interval covers the drawing of the rows: it resamples
        each row's rise, already averaged over the repeats, with the trained model and the permutations held fixed.
    columns : polars.DataFrame
        ``column, group, gain, shap``, greatest SHAP first; every column of the matrix.
    coordinates : polars.DataFrame
        ``coordinates, group, columns, gain, shap``: runs of numbered columns (an embedding's coordinates) as one, ``shap`` of their sum.
    families : polars.DataFrame
        ``group, family, columns, gain, shap``: families of behaviour features within each group, ``shap`` of their columns' sum.
    ablation : polars.DataFrame
        ``dropped, metric, value, low, high, difference, difference_low, difference_high``: models refitted without a group, by
        cross-fitting on the report's own rows. "none" comes first; a difference is the row's value less that of "none" on the same
        resamples.
    metrics : polars.DataFrame
        ``model, metric, value, low, high, difference, difference_low, difference_high``: the model, the base rate and the baselines; a
        difference is the row's value less the model's on the same resamples.
    calibration : polars.DataFrame
        ``class, mean_predicted, observed, low, high, rows``; see `hybrid.calibration.calibration_table`.
    expected_calibration_error : float
    basis : Basis
    provenance : mapping
        Shown at the page's end.
    """

    title: str
    classes: tuple[Any, ...]
    groups: pl.DataFrame
    columns: pl.DataFrame
    coordinates: pl.DataFrame
    families: pl.DataFrame
    ablation: pl.DataFrame
    metrics: pl.DataFrame
    calibration: pl.DataFrame
    expected_calibration_error: float
    basis: Basis
    provenance: Mapping[str, Any]

    def save(self, path: str | Path, *, lang: str = "en") -> Path:
        """Write the report as one self-contained HTML file, under 5 MB.

        Parameters
        ----------
        path : str or Path
            Ends in ``.html``; its folder is made where it is missing.
        lang : {"en", "zh"}, default "en"
            The page's language: English or Chinese.

        Returns
        -------
        Path

        Raises
        ------
        ParameterError
            Another ending or language.
        """
        path = Path(path)
        if path.suffix.lower() != ".html":
            raise ParameterError(
                f"a report is saved as .html, not as {path.name!r}; its tables are Polars frames, to be written as you like"
            )
        page = importance_page(self, lang)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
        return path


def importance_report(
    *,
    matrix: FeatureMatrix,
    y: np.ndarray,
    booster: Booster,
    classes: Sequence[Any],
    parameters: TreeParameters,
    random_state: int,
    n_jobs: int | None,
    title: str,
    provenance: Mapping[str, Any],
    groups: np.ndarray | Sequence[Any] | None = None,
    baselines: Mapping[str, np.ndarray] | None = None,
    n_repeats: int = 5,
    max_rows: int = 50_000,
    ablation_folds: int = 3,
    progress: Progress | None = None,
) -> ImportanceReport:
    """Build a report of a trained booster on labelled rows.

    Parameters
    ----------
    matrix : FeatureMatrix
        With the booster's columns.
    y : numpy.ndarray of int64, shape (n_rows,)
        Class codes; classes may be absent.
    booster : Booster
    classes : sequence
        Labels in code order.
    parameters : TreeParameters
        Of the ablation's refits, which take ``booster.best_iteration`` rounds.
    random_state : int
    n_jobs : int, optional
    title : str
    provenance : mapping
        Versions, device, parameters and the like, shown at the page's end; a value may be a mapping.
    groups : array of shape (n_rows,), optional
        Ids of what is resampled and folded as one (users, sessions). The page never shows them.
    baselines : mapping of str to numpy.ndarray of shape (n_rows, n_classes), optional
        Probabilities of other models for the same rows, to show beside.
    n_repeats : int, default 5
        Permutations of each group.
    max_rows : int, default 50_000
        Rows drawn for permutation and ablation; SHAP takes 10,000 of them, fewer with many classes.
    ablation_folds : int, default 3
        0 leaves the ablation out.
    progress : callable, optional

    Returns
    -------
    ImportanceReport

    Raises
    ------
    LabelError
        No rows, or lengths that differ.
    ParameterError
        A parameter out of its range, or a baseline named as the report's own rows.
    """
    y = np.asarray(y)
    _check_rows(y, {"the matrix": matrix, "groups": groups, **(baselines or {})})
    _check_parameters(n_repeats=n_repeats, max_rows=max_rows, ablation_folds=ablation_folds)
    if taken := {MODEL, BASE_RATE} & set(baselines or {}):
        raise ParameterError(f"a baseline cannot be named {taken.pop()!r}: the report has a row of that name")
    say: Progress = progress or (lambda part, done, total: None)
    units = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    class_rows = tuple(np.bincount(y, minlength=len(classes)).tolist())

    say("metrics", 0, 1)
    proba = booster.predict_proba(matrix)
    models = {MODEL: proba, BASE_RATE: base_rate(y, len(classes)), **(baselines or {})}
    metrics = comparison("model", y, models, units, random_state)
    calibration = calibration_table(y, proba, list(classes))
    say("metrics", 1, 1)

    index = sample_rows(len(y), units, max_rows, random_state)
    some = matrix if len(index) == len(y) else matrix.rows(index)
    y, units_some = y[index], None if units is None else units[index]
    shap_index = sample_rows(len(index), None, shap_rows(len(classes)), random_state)
    attributed = attribution_tables(booster, some.rows(shap_index), partial(say, "SHAP"))
    permutation = permutation_table(
        booster,
        some,
        y,
        units_some,
        n_repeats=n_repeats,
        random_state=random_state,
        on_step=partial(say, "permutation"),
    )
    n_units = len(index) if units_some is None else len(np.unique(units_some))
    no_ablation = why_no_ablation(y, ablation_folds, n_units)
    n_folds = 0 if no_ablation else min(ablation_folds, n_units)
    ablation = no_comparison("dropped")
    if n_folds:
        folds = assign_folds(y, units_some, n_folds, random_state)
        rounds = replace(parameters, n_estimators=max(1, booster.best_iteration))
        refits = ablation_probas(
            booster,
            some,
            y,
            folds,
            parameters=rounds,
            random_state=random_state,
            n_jobs=n_jobs,
            on_step=partial(say, "ablation"),
        )
        in_order = {name: refits[name] for name in (NOTHING_DROPPED, *attributed.groups["group"]) if name in refits}
        ablation = comparison("dropped", y, in_order, units_some, random_state)

    return ImportanceReport(
        title=title,
        classes=tuple(classes),
        groups=attributed.groups.join(permutation, on="group", how="left", maintain_order="left"),
        columns=attributed.columns,
        coordinates=attributed.coordinates,
        families=attributed.families,
        ablation=ablation,
        metrics=metrics,
        calibration=calibration,
        expected_calibration_error=expected_calibration_error(calibration),
        basis=Basis(
            rows=len(proba),
            class_rows=class_rows,
            row_groups=None if units is None else int(units.max()) + 1,
            sampled_rows=len(index),
            sampled_row_groups=None if units is None else n_units,
            shap_rows=len(shap_index),
            n_repeats=n_repeats,
            ablation_folds=n_folds,
            rounds=booster.best_iteration,
            no_ablation=no_ablation,
        ),
        provenance=dict(provenance),
    )


def _check_rows(y: np.ndarray, others: Mapping[str, Any]) -> None:
    if len(y) == 0:
        raise LabelError("a report needs at least one row")
    for name, other in others.items():
        if other is not None and len(other) != len(y):
            raise LabelError(f"{name}: {len(other)} rows for {len(y)} labels")


def _check_parameters(*, n_repeats: int, max_rows: int, ablation_folds: int) -> None:
    if n_repeats < 1:
        raise ParameterError(f"n_repeats must be at least 1, not {n_repeats}")
    if max_rows < 2:
        raise ParameterError(f"max_rows must be at least 2, not {max_rows}")
    if ablation_folds < 0 or ablation_folds == 1:
        raise ParameterError(f"ablation_folds must be 0 (no ablation) or at least 2, not {ablation_folds}")
