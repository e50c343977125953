"""Which item does this search want? Text alone, behaviour alone, and both, on a real search log.

    python examples/search_intent.py FOLDER

FOLDER holds search_clicks.parquet (user, query, sku, title, query_time, click_time) and search_candidates.parquet (search, user,
query, query_time, sku, title, label): candidates of each search, one of them clicked. Train on searches of 1 to 25 September 2011,
test on those from 26 September. Prints mean average precision at 5 over all test searches; a search whose candidates lack the
clicked item counts 0. Behaviour is counted by the query's words in lower case, so that "Halo 3" and "halo-3" are one query.
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from features import BehaviorFeatures, EventLog
from hybrid import HybridClassifier

TEST_FROM = datetime(2011, 9, 26)


def main(folder: Path) -> None:
    clicks = (
        pl.read_parquet(folder / "search_clicks.parquet")
        .rename({"click_time": "time"})
        .with_columns(event=pl.lit("click"))
    )
    searches = pl.read_parquet(folder / "search_candidates.parquet").rename({"query_time": "time"})
    normal = pl.col("query").str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars()
    clicks, searches = clicks.with_columns(words=normal), searches.with_columns(words=normal)
    train, test = searches.filter(pl.col("time") < TEST_FROM), searches.filter(pl.col("time") >= TEST_FROM)

    log = EventLog(item="sku", query="words", event="event", timestamp="time")
    behavior = BehaviorFeatures(log, keys=["item", "query", ("query", "item")], windows=["1d", "7d", "30d", "all"])
    text = {"query": "query", "item": "title"}
    settings = {
        "booster": "lightgbm",
        "max_depth": 5,
        "min_child_weight": 5,
        "subsample": 0.8,
        "colsample": 0.5,
        "reg_lambda": 5,
    }
    models = {
        "behaviour alone": HybridClassifier(behavior=behavior, **settings),
        "text alone": HybridClassifier(text=text, **settings),
        "both": HybridClassifier(text=text, behavior=behavior, **settings),
    }
    for name, model in models.items():
        model.fit(train, train["label"], events=clicks if model.behavior else None, groups=train["search"])
        print(f"{name:16} {map_at_5(test, model.predict_proba(test)[:, 1]):.3f}", flush=True)


def map_at_5(searches: pl.DataFrame, score: np.ndarray) -> float:
    """Mean over searches of 1 / rank of the clicked item, 0 below rank 5."""
    ranked = searches.select("search", "label", score=pl.Series(score)).with_columns(
        rank=pl.col("score").rank("ordinal", descending=True).over("search")
    )
    gain = ranked.filter(label=1).filter(pl.col("rank") <= 5).select((1 / pl.col("rank")).sum()).item()
    return gain / searches["search"].n_unique()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
