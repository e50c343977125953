"""How a single column moves the scores: accumulated local effects of numbers, effects of the values of categories, and distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch

from hybrid.boosters.base import Booster
from hybrid.charts import Series, line_chart
from hybrid.languages import quoted, say
from hybrid.matrix import TEXT_HEAD, FeatureMatrix
from hybrid.numerals import count, decimals_to_scale, number
from hybrid.pages import Block, Cell, Figure, Table
from hybrid.reports.importance import OnStep, coordinate_runs

if TYPE_CHECKING:
    from hybrid.reports.report import ImportanceReport

ROWS = 2_000
"""Rows of the effects at most."""
MOST_COLUMNS = 20
_BINS = 20
_MOST_VALUES = 20
_FEWEST_ROWS = 10
_DRAWN = 8
_QUANTILES = {"least": 0.0, "q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "most": 1.0}

EFFECTS = {"column": pl.String, "class": pl.String, "x": pl.Float64, "effect": pl.Float64, "rows": pl.Int64}
VALUE_EFFECTS = {"column": pl.String, "class": pl.String, "value": pl.String, "effect": pl.Float64, "rows": pl.Int64}
DISTRIBUTIONS = {
    "column": pl.String,
    "group": pl.String,
    **dict.fromkeys(("missing", "zero", *_QUANTILES), pl.Float64),
}


def effect_table(
    booster: Booster,
    matrix: FeatureMatrix,
    ranked: Sequence[str],
    classes: Sequence[Any],
    on_step: OnStep | None = None,
) -> pl.DataFrame:
    """Accumulated local effects of the twenty numeric columns of the highest SHAP (Apley and Zhu 2020).

    Rows are cut at 20 quantiles of the column. Within each bin the column is set to the bin's two edges, all else left as it is; the mean
    differences of the margins add up from the least edge on, and are centred to mean 0 over the rows. Unlike a partial dependence this
    never joins values that do not occur together. Missing values are left out.

    Parameters
    ----------
    booster : Booster
    matrix : FeatureMatrix
        At most a few thousand rows: all are used.
    ranked : sequence of str
        Names of columns, the most important first.
    classes : sequence
        Labels in code order.
    on_step : callable, optional

    Returns
    -------
    polars.DataFrame
        ``column, class, x, effect, rows``: an edge, the effect there, in margin units, and the rows of the bin that ends at it. With more
        than two classes, of the class that the column moves most.
    """
    place = {column.name: i for i, column in enumerate(matrix.columns)}
    readable = _readable(matrix)
    chosen = [place[name] for name in ranked if name in readable and not matrix.columns[place[name]].categories]
    whole = matrix.numpy()
    rows: list[tuple[Any, ...]] = []
    for done, i in enumerate(chosen[:MOST_COLUMNS], start=1):
        values = whole[:, i].astype(np.float64)
        known = np.flatnonzero(~np.isnan(values))
        if len(known) and (edges := _edges(values[known])) is not None:
            code = np.clip(np.searchsorted(edges, values[known], side="left") - 1, 0, len(edges) - 2)
            part = matrix.rows(known)
            moved = _with(booster, part, i, edges[code + 1]) - _with(booster, part, i, edges[code])
            size = np.bincount(code, minlength=len(edges) - 1)
            steps = np.stack([np.bincount(code, weights=m, minlength=len(size)) for m in moved.T], axis=1)
            effect = np.concatenate(
                [np.zeros((1, moved.shape[1])), np.cumsum(steps / np.maximum(size, 1)[:, None], axis=0)]
            )
            effect -= (((effect[:-1] + effect[1:]) / 2) * size[:, None]).sum(axis=0) / size.sum()
            most = int(np.ptp(effect, axis=0).argmax())
            label = _label(classes, most)
            counted = [0, *size.tolist()]
            rows += [
                (matrix.columns[i].name, label, *at)
                for at in zip(edges.tolist(), effect[:, most].tolist(), counted, strict=True)
            ]
        if on_step:
            on_step(done, min(len(chosen), MOST_COLUMNS))
    return pl.DataFrame(rows, schema=EFFECTS, orient="row")


def value_effect_table(
    booster: Booster, matrix: FeatureMatrix, names: Mapping[str, Sequence[str]], classes: Sequence[Any]
) -> pl.DataFrame:
    """What each value of a categorical column does to the scores.

    Every row is given the value, all else left as it is; the effect is the mean margin then, less the mean over the column's values,
    weighted by their rows. The 20 most frequent values that at least 10 rows have.

    Parameters
    ----------
    booster : Booster
    matrix : FeatureMatrix
        At most a few thousand rows: all are used.
    names : mapping from column to its values, in the order of their codes
        Columns that are not named are left out: their values must not be shown.
    classes : sequence

    Returns
    -------
    polars.DataFrame
        ``column, class, value, effect, rows``, the highest effect first; with more than two classes, of the class that the column moves
        most.
    """
    rows: list[tuple[Any, ...]] = []
    for i, column in enumerate(matrix.columns):
        if not column.categories or column.name not in names:
            continue
        codes = matrix.numpy()[:, i]
        counted = np.bincount(codes[~np.isnan(codes)].astype(np.int64), minlength=column.categories)
        common = np.argsort(-counted, kind="stable")[:_MOST_VALUES]
        common = common[counted[common] >= _FEWEST_ROWS]
        if len(common) < 2:
            continue
        margins = np.stack([_with(booster, matrix, i, np.full(len(matrix), code)).mean(axis=0) for code in common])
        effect = margins - np.average(margins, axis=0, weights=counted[common])
        most = int(np.ptp(effect, axis=0).argmax())
        for j in np.argsort(-effect[:, most], kind="stable"):
            code = common[j]
            label = _label(classes, most)
            rows.append((column.name, label, names[column.name][code], float(effect[j, most]), int(counted[code])))
    return pl.DataFrame(rows, schema=VALUE_EFFECTS, orient="row")


def distribution_table(matrix: FeatureMatrix) -> pl.DataFrame:
    """``column, group, missing, zero, least, q05, q25, median, q75, q95, most``: of the numeric columns that mean something one by one."""
    rows = []
    readable = _readable(matrix)
    values = matrix.numpy()
    for i, column in enumerate(matrix.columns):
        if column.name not in readable or column.categories:
            continue
        known = values[~np.isnan(values[:, i]), i].astype(np.float64)
        quantiles = np.quantile(known, list(_QUANTILES.values())) if len(known) else np.full(len(_QUANTILES), np.nan)
        missing, zero = 1 - len(known) / len(values), float((values[:, i] == 0).mean())
        rows.append((column.name, column.group, missing, zero, *quantiles.tolist()))
    return pl.DataFrame(rows, schema=DISTRIBUTIONS, orient="row")


def effects_blocks(report: ImportanceReport) -> list[Block]:
    """Charts of the strongest numbers, and tables of all else."""
    blocks: list[Block] = []
    parts = report.effects.partition_by("column", maintain_order=True)
    if parts:
        caption = say(
            "Accumulated local effects: by how much the margin changes as one column grows and all else stays as it is in rows of such "
            "values, in margin units, 0 on average. Points: 20 quantiles, from {rows} rows. Drawn: the {drawn} strongest columns; the "
            "report’s frame has {all}.",
            rows=count(report.basis.effect_rows),
            drawn=min(len(parts), _DRAWN),
            all=len(parts),
        )
        blocks.append(Figure([_effect_chart(part, len(report.classes)) for part in parts[:_DRAWN]], caption))
    if report.value_effects.height:
        blocks.append(_value_table(report))
    return blocks


def _effect_chart(part: pl.DataFrame, n_classes: int) -> Any:
    name = part["column"][0]
    return line_chart(
        [Series(say("effect"), part["x"].to_list(), part["effect"].to_list())],
        title=say("{name} on {label}", name=name, label=quoted(part["class"][0])) if n_classes > 2 else name,
        x_label=say("value"),
        y_label=say("effect on the margin"),
        height=240,
    )


def _value_table(report: ImportanceReport) -> Table:
    frame = report.value_effects
    places = decimals_to_scale(float(np.abs(frame["effect"].to_numpy()).max()))
    of_class = len(report.classes) > 2
    rows: list[list[str | Cell]] = []
    for row in frame.iter_rows(named=True):
        cells: list[str | Cell] = [
            row["value"],
            row["column"],
            number(row["effect"], decimals=places),
            count(row["rows"]),
        ]
        rows.append([*cells, row["class"]] if of_class else cells)
    caption = say(
        "What the values of categorical columns do to the margin: every row given the value, less the mean over the column’s values. Only "
        "values that 10 rows or more have."
    )
    header = [say("value"), say("column"), say("effect"), say("rows")]
    return Table(caption, [*header, say("class")] if of_class else header, rows, words=(0, 1, 4))


def _readable(matrix: FeatureMatrix) -> set[str]:
    """Names of the columns that mean something one by one."""
    coordinates = {int(i) for _, run in coordinate_runs(matrix.columns) for i in run}
    return {c.name for i, c in enumerate(matrix.columns) if i not in coordinates and c.group != TEXT_HEAD}


def _edges(values: np.ndarray) -> np.ndarray | None:
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1), method="inverted_cdf"))
    return edges if len(edges) > 1 else None


def _with(booster: Booster, matrix: FeatureMatrix, place: int, values: np.ndarray) -> np.ndarray:
    """Margins of the rows with other values of one column, float64 of shape (n_rows, n_margins)."""
    work: Any = matrix.values.clone() if isinstance(matrix.values, torch.Tensor) else matrix.values.copy()
    work[:, place] = torch.as_tensor(values, dtype=work.dtype) if isinstance(work, torch.Tensor) else values
    return booster.margin(FeatureMatrix(work, matrix.columns, matrix.margin)).astype(np.float64)


def _label(classes: Sequence[Any], margin: int) -> str:
    return str(classes[1] if len(classes) == 2 else classes[margin])
