"""How well scores order the rows of one query: nDCG and mean reciprocal rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from hybrid.languages import gloss, say
from hybrid.numerals import count, decimals_for, number, span
from hybrid.pages import Cell, Table
from hybrid.reports.inference import mean

if TYPE_CHECKING:
    from hybrid.reports.report import ImportanceReport

TOP = 10
METRICS = ("ndcg_at_10", "mrr")
_NAMES = {"ndcg_at_10": "nDCG@10", "mrr": "MRR"}
SCHEMA = {
    "model": pl.String,
    "metric": pl.String,
    **dict.fromkeys(("value", "low", "high", "difference", "difference_low", "difference_high"), pl.Float64),
    "queries": pl.Int64,
}


def grades(classes: Sequence[Any]) -> np.ndarray | None:
    """What a row of each class is worth: 0 and 1 for two classes, the labels less the least where these are numbers, else None."""
    if len(classes) == 2:
        return np.array([0.0, 1.0])
    if not all(isinstance(label, int | float) for label in classes):
        return None
    values = np.array(classes, dtype=np.float64)
    return values - values.min()


@dataclass(frozen=True)
class _Order:
    """Rows sorted by query, then by falling score; rows of one score form a block."""

    rows: np.ndarray
    query: np.ndarray
    position: np.ndarray
    block: np.ndarray

    @classmethod
    def of(cls, queries: np.ndarray, score: np.ndarray) -> _Order:
        rows = np.lexsort((-score, queries))
        query = queries[rows]
        starts = np.flatnonzero(np.append(True, query[1:] != query[:-1]))
        position = np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
        new = np.append(True, (query[1:] != query[:-1]) | (score[rows][1:] != score[rows][:-1]))
        return cls(rows, query, position, np.cumsum(new) - 1)


def ndcg(queries: np.ndarray, score: np.ndarray, relevance: np.ndarray, top: int = TOP) -> np.ndarray:
    """nDCG of each query, float64 of shape (n_queries,); NaN where none of its rows is relevant.

    As `sklearn.metrics.ndcg_score`: gains are the grades themselves, rows of one score share the discounts of their places.
    """
    n = int(queries.max()) + 1
    found, ideal = (_dcg(_Order.of(queries, by), relevance, n, top) for by in (score, relevance))
    return np.divide(found, ideal, out=np.full(n, np.nan), where=ideal > 0)


def reciprocal_ranks(queries: np.ndarray, score: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """One over the place of the first relevant row of each query, float64; NaN where there is none.

    Among ``t`` rows of one score, ``m`` of them relevant, the first relevant one is expected at place ``(t + 1) / (m + 1)``.
    """
    n = int(queries.max()) + 1
    order = _Order.of(queries, score)
    n_blocks = int(order.block[-1]) + 1
    relevant = relevance[order.rows] > 0
    size, hits = np.bincount(order.block), np.bincount(order.block, weights=relevant, minlength=n_blocks)
    begins = np.flatnonzero(np.append(True, order.block[1:] != order.block[:-1]))
    place = order.position[begins] + (size + 1) / (hits + 1)
    holding = np.flatnonzero(hits > 0)[::-1]  # the first block of a query is written last
    ranks = np.full(n, np.nan)
    ranks[order.query[begins[holding]]] = 1 / place[holding]
    return ranks


def ranking_table(
    models: Mapping[str, np.ndarray],
    y: np.ndarray,
    worth: np.ndarray,
    queries: np.ndarray,
    groups: np.ndarray | None,
) -> pl.DataFrame:
    """Ranking metrics of several models over the queries that have a relevant row, and their paired differences to the first.

    Parameters
    ----------
    models : mapping of str to numpy.ndarray of shape (n_rows, n_classes)
        A row's score is its expected grade.
    y : numpy.ndarray of int64, shape (n_rows,)
        Class codes.
    worth : numpy.ndarray of shape (n_classes,)
        The grade of each class.
    queries : numpy.ndarray of int64, shape (n_rows,)
        Codes 0 .. n_queries - 1 of what is ranked at once.
    groups : numpy.ndarray of int64, shape (n_rows,), optional
        Intervals go by these where each query lies within one, else by query.

    Returns
    -------
    polars.DataFrame
        ``model, metric, value, low, high, difference, difference_low, difference_high, queries``.
    """
    relevance = worth[y]
    units = _units(queries, groups)
    reference, rows = None, []
    for name, proba in models.items():
        score = proba.astype(np.float64) @ worth
        found = dict(
            zip(METRICS, (ndcg(queries, score, relevance), reciprocal_ranks(queries, score, relevance)), strict=True)
        )
        reference = found if reference is None else reference
        for metric in METRICS:
            judged = ~np.isnan(found[metric])
            part = None if units is None else np.unique(units[judged], return_inverse=True)[1]
            value = mean(found[metric][judged]).estimate(part)
            gap = mean(found[metric][judged] - reference[metric][judged]).estimate(part)
            rows.append(
                (name, metric, value.value, *value.interval(0, 1), gap.value, *gap.interval(), int(judged.sum()))
            )
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def ranking_block(report: ImportanceReport) -> Table:
    """nDCG and MRR of each model."""
    frame = report.ranking
    places = decimals_for(frame["high"] - frame["low"])
    rows: list[list[str | Cell]] = []
    for part in frame.partition_by("model", maintain_order=True):
        cells: list[str | Cell] = [gloss(part["model"][0])]
        for row in part.iter_rows(named=True):
            note = "" if row["low"] != row["low"] else span(row["low"], row["high"], decimals=places)
            cells.append(Cell(number(row["value"], decimals=places), note))
            if frame["model"].n_unique() > 1:
                gap = span(row["difference_low"], row["difference_high"], decimals=places)
                same = row["model"] == frame["model"][0]
                cells.append(Cell("–", tone="muted") if same else Cell(number(row["difference"], decimals=places), gap))
        rows.append(cells)
    header = [say("model")]
    for metric in METRICS:
        header += [_NAMES[metric], say("difference")] if frame["model"].n_unique() > 1 else [_NAMES[metric]]
    caption = say(
        "Order within a query, over {n} queries that have a relevant row. 1 is perfect. Small print: 95 % intervals; differences are "
        "paired.",
        n=count(frame["queries"][0]),
    )
    return Table(caption, header, rows)


def _dcg(order: _Order, relevance: np.ndarray, n_queries: int, top: int) -> np.ndarray:
    discount = np.where(order.position < top, 1 / np.log2(order.position + 2.0), 0.0)
    shared = (np.bincount(order.block, weights=discount) / np.bincount(order.block))[order.block]
    return np.bincount(order.query, weights=relevance[order.rows] * shared, minlength=n_queries)


def _units(queries: np.ndarray, groups: np.ndarray | None) -> np.ndarray | None:
    """The group of each query, where no query has rows of two."""
    if groups is None:
        return None
    n = int(queries.max()) + 1
    of_query = np.zeros(n, dtype=np.int64)
    of_query[queries] = groups
    return of_query if bool((of_query[queries] == groups).all()) else None
