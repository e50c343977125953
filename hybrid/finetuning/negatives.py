"""Training rows: each positive with the negatives that it must win against, beside those of its batch."""

from __future__ import annotations

import numpy as np
import polars as pl

from hybrid.errors import PairsError

_DRAWS = 8  # random items for a place to fill, of which those that are no positive of the query count


def training_rows(rows: pl.DataFrame, min_label: float, n_negatives: int, random_state: int) -> pl.DataFrame:
    """One row a positive, with its hard negatives.

    Parameters
    ----------
    rows : polars.DataFrame
        The training part of a ``Split``.
    min_label : float
        Rows of at least this label are positives; the others are hard negatives of their query.
    n_negatives : int
        For each positive. The negatives of a query go round among its positives; where it has too few, random items of other
        queries fill up. A row that cannot be filled is left out.
    random_state : int
        Orders the negatives and draws the random items.

    Returns
    -------
    polars.DataFrame
        ``anchor``, ``positive`` and ``negative_1`` to ``negative_{n}``, all String.
    """
    is_positive = pl.col("label") >= min_label
    positives = rows.filter(is_positive).select("anchor", "key", positive="item").with_row_index("row")
    if not n_negatives:
        return positives.select("anchor", "positive")
    answers = positives.select("key", item="positive").unique()
    places = positives.select(
        "row",
        "key",
        nth=pl.int_range(pl.len()).over("key"),
        place=pl.lit(list(range(n_negatives)), dtype=pl.List(pl.Int64)),
    ).explode("place")
    own = _own_negatives(rows.filter(~is_positive), answers, places, n_negatives, random_state)
    drawn = _drawn_items(rows["item"].unique(maintain_order=True), answers, places, random_state)
    taken = pl.concat([own, drawn]).unique(["row", "item"], keep="first", maintain_order=True)
    lists = taken.group_by("row", maintain_order=True).agg(pl.col("item").head(n_negatives))
    full = lists.filter(pl.col("item").list.len() == n_negatives)
    names = {f"negative_{n + 1}": pl.col("item").list.get(n) for n in range(n_negatives)}
    return positives.join(full, on="row").sort("row").select("anchor", "positive", **names)


def graded_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """The training part of a ``Split`` as pairs with their grade: ``anchor``, ``positive`` and ``label``.

    Raises
    ------
    PairsError
        All labels are one.
    """
    if rows["label"].n_unique() < 2:
        raise PairsError(
            f"all {rows.height:,} pairs to train on have the label {rows['label'][0]:g}: there are no grades to learn"
        )
    return rows.select("anchor", "label", positive="item").select("anchor", "positive", "label")


def _own_negatives(
    negatives: pl.DataFrame, answers: pl.DataFrame, places: pl.DataFrame, n_negatives: int, random_state: int
) -> pl.DataFrame:
    """For each row those negatives of its query whose turn it is: ``row``, ``item``."""
    pool = (
        negatives.select("key", "item")
        .unique(maintain_order=True)
        .join(answers, on=["key", "item"], how="anti", maintain_order="left")
        .sample(fraction=1, shuffle=True, seed=random_state)
        .with_columns(turn=pl.int_range(pl.len()).over("key"), size=pl.len().over("key"))
    )
    sizes = pool.group_by("key").agg(pl.col("size").first())
    turns = (
        places.join(sizes, on="key")
        .filter(pl.col("place") < pl.col("size"))
        .with_columns(turn=(pl.col("nth") * n_negatives + pl.col("place")) % pl.col("size"))
    )
    return turns.join(pool.select("key", "turn", "item"), on=["key", "turn"]).sort("row", "place").select("row", "item")


def _drawn_items(items: pl.Series, answers: pl.DataFrame, places: pl.DataFrame, random_state: int) -> pl.DataFrame:
    """Random items for each place that are no positive of the row's query: ``row``, ``item``."""
    draws = np.random.default_rng(random_state).integers(0, len(items), (places.height, _DRAWS))
    drawn = places.select("row", "key").with_columns(
        item=pl.Series(items.gather(draws.ravel()).to_numpy().reshape(draws.shape).tolist())
    )
    free = drawn.explode("item").with_row_index("at").join(answers, on=["key", "item"], how="anti")
    return free.sort("at").select("row", "item")
