"""Builds an importance report: draws the rows that each kind of evidence rests on, and asks for its frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from hybrid.boosters.base import Booster, TreeParameters
from hybrid.calibration import calibration_table
from hybrid.errors import LabelError, ParameterError
from hybrid.holdout import assign_folds
from hybrid.matrix import FeatureMatrix
from hybrid.reference import Reference
from hybrid.reports import effects, interactions, trust
from hybrid.reports.effects import distribution_table, effect_table, value_effect_table
from hybrid.reports.importance import NOTHING_DROPPED, ablation_probas, sample_rows, shap_rows
from hybrid.reports.misses import example_table, shared_table, worst_rows
from hybrid.reports.mistakes import calibration_error, confusion_table, costs_of, gains_table, threshold_table
from hybrid.reports.ranking import SCHEMA as RANKING
from hybrid.reports.ranking import grades, ranking_table
from hybrid.reports.report import Basis, ImportanceReport
from hybrid.reports.slices import ROWS, ScoredRows, corrected, slice_table, weak_slices
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
from hybrid.reports.trust import DOMAINS, DRIFT, STABILITY, domain_table, drift_table, stability_table, strength_table
from hybrid.reports.words import WORDS

STABILITY_ROWS = 500
"""Rows of each refit's SHAP."""

Progress = Callable[[str, int, int], None]
"""Called with the part of the report, its steps done and its steps in all."""


def importance_report(
    *,
    y: np.ndarray,
    proba: np.ndarray,
    matrix_of: Callable[[np.ndarray], FeatureMatrix],
    booster: Booster,
    classes: Sequence[Any],
    parameters: TreeParameters,
    random_state: int,
    n_jobs: int | None,
    title: str,
    provenance: Mapping[str, Any],
    groups: np.ndarray | Sequence[Any] | None = None,
    baselines: Mapping[str, np.ndarray] | None = None,
    slices: Sequence[pl.Series] = (),
    queries: np.ndarray | None = None,
    shown: Sequence[pl.Series] = (),
    costs: Mapping[str, float] | None = None,
    reference: Reference | None = None,
    category_names: Mapping[str, Sequence[str]] | None = None,
    words: pl.DataFrame | None = None,
    n_repeats: int = 5,
    max_rows: int = 50_000,
    ablation_folds: int = 3,
    progress: Progress | None = None,
) -> ImportanceReport:
    """Build a report of a trained booster on labelled rows.

    Parameters
    ----------
    y : numpy.ndarray of int64, shape (n_rows,)
        Class codes; classes may be absent.
    proba : numpy.ndarray of float32, shape (n_rows, n_classes)
        The booster's probabilities.
    matrix_of : callable
        The matrix of the rows at some positions, with the booster's columns: that of all rows may be too large to hold.
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
    slices : sequence of polars.Series of n_rows parts, default ()
        Each from `hybrid.reports.slices.parts_of`.
    queries : numpy.ndarray of int64, shape (n_rows,), optional
        Codes 0 .. n_queries - 1 of the rows that are ranked at once.
    shown : sequence of polars.Series of n_rows texts, default ()
        What may be shown of an example.
    costs : mapping, optional
        See `hybrid.reports.mistakes.costs_of`.
    reference : Reference, optional
        Of the training rows, which the rows are compared with.
    category_names : mapping from column to its values in the order of their codes, optional
        Of the categorical columns whose values may be shown.
    words : polars.DataFrame, optional
        From `hybrid.reports.words.word_table`.
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
    _check_rows(y, {"the model's probabilities": proba, "groups": groups, **(baselines or {})})
    check_options(
        n_repeats=n_repeats, max_rows=max_rows, ablation_folds=ablation_folds, baselines=list(baselines or {})
    )
    say: Progress = progress or (lambda part, done, total: None)
    units = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    class_rows = tuple(np.bincount(y, minlength=len(classes)).tolist())

    say("metrics", 0, 1)
    models = {MODEL: proba, BASE_RATE: base_rate(y, len(classes)), **(baselines or {})}
    metrics = comparison("model", y, models, units, random_state)
    calibration = calibration_table(y, proba, list(classes))
    say("metrics", 1, 1)

    scored = ScoredRows(y, proba, units)
    costs = costs_of(costs)
    error, by_chance = calibration_error(scored, random_state)
    worst = worst_rows(scored)
    worth = None if queries is None else grades(classes)
    ranking = pl.DataFrame(schema=RANKING)
    if queries is not None and worth is not None:
        ranking = ranking_table(models, y, worth, queries, units)
    sliced = sample_rows(len(y), units, ROWS, random_state)
    by_slice = slice_table(scored.rows(sliced), [part[sliced] for part in slices])

    index = sample_rows(len(y), units, max_rows, random_state)
    some = matrix_of(index)
    y, units_some = y[index], None if units is None else units[index]
    shap_index = sample_rows(len(index), None, shap_rows(len(classes)), random_state)
    attributed = attribution_tables(booster, some.rows(shap_index), classes, partial(say, "SHAP"))
    weak = weak_slices(scored.rows(index), some, [part[index] for part in slices], random_state)
    few = some.rows(sample_rows(len(index), None, interactions.ROWS, random_state))
    together = interactions.interaction_table(booster, few, random_state, partial(say, "interactions"))
    for_effects = some.rows(sample_rows(len(index), None, effects.ROWS, random_state))
    by_x = effect_table(booster, for_effects, attributed.columns["column"].to_list(), classes, partial(say, "effects"))
    strengths = sample_rows(len(index), None, trust.ROWS, random_state)
    strength = strength_table(some.rows(strengths), y[strengths])
    drift, domains = pl.DataFrame(schema=DRIFT), pl.DataFrame(schema=DOMAINS)
    if reference is not None:
        say("drift", 0, 1)
        drift = drift_table(some, reference)
        domains = domain_table(booster, some, reference, random_state, n_jobs)
        say("drift", 1, 1)
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
    ablation, stability = no_comparison("dropped"), pl.DataFrame(schema=STABILITY)
    if n_folds:
        folds = assign_folds(y, units_some, n_folds, random_state)
        rounds = replace(parameters, n_estimators=max(1, booster.best_iteration))
        fold_shares = [dict(attributed.groups.select("group", "shap_share").iter_rows())]

        def note_shares(refit: Booster, unseen: FeatureMatrix) -> None:
            few = unseen.rows(sample_rows(len(unseen), None, STABILITY_ROWS, random_state))
            fold_shares.append(
                dict(attribution_tables(refit, few, classes, None).groups["group", "shap_share"].iter_rows())
            )

        refits = ablation_probas(
            booster,
            some,
            y,
            folds,
            parameters=rounds,
            random_state=random_state,
            n_jobs=n_jobs,
            on_whole=note_shares,
            on_step=partial(say, "ablation"),
        )
        in_order = {name: refits[name] for name in (NOTHING_DROPPED, *attributed.groups["group"]) if name in refits}
        ablation = comparison("dropped", y, in_order, units_some, random_state)
        stability = stability_table(fold_shares)

    return ImportanceReport(
        title=title,
        classes=tuple(classes),
        groups=attributed.groups.join(permutation, on="group", how="left", maintain_order="left"),
        by_class=attributed.by_class,
        interactions=together,
        columns=attributed.columns,
        coordinates=attributed.coordinates,
        families=attributed.families,
        ablation=ablation,
        metrics=metrics,
        distributions=distribution_table(some),
        effects=by_x,
        value_effects=value_effect_table(booster, for_effects, category_names or {}, classes),
        words=pl.DataFrame(schema=WORDS) if words is None else words,
        slices=corrected(pl.concat([by_slice, weak])),
        calibration=calibration,
        expected_calibration_error=error.value,
        expected_calibration_error_low=error.low,
        expected_calibration_error_high=error.high,
        calibration_error_by_chance=by_chance,
        thresholds=threshold_table(scored, costs),
        confusion=confusion_table(scored, classes),
        gains=gains_table(scored),
        ranking=ranking,
        examples=example_table(scored, worst, classes, shown, slices),
        misses=shared_table(worst, slices),
        strength=strength,
        drift=drift,
        domains=domains,
        stability=stability,
        basis=Basis(
            rows=len(proba),
            class_rows=class_rows,
            row_groups=None if units is None else int(units.max()) + 1,
            sampled_rows=len(index),
            sampled_row_groups=None if units is None else n_units,
            shap_rows=len(shap_index),
            shap_gap=attributed.shap_gap,
            interaction_rows=len(few),
            effect_rows=len(for_effects),
            slice_rows=len(sliced),
            n_repeats=n_repeats,
            ablation_folds=n_folds,
            rounds=booster.best_iteration,
            no_ablation=no_ablation,
            costs=costs,
            reference_rows=0 if reference is None else len(reference.values),
        ),
        provenance=dict(provenance),
    )


def _check_rows(y: np.ndarray, others: Mapping[str, Any]) -> None:
    if len(y) == 0:
        raise LabelError("a report needs at least one row")
    for name, other in others.items():
        if other is not None and len(other) != len(y):
            raise LabelError(f"{name}: {len(other)} rows for {len(y)} labels")


def check_options(*, n_repeats: int = 1, max_rows: int, ablation_folds: int, baselines: Sequence[str]) -> None:
    """Raise ParameterError for an option out of its range, or a baseline named as the report's own rows."""
    if n_repeats < 1:
        raise ParameterError(f"n_repeats must be at least 1, not {n_repeats}")
    if max_rows < 2:
        raise ParameterError(f"max_rows must be at least 2, not {max_rows}")
    if ablation_folds < 0 or ablation_folds == 1:
        raise ParameterError(f"ablation_folds must be 0 (no ablation) or at least 2, not {ablation_folds}")
    if taken := {MODEL, BASE_RATE} & set(baselines):
        raise ParameterError(f"a baseline cannot be named {taken.pop()!r}: the report has a row of that name")
