"""Rows of a query, an item's text and perhaps a label, checked and cleaned; and which of them are held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from features.frames import Frame, require_columns, require_rows, to_polars
from hybrid.errors import PairsError
from hybrid.texts import role_text

WHAT = "pairs"
MOST_HELD_OUT = 1_000  # queries: enough to tell a gain of 0.01 in nDCG, and quick to evaluate
FEWEST_QUERIES = 10


@dataclass(frozen=True)
class PairColumns:
    """Which columns of a frame hold what.

    Parameters
    ----------
    anchor : str
        The query.
    positive : str or sequence of str
        The item's text; several columns are joined as a role's columns are.
    label : str, optional
        How well the item answers the query; without it every row is a positive.
    time : str, optional
        When the row was observed.
    """

    anchor: str
    positive: str | Sequence[str]
    label: str | None
    time: str | None


@dataclass(frozen=True)
class Split:
    """Rows to train on and rows to evaluate on; no query is in both.

    Parameters
    ----------
    train, held_out : polars.DataFrame
        Each pair of texts once, in order of first appearance: ``anchor``, ``item``, ``key`` and ``label``, the highest. A label that
        a pair got after training ends does not count in ``train``.
    left_out : int
        Rows in neither: of queries that are trained on, but later than training ends.
    """

    train: pl.DataFrame
    held_out: pl.DataFrame
    left_out: int


def read_pairs(frame: Frame, columns: PairColumns, min_label: float) -> pl.DataFrame:
    """Check and clean the rows that a user gave.

    Returns
    -------
    polars.DataFrame
        ``anchor`` and ``item`` (text), ``key`` (the query in lower case without punctuation: what tells queries apart), ``label``
        (Float64; ``min_label`` where there is no label column) and, where asked for, ``time``. In the order of the frame; rows without a
        query, item, label or time are left out.

    Raises
    ------
    ColumnError, EmptyFrameError
        A column is missing or of the wrong kind, or there are no rows.
    PairsError
        Nothing can be learned from the rows: too few queries, no positive, one item.
    """
    given = to_polars(frame, WHAT)
    require_rows(given, WHAT)
    texts = [columns.positive] if isinstance(columns.positive, str) else list(columns.positive)
    named = [columns.anchor, *texts, *(name for name in (columns.label, columns.time) if name is not None)]
    require_columns(given, named, WHAT)
    key = pl.col("anchor").str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars()
    cells = {
        "anchor": role_text(given, [columns.anchor], WHAT),
        "item": role_text(given, texts, WHAT),
        "label": pl.Series([float(min_label)]).new_from_index(0, given.height)
        if columns.label is None
        else _labels(given[columns.label]),
        **({} if columns.time is None else {"time": _times(given[columns.time])}),
    }
    rows = pl.DataFrame(cells).drop_nulls()
    rows = rows.with_columns(key=pl.when(key == "").then("anchor").otherwise(key))
    if rows.is_empty():
        raise PairsError(
            f"none of the {given.height:,} rows of {WHAT} has a query in {columns.anchor!r}, an item in {columns.positive!r}"
            + "".join(f" and a value in {name!r}" for name in (columns.label, columns.time) if name is not None)
        )
    _require_learnable(rows, columns, min_label, given.height)
    return rows


def hold_out(rows: pl.DataFrame, share: float, min_label: float, random_state: int) -> Split:
    """Split queries off to evaluate on: the latest where rows have a time, else drawn at random.

    A tenth is ``share=0.1`` of the queries that have a positive, at most 1,000 of them. With a time, training ends where the held-out
    queries begin: these are the queries first seen from then on, and later rows of other queries are in neither part.
    """
    answered = rows.filter(pl.col("label") >= min_label)
    n_queries = answered["key"].n_unique()
    n_held = max(1, min(MOST_HELD_OUT, round(n_queries * share)))
    if "time" not in rows.columns:
        keys = answered["key"].unique(maintain_order=True)
        held = keys.gather(np.random.default_rng(random_state).permutation(n_queries)[:n_held])
        chosen = pl.col("key").is_in(held.implode())
        return Split(_distinct(rows.filter(~chosen)), _distinct(rows.filter(chosen)), 0)
    first = rows.group_by("key").agg(pl.col("time").min(), pl.col("label").max()).filter(pl.col("label") >= min_label)
    begin = first["time"].sort(descending=True)[n_held - 1]
    train = rows.filter(pl.col("time") < begin)
    held_out = rows.filter(pl.col("time") >= begin, ~pl.col("key").is_in(train["key"].unique().implode()))
    if train.filter(pl.col("label") >= min_label)["key"].n_unique() < 2:
        raise PairsError(
            f"fewer than two queries of {WHAT} are earlier than {begin}, where the latest {n_held:,} of {n_queries:,} begin: "
            "name a column with other times, or none"
        )
    left_out = rows.height - train.height - held_out.height
    return Split(_distinct(train), _distinct(held_out), left_out)


def _distinct(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by("anchor", "item", "key", maintain_order=True).agg(pl.col("label").max())


def _labels(label: pl.Series) -> pl.Series:
    if not (label.dtype.is_numeric() or label.dtype in (pl.Boolean, pl.Null)):
        raise PairsError(f"label column {label.name!r} of {WHAT} must hold numbers or booleans, not {label.dtype}")
    numbers = label.cast(pl.Float64)
    bad = int(((numbers < 0) | ~numbers.is_finite()).sum())
    if bad:
        raise PairsError(
            f"label column {label.name!r} of {WHAT} has {bad:,} values that are negative or not finite in {len(label):,} rows; "
            "a label is 0 for no answer, and more for a better one"
        )
    return numbers


def _times(time: pl.Series) -> pl.Series:
    if not (time.dtype.is_temporal() or time.dtype.is_integer()):
        raise PairsError(
            f"time column {time.name!r} of {WHAT} must hold dates, times or whole numbers, not {time.dtype}"
        )
    return time


def _require_learnable(rows: pl.DataFrame, columns: PairColumns, min_label: float, n_given: int) -> None:
    positives = rows.filter(pl.col("label") >= min_label)
    n_queries = positives["key"].n_unique()
    of = f"{rows.height:,} of {n_given:,} rows are usable"
    if positives.is_empty():
        raise PairsError(
            f"{WHAT} have no positive: {of}, and the highest label in {columns.label!r} is {rows['label'].max()!r}, "
            f"below min_label={min_label}"
        )
    if n_queries < FEWEST_QUERIES:
        raise PairsError(
            f"{WHAT} have {n_queries} distinct {'query' if n_queries == 1 else 'queries'} with a positive in {columns.anchor!r} "
            f"({of}); at least {FEWEST_QUERIES} are needed, to learn from some and evaluate on others"
        )
    if positives["item"].n_unique() < 2:
        raise PairsError(
            f"all positives of {WHAT} have one text in {columns.positive!r}, {positives['item'][0][:60]!r}: there is nothing to tell apart"
        )
