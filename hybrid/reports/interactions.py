"""Which groups of columns work together: how far a score is from being a sum of what each of two groups says."""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from scipy.stats import rankdata

from hybrid.boosters.base import Booster
from hybrid.languages import gloss, paragraph, say
from hybrid.matrix import TEXT_HEAD, FeatureMatrix
from hybrid.numerals import decimals_to_scale, number
from hybrid.pages import Cell, Matrix, Table
from hybrid.reports.importance import OnStep
from hybrid.reports.inference import mean

if TYPE_CHECKING:
    from hybrid.reports.report import ImportanceReport

ROWS = 2_000
"""Rows of the interactions, each compared with one other."""
PAIRS_SHOWN = 10
WHOLE_MATRIX = 12
"""The matrix is shown for so many groups at most."""

SCHEMA = {
    "group": pl.String,
    "other": pl.String,
    **dict.fromkeys(("interaction", "low", "high", "correlation"), pl.Float64),
}


def interaction_table(
    booster: Booster, matrix: FeatureMatrix, random_state: int, on_step: OnStep | None = None
) -> pl.DataFrame:
    """How strongly each two groups of columns interact, in margin units.

    A row ``x`` is compared with another ``z``. With ``f`` the margin and ``f_A`` that of ``x`` with group A's columns taken from ``z``, the
    interaction of A and B in that row is ``f - f_A - f_B + f_AB``, which is 0 wherever the trees add up what A and B say; its mean size
    over rows and margins is the number. It needs predictions only, one a group and one a pair, and so serves every booster alike.
    XGBoost's SHAP interaction values would take a pass over the trees for each column (hundreds, with embeddings); LightGBM has none.

    Parameters
    ----------
    booster : Booster
    matrix : FeatureMatrix
        At most a few thousand rows: all are used.
    random_state : int
        Of the permutation that gives each row its other.
    on_step : callable, optional

    Returns
    -------
    polars.DataFrame
        ``group, other, interaction, low, high, correlation``: each pair once, in the order of the matrix's groups; 95 % intervals over
        rows. ``correlation`` is the greatest absolute rank correlation of a column of one with a column of the other, of columns that the
        trees split on: where it is high, the groups can stand in for each other.
    """
    order = np.random.default_rng(random_state).permutation(len(matrix))
    exchange = _Exchange(booster, matrix, order)
    pairs = list(combinations(matrix.groups, 2))
    intact = booster.margin(matrix).astype(np.float64)
    alone = {group: exchange.margin((group,)) for group in matrix.groups} if pairs else {}
    alike = _RankCorrelation(booster, matrix) if pairs else None
    rows = []
    for done, (group, other) in enumerate(pairs, start=1):
        apart = intact - alone[group] - alone[other] + exchange.margin((group, other))
        strength = mean(np.abs(apart).mean(axis=1)).estimate(None)
        assert alike is not None
        rows.append((group, other, strength.value, *strength.interval(least=0.0), alike(group, other)))
        if on_step:
            on_step(done, len(pairs))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


class _Exchange:
    """Margins of rows that have some groups of columns of other rows."""

    def __init__(self, booster: Booster, matrix: FeatureMatrix, order: np.ndarray) -> None:
        self._booster, self._matrix, self._order = booster, matrix, order
        self._work: Any = matrix.values.clone() if isinstance(matrix.values, torch.Tensor) else matrix.values.copy()

    def margin(self, groups: tuple[str, ...]) -> np.ndarray:
        matrix = self._matrix
        positions = np.concatenate([matrix.positions(group) for group in groups])
        own = matrix.values[:, positions]
        self._work[:, positions] = own[self._order]
        margin = matrix.margin
        if margin is not None and TEXT_HEAD in groups:
            margin = margin.rows(self._order)
        found = self._booster.margin(FeatureMatrix(self._work, matrix.columns, margin)).astype(np.float64)
        self._work[:, positions] = own
        return found


class _RankCorrelation:
    """The greatest absolute rank correlation between columns of two groups; missing values stand at the mean rank."""

    def __init__(self, booster: Booster, matrix: FeatureMatrix) -> None:
        used = np.flatnonzero(booster.gain() > 0)
        ranks = rankdata(matrix.numpy()[:, used].astype(np.float64), axis=0, nan_policy="omit")
        centred = np.nan_to_num(ranks - np.nanmean(ranks, axis=0)) if ranks.size else ranks
        lengths = np.sqrt((centred**2).sum(axis=0))
        self._unit = centred / np.where(lengths > 0, lengths, 1.0)
        self._groups = np.array([matrix.columns[i].group for i in used], dtype=object)

    def __call__(self, group: str, other: str) -> float:
        parts = [self._unit[:, self._groups == name] for name in (group, other)]
        return float(np.abs(parts[0].T @ parts[1]).max(initial=0.0))


def interactions_block(report: ImportanceReport) -> Matrix | Table:
    """The matrix of groups, or the strongest pairs where there are many groups."""
    frame = report.interactions
    top = max([*frame["interaction"], 1e-300])
    places = decimals_to_scale(top)
    caption = say(
        "How strongly two groups work together: by how much a score differs from the sum of what each says, on average, in margin "
        "units. From {rows} rows, each compared with one other. Near 0, what one group says does not depend on the other.",
        rows=report.basis.interaction_rows,
    )
    groups = report.groups["group"].to_list()
    if len(groups) > WHOLE_MATRIX:
        strongest = frame.sort("interaction", descending=True, maintain_order=True).head(PAIRS_SHOWN)
        rows: list[list[str | Cell]] = [
            [
                gloss(row["group"]),
                gloss(row["other"]),
                Cell(number(row["interaction"], decimals=places), share=row["interaction"] / top),
            ]
            for row in strongest.iter_rows(named=True)
        ]
        header = [say("group"), say("with"), say("interaction")]
        shown = paragraph([caption, say("The strongest {n} pairs.", n=len(rows))])
        return Table(shown, header, rows, words=(0, 1))
    value = {frozenset(pair): strength for *pair, strength in frame.select("group", "other", "interaction").iter_rows()}
    values = [[value.get(frozenset((group, other)), np.nan) for other in groups] for group in groups]
    names = [gloss(group) for group in groups]
    return Matrix(caption, names, names, values, written=partial(number, decimals=places))
