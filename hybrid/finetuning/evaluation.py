"""How well vectors rank items for the held-out queries: nDCG@10 among a query's own candidates, or MRR@10 among many items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

Encode = Callable[[list[str], Literal["anchor", "item"]], np.ndarray]
"""Unit vectors of texts that are queries or items; float32, shape (n_texts, dimension)."""

TOP = 10
_MOST_ITEMS = 5_000  # that a query's positives are ranked among where it has no candidates of its own
_RESAMPLES = 2_000


@dataclass(frozen=True)
class HeldOut:
    """Queries that are not trained on, and the items to rank for each.

    Parameters
    ----------
    metric : {"ndcg@10", "mrr@10"}
        The first where the held-out rows say which of a query's candidates are better: mean nDCG@10 with the labels as gains
        (Järvelin and Kekäläinen 2002; as scikit-learn's ``ndcg_score``), over queries whose candidates differ in label. The other
        elsewhere: mean of 1 / rank of the first positive among all items, at most 5,000, 0 below rank 10.
    anchors, items : list of str
        Distinct queries, each in its first spelling, and distinct items.
    candidates : polars.DataFrame
        ``query`` and ``item`` (positions in these lists) and ``label``; for "mrr@10" the positives alone.
    """

    metric: str
    anchors: list[str]
    items: list[str]
    candidates: pl.DataFrame

    @classmethod
    def of(cls, held_out: pl.DataFrame, train: pl.DataFrame, min_label: float, random_state: int) -> HeldOut:
        """What the held-out rows can be asked; ``train`` adds items that positives are ranked among."""
        one_spelling = held_out.with_columns(pl.col("anchor").first().over("key"))
        rows = one_spelling.group_by("key", "anchor", "item", maintain_order=True).agg(pl.col("label").max())
        differ = rows.filter(pl.col("label").n_unique().over("key") > 1)
        if differ.height:
            return cls._from("ndcg@10", differ, differ["item"].unique(maintain_order=True))
        positives = rows.filter(pl.col("label") >= min_label)
        own = positives["item"].unique(maintain_order=True)
        others = pl.concat([rows["item"], train["item"]]).unique(maintain_order=True)
        others = others.filter(~others.is_in(own.implode()))
        n_more = min(len(others), max(0, _MOST_ITEMS - len(own)))
        more = others.gather(np.random.default_rng(random_state).permutation(len(others))[:n_more])
        return cls._from("mrr@10", positives, pl.concat([own, more]))

    @classmethod
    def _from(cls, metric: str, rows: pl.DataFrame, items: pl.Series) -> HeldOut:
        anchors = rows["anchor"].unique(maintain_order=True)
        at_anchor = pl.DataFrame({"anchor": anchors}).with_row_index("query")
        at_item = pl.DataFrame({"item": items}).with_row_index("at")
        placed = rows.join(at_anchor, on="anchor", maintain_order="left").join(
            at_item, on="item", maintain_order="left"
        )
        return cls(metric, anchors.to_list(), items.to_list(), placed.select("query", item="at", label="label"))

    @property
    def n_queries(self) -> int:
        """Queries that count."""
        return len(self.anchors)

    def values(self, encode: Encode) -> np.ndarray:
        """The metric of each query, float64; ties are broken against the model, so that vectors that are all alike gain nothing."""
        anchors, items = encode(self.anchors, "anchor"), encode(self.items, "item")
        return self._ndcg(anchors, items) if self.metric == "ndcg@10" else self._mrr(anchors, items)

    def _ndcg(self, anchors: np.ndarray, items: np.ndarray) -> np.ndarray:
        pairs = self.candidates
        similarity = np.einsum("ij,ij->i", anchors[pairs["query"].to_numpy()], items[pairs["item"].to_numpy()])
        scored = pairs.with_columns(score=pl.Series(similarity.round(6)))
        ranked = scored.sort("query", "score", "label", descending=[False, True, False])
        ideal = scored.sort("query", "label", descending=[False, True])
        return _discounted_gain(ranked) / _discounted_gain(ideal)

    def _mrr(self, anchors: np.ndarray, items: np.ndarray) -> np.ndarray:
        similarity = (anchors @ items.T).round(6)  # one row a query
        positive = np.zeros(similarity.shape, dtype=bool)
        positive[self.candidates["query"].to_numpy(), self.candidates["item"].to_numpy()] = True
        best = np.where(positive, similarity, -np.inf).max(axis=1, keepdims=True)
        rank = 1 + ((similarity >= best) & ~positive).sum(axis=1)
        return np.where(rank <= TOP, 1 / rank, 0.0)


def _discounted_gain(ranked: pl.DataFrame) -> np.ndarray:
    """DCG@10 of each query, in the order of queries; ``ranked`` has a query's candidates in a row, the best first."""
    rank = pl.int_range(1, pl.len() + 1).over("query")
    discounted = pl.when(rank <= TOP).then(pl.col("label") / (rank + 1).log(2)).otherwise(0.0)
    return (
        ranked.select("query", gain=discounted)
        .group_by("query")
        .agg(pl.col("gain").sum())
        .sort("query")["gain"]
        .to_numpy()
    )


def gain_interval(before: np.ndarray, after: np.ndarray, random_state: int) -> tuple[float, float]:
    """The 95 % interval of the mean of ``after - before``, by resampling queries (bootstrap percentiles)."""
    gain = after - before
    drawn = np.random.default_rng(random_state).integers(0, len(gain), (_RESAMPLES, len(gain)))
    low, high = np.quantile(gain[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)
