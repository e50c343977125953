"""How much each group of columns matters to a trained model, by three questions: what moves its scores, what it loses when the group's
values are shuffled, and how well a model does that never saw the group."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hybrid.boosters.base import Booster, TreeParameters
from hybrid.matrix import TEXT_HEAD, Column, FeatureMatrix
from hybrid.metrics import row_losses
from hybrid.reports.inference import Statistic, mean

SHAP_BLOCK_VALUES = 16_000_000
"""Contributions held at once: 64 MB as float32, and the libraries need two to three times that while they compute them."""
SHAP_BLOCK_ROWS = 4096
MIN_COORDINATES = 8
NOTHING_DROPPED = "none"
SHUFFLED_ROWS = 60_000
"""Rows that are scored anew for each group, over all its permutations: more rows tell more than more permutations of them."""

OnStep = Callable[[int, int], None]
"""Called with the steps done and the steps in all."""


@dataclass(frozen=True)
class Attribution:
    """Mean |SHAP| in margin units: of each column alone, and of each set of columns taken together.

    Parameters
    ----------
    columns, sets : list of Statistic
        Means over rows and margins; a set's is that of the absolute sum of its contributions.
    by_margin : numpy.ndarray of float64, shape (n_margins, n_sets)
        The means over rows of the sets, margin by margin.
    gap : float
        How far the contributions of a row, the head's included, are from summing to its margin, at most.
    """

    columns: list[Statistic]
    sets: list[Statistic]
    by_margin: np.ndarray
    gap: float


def sample_rows(n_rows: int, groups: np.ndarray | None, max_rows: int, random_state: int) -> np.ndarray:
    """Draw at most ``max_rows`` rows, as whole groups of rows where at least two of those fit, otherwise singly.

    Parameters
    ----------
    n_rows : int
    groups : numpy.ndarray of int64, shape (n_rows,), optional
        The group of each row, 0 .. n_groups - 1.
    max_rows : int
    random_state : int

    Returns
    -------
    numpy.ndarray of int64
        Row positions, ascending.
    """
    if n_rows <= max_rows:
        return np.arange(n_rows)
    rng = np.random.default_rng(random_state)
    if groups is not None:
        sizes = np.bincount(groups)
        order = rng.permutation(len(sizes))
        kept = order[np.cumsum(sizes[order]) <= max_rows]
        if len(kept) >= 2:
            drawn = np.zeros(len(sizes), dtype=bool)
            drawn[kept] = True
            return np.flatnonzero(drawn[groups])
    return np.sort(rng.choice(n_rows, size=max_rows, replace=False))


def shap_rows(n_classes: int) -> int:
    """Rows that SHAP is computed on: 1,000, each of which costs as much as to score several hundred rows; divided by the number of margins
    so that many classes do not multiply the work, 500 at least. Every number that comes of it stands with its standard error."""
    return max(500, 1_000 // (1 if n_classes == 2 else n_classes))


def shuffles(n_rows: int, wanted: int) -> int:
    """Permutations of each group: as many as wanted, or as fit into the rows to score, one at least."""
    return max(1, min(wanted, SHUFFLED_ROWS // n_rows))


def coordinate_runs(columns: Sequence[Column]) -> list[tuple[str, np.ndarray]]:
    """Runs of numbered columns, such as the coordinates of an embedding, which nobody reads one by one.

    Columns of one group whose names differ in their last number only, eight of them or more.

    Returns
    -------
    list of (str, numpy.ndarray of int64)
        The common beginning of the names and the positions, in the order of their first column.
    """
    stems = [re.sub(r"[\s_:.\[-]*\d+\]?$", "", column.name) for column in columns]
    keys = [(c.group, stem) if stem != c.name else None for c, stem in zip(columns, stems, strict=True)]
    sizes = Counter(key for key in keys if key is not None)
    return [
        (key[1] or key[0], np.array([i for i, other in enumerate(keys) if other == key], dtype=np.int64))
        for key, size in sizes.items()
        if size >= MIN_COORDINATES
    ]


def mean_shap(
    booster: Booster,
    matrix: FeatureMatrix,
    sets: Sequence[np.ndarray],
    on_step: OnStep | None = None,
    margin_set: int | None = None,
) -> Attribution:
    """Mean |SHAP| of each column and of each set of columns, in blocks of rows, and whether contributions sum to margins.

    Parameters
    ----------
    booster : Booster
    matrix : FeatureMatrix
        At least one row.
    sets : sequence of numpy.ndarray of int64
        Positions of each set's columns; sets may overlap.
    on_step : callable, optional
        Called after each block with the rows done and the rows in all.
    margin_set : int, optional
        The set that the matrix's margin belongs to.

    Returns
    -------
    Attribution
    """
    n_rows, n_columns, n_margins = len(matrix), len(matrix.columns), booster.n_margins
    of_columns, of_sets = np.empty((n_rows, n_columns), dtype=np.float32), np.empty((n_rows, len(sets)))
    member = np.zeros((n_columns, len(sets)), dtype=np.float32)
    for i, positions in enumerate(sets):
        member[positions, i] = 1.0
    by_margin, gap = np.zeros((n_margins, len(sets))), 0.0
    block = max(1, min(SHAP_BLOCK_ROWS, SHAP_BLOCK_VALUES // (n_margins * (n_columns + 1))))
    for start in range(0, n_rows, block):
        rows = np.arange(start, min(start + block, n_rows))
        part = matrix.rows(rows)
        contributions = booster.contributions(part)
        summed = contributions.sum(axis=2, dtype=np.float64)
        shap = contributions[:, :, :n_columns]
        together = shap @ member
        if part.margin is not None:
            summed += part.margin.contributions
            if margin_set is not None:
                together[:, :, margin_set] += part.margin.contributions
        gap = max(gap, float(np.abs(summed - booster.margin(part)).max()))
        sizes = np.abs(together)
        by_margin += sizes.sum(axis=0, dtype=np.float64) / n_rows
        of_sets[rows] = sizes.mean(axis=1, dtype=np.float64)
        of_columns[rows] = np.abs(shap).mean(axis=1)
        if on_step:
            on_step(int(rows[-1]) + 1, n_rows)
    return Attribution(
        [mean(column.astype(np.float64)) for column in of_columns.T],
        [mean(values) for values in of_sets.T],
        by_margin,
        gap,
    )


def permutation_rises(
    booster: Booster,
    matrix: FeatureMatrix,
    y: np.ndarray,
    intact: np.ndarray,
    *,
    n_repeats: int,
    random_state: int,
    on_step: OnStep | None = None,
) -> dict[str, np.ndarray]:
    """By how much the log loss of each row rises when a group's columns come from another row, mean over the repeats.

    Repeat ``r`` takes the permutation ``numpy.random.default_rng([random_state, r]).permutation(n_rows)``; it is the same for all columns
    of a group and for all groups.

    Parameters
    ----------
    booster : Booster
    matrix : FeatureMatrix
    y : numpy.ndarray of int64, shape (n_rows,)
        Class codes.
    intact : numpy.ndarray, shape (n_rows,)
        Losses of the rows as they are.
    n_repeats : int
    random_state : int
    on_step : callable, optional
        Called after each prediction.

    Returns
    -------
    dict of str to numpy.ndarray of float64, shape (n_rows,)
        By the group's name.
    """
    rises = {group: np.zeros(len(y)) for group in matrix.groups}
    work: Any = matrix.values.clone() if isinstance(matrix.values, torch.Tensor) else matrix.values.copy()
    orders = [np.random.default_rng([random_state, r]).permutation(len(y)) for r in range(n_repeats)]
    for i, (group, total) in enumerate(rises.items()):
        positions = matrix.positions(group)
        own = matrix.values[:, positions]
        for r, order in enumerate(orders):
            work[:, positions] = own[order]
            margin = matrix.margin
            if margin is not None and group == TEXT_HEAD:
                margin = margin.rows(order)
            permuted = FeatureMatrix(work, matrix.columns, margin)
            total += (row_losses(y, booster.predict_proba(permuted)) - intact) / n_repeats
            if on_step:
                on_step(i * n_repeats + r + 1, len(rises) * n_repeats)
        work[:, positions] = own
    return rises


def ablation_probas(
    booster: Booster,
    matrix: FeatureMatrix,
    y: np.ndarray,
    folds: np.ndarray,
    *,
    parameters: TreeParameters,
    random_state: int,
    n_jobs: int | None,
    on_whole: Callable[[Booster, FeatureMatrix], None] | None = None,
    on_step: OnStep | None = None,
) -> dict[str, np.ndarray]:
    """Out-of-fold probabilities of models like ``booster``, trained on the matrix's own rows: with all groups, then without each.

    Parameters
    ----------
    booster : Booster
        Gives the kind, the device and the number of classes.
    matrix : FeatureMatrix
    y, folds : numpy.ndarray of int64, shape (n_rows,)
        Class codes, and the fold that each row is held out in.
    parameters : TreeParameters
        Nothing stops early.
    random_state : int
    n_jobs : int, optional
    on_whole : callable, optional
        Called with each refit that has all groups and the rows that it did not see.
    on_step : callable, optional
        Called after each refit.

    Returns
    -------
    dict of str to numpy.ndarray of float32, shape (n_rows, n_classes)
        By the group left out, "none" first; that alone where the matrix has one group only.
    """
    left_out = {NOTHING_DROPPED: matrix}
    if len(matrix.groups) > 1:
        left_out |= {group: matrix.without([group]) for group in matrix.groups}
    probas = {name: np.empty((len(y), booster.n_classes), dtype=np.float32) for name in left_out}
    held_out = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    for i, (name, part) in enumerate(left_out.items()):
        for j, rows in enumerate(held_out):
            inside = np.setdiff1d(np.arange(len(y)), rows, assume_unique=True)
            data = booster.bin(part.rows(inside), y[inside], device=booster.device, n_jobs=n_jobs)
            refit = booster.train(
                data, n_classes=booster.n_classes, parameters=parameters, random_state=random_state, n_jobs=n_jobs
            )
            probas[name][rows] = refit.predict_proba(part.rows(rows))
            if on_whole and name == NOTHING_DROPPED:
                on_whole(refit, part.rows(rows))
            if on_step:
                on_step(i * len(held_out) + j + 1, len(left_out) * len(held_out))
    return probas
