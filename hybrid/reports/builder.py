"""Builds an importance report: draws the rows that each kind of evidence rests on, and asks for its frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from hybrid.reports.effects import ROWS as EFFECT_ROWS
from hybrid.reports.effects import distribution_table, effect_table, value_effect_table
from hybrid.reports.importance import NOTHING_DROPPED, ablation_probas, sample_rows, shap_rows, shuffles
from hybrid.reports.interactions import ROWS as INTERACTION_ROWS
from hybrid.reports.interactions import interaction_table
from hybrid.reports.misses import example_table, shared_table, worst_rows
from hybrid.reports.mistakes import calibration_error, confusion_table, costs_of, gains_table, threshold_table
from hybrid.reports.ranking import SCHEMA as RANKING
from hybrid.reports.ranking import grades, ranking_table
from hybrid.reports.report import Basis, ImportanceReport
from hybrid.reports.slices import ROWS as SLICE_ROWS
from hybrid.reports.slices import ScoredRows, corrected, slice_table, weak_slices
from hybrid.reports.tables import (
    BASE_RATE,
    MODEL,
    Attributions,
    attribution_tables,
    base_rate,
    comparison,
    no_comparison,
    permutation_table,
    why_no_ablation,
)
from hybrid.reports.trust import DOMAINS, DRIFT, STABILITY, domain_table, drift_table, stability_table, strength_table
from hybrid.reports.trust import ROWS as STRENGTH_ROWS
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
        Ids of what counts as one in intervals and folds (users, sessions). The page never shows them.
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
        Permutations of each group at most; one of 50,000 rows, see `hybrid.reports.importance.shuffles`.
    max_rows : int, default 50_000
        Rows drawn for permutation and ablation; SHAP takes 1,000 of them, fewer with many classes.
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
    costs, scored = costs_of(costs), ScoredRows(y, proba, units)
    models = {MODEL: proba, BASE_RATE: base_rate(y, len(classes)), **(baselines or {})}

    say("metrics", 0, 1)
    of_scores = _of_scores(scored, models, classes, queries, costs, random_state)
    of_examples = _of_examples(scored, classes, slices, shown)
    sliced = sample_rows(len(y), units, SLICE_ROWS, random_state)
    by_slice = slice_table(scored.rows(sliced), [part[sliced] for part in slices])
    say("metrics", 1, 1)

    index = sample_rows(len(y), units, max_rows, random_state)
    drawn = _Drawn(booster, matrix_of(index), scored.rows(index), tuple(classes), random_state, n_jobs, say)
    explained = drawn.places(shap_rows(len(classes)))
    attributed = attribution_tables(
        booster, drawn.matrix.rows(explained), classes, drawn.scored.rows(explained).groups, partial(say, "SHAP")
    )
    n_repeats = shuffles(len(index), n_repeats)
    weak = weak_slices(drawn.scored, drawn.matrix, [part[index] for part in slices], random_state)
    of_model = _of_model(drawn, attributed, n_repeats, category_names or {})
    of_training = _of_training(drawn, reference)
    no_ablation = why_no_ablation(drawn.scored.y, ablation_folds, drawn.n_units)
    n_folds = 0 if no_ablation else min(ablation_folds, drawn.n_units)
    of_refits = _of_refits(drawn, attributed.groups, n_folds, parameters)
    return ImportanceReport(
        title=title,
        classes=tuple(classes),
        **of_scores,
        **of_examples,
        slices=corrected(pl.concat([by_slice, weak])),
        **of_model,
        words=pl.DataFrame(schema=WORDS) if words is None else words,
        **of_training,
        **of_refits,
        basis=Basis(
            rows=len(y),
            class_rows=tuple(np.bincount(y, minlength=len(classes)).tolist()),
            row_groups=None if units is None else int(units.max()) + 1,
            slice_rows=len(sliced),
            sampled_rows=len(index),
            sampled_row_groups=None if units is None else drawn.n_units,
            shap_rows=min(len(index), shap_rows(len(classes))),
            shap_gap=attributed.shap_gap,
            interaction_rows=min(len(index), INTERACTION_ROWS),
            effect_rows=min(len(index), EFFECT_ROWS),
            reference_rows=0 if reference is None else len(reference.values),
            n_repeats=n_repeats,
            ablation_folds=n_folds,
            rounds=booster.best_iteration,
            no_ablation=no_ablation,
            costs=costs,
        ),
        provenance=dict(provenance),
    )


@dataclass(frozen=True, eq=False)
class _Drawn:
    """The rows that everything but metrics rests on, and what explains them."""

    booster: Booster
    matrix: FeatureMatrix
    scored: ScoredRows
    classes: tuple[Any, ...]
    random_state: int
    n_jobs: int | None
    say: Progress

    @property
    def n_units(self) -> int:
        """What can be drawn or folded apart."""
        groups = self.scored.groups
        return len(self.matrix) if groups is None else len(np.unique(groups))

    def few(self, n_rows: int) -> FeatureMatrix:
        """At most so many of the rows."""
        return self.matrix.rows(self.places(n_rows))

    def places(self, n_rows: int) -> np.ndarray:
        """Positions of at most so many of the rows."""
        return sample_rows(len(self.matrix), None, n_rows, self.random_state)


def _of_scores(
    scored: ScoredRows,
    models: Mapping[str, np.ndarray],
    classes: Sequence[Any],
    queries: np.ndarray | None,
    costs: Mapping[str, float],
    random_state: int,
) -> dict[str, Any]:
    """How good the scores of all rows are."""
    error, by_chance = calibration_error(scored, random_state)
    worth = None if queries is None else grades(classes)
    ranking = pl.DataFrame(schema=RANKING)
    if queries is not None and worth is not None:
        ranking = ranking_table(models, scored.y, worth, queries, scored.groups)
    return {
        "metrics": comparison("model", scored.y, models, scored.groups),
        "ranking": ranking,
        "thresholds": threshold_table(scored, costs),
        "confusion": confusion_table(scored, classes),
        "gains": gains_table(scored),
        "calibration": calibration_table(scored.y, scored.proba, list(classes)),
        "expected_calibration_error": error.value,
        "expected_calibration_error_low": error.low,
        "expected_calibration_error_high": error.high,
        "calibration_error_by_chance": by_chance,
    }


def _of_examples(
    scored: ScoredRows, classes: Sequence[Any], slices: Sequence[pl.Series], shown: Sequence[pl.Series]
) -> dict[str, Any]:
    """The worst misses of all rows."""
    worst = worst_rows(scored)
    return {
        "examples": example_table(scored, worst, classes, shown, slices),
        "misses": shared_table(worst, slices),
    }


def _of_model(
    drawn: _Drawn, attributed: Attributions, n_repeats: int, category_names: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """What the model's scores rest on."""
    booster, classes, seed = drawn.booster, drawn.classes, drawn.random_state
    interactions = interaction_table(booster, drawn.few(INTERACTION_ROWS), seed, partial(drawn.say, "interactions"))
    moved, ranked = drawn.few(EFFECT_ROWS), attributed.columns["column"].to_list()
    effects = effect_table(booster, moved, ranked, classes, partial(drawn.say, "effects"))
    permutation = permutation_table(
        booster,
        drawn.matrix,
        drawn.scored.y,
        drawn.scored.groups,
        n_repeats=n_repeats,
        random_state=seed,
        on_step=partial(drawn.say, "permutation"),
    )
    return {
        "groups": attributed.groups.join(permutation, on="group", how="left", maintain_order="left"),
        "by_class": attributed.by_class,
        "interactions": interactions,
        "columns": attributed.columns,
        "coordinates": attributed.coordinates,
        "families": attributed.families,
        "distributions": distribution_table(drawn.matrix),
        "effects": effects,
        "value_effects": value_effect_table(booster, moved, category_names, classes),
    }


def _of_training(drawn: _Drawn, reference: Reference | None) -> dict[str, Any]:
    """What is odd about the columns, alone and beside the training rows."""
    places = drawn.places(STRENGTH_ROWS)
    drift, domains = pl.DataFrame(schema=DRIFT), pl.DataFrame(schema=DOMAINS)
    if reference is not None:
        drawn.say("drift", 0, 1)
        drift = drift_table(drawn.matrix, reference)
        domains = domain_table(drawn.booster, drawn.matrix, reference, drawn.random_state, drawn.n_jobs)
        drawn.say("drift", 1, 1)
    strength = strength_table(drawn.matrix.rows(places), drawn.scored.y[places])
    return {"strength": strength, "drift": drift, "domains": domains}


def _of_refits(drawn: _Drawn, groups: pl.DataFrame, n_folds: int, parameters: TreeParameters) -> dict[str, Any]:
    """What models do that were trained anew: without each group, and with all."""
    if n_folds == 0:
        return {"ablation": no_comparison("dropped"), "stability": pl.DataFrame(schema=STABILITY)}
    y, units = drawn.scored.y, drawn.scored.groups
    shares = [_shares(groups)]

    def note_shares(refit: Booster, unseen: FeatureMatrix) -> None:
        few = unseen.rows(sample_rows(len(unseen), None, STABILITY_ROWS, drawn.random_state))
        shares.append(_shares(attribution_tables(refit, few, drawn.classes, None, None).groups))

    refits = ablation_probas(
        drawn.booster,
        drawn.matrix,
        y,
        assign_folds(y, units, n_folds, drawn.random_state),
        parameters=replace(parameters, n_estimators=max(1, drawn.booster.best_iteration)),
        random_state=drawn.random_state,
        n_jobs=drawn.n_jobs,
        on_whole=note_shares,
        on_step=partial(drawn.say, "ablation"),
    )
    in_order = {name: refits[name] for name in (NOTHING_DROPPED, *groups["group"]) if name in refits}
    return {
        "ablation": comparison("dropped", y, in_order, units),
        "stability": stability_table(shares),
    }


def _shares(groups: pl.DataFrame) -> dict[str, float]:
    return dict(groups.select("group", "shap_share").iter_rows())


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
