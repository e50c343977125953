"""Which item does this search want? Text alone, behaviour alone, and both, on a real search log.

    python examples/search_intent.py FOLDER [--encoder TUNED] [--ablation]

FOLDER holds search_clicks.parquet (user, query, sku, title, query_time, click_time) and search_candidates.parquet (search, user,
query, query_time, sku, title, label): candidates of each search, one of them clicked. Train on searches of 1 to 25 September 2011,
test on those from 26 September. Prints mean average precision at 5 over all test searches; a search whose candidates lack the
clicked item counts 0. Behaviour is counted by the query's words in lower case, so that "Halo 3" and "halo-3" are one query; what
similar queries led to is part of it. TUNED is an encoder that finetune_search.py made from the clicks before the test; it then embeds the
texts and finds the similar queries. With --ablation, behaviour and both are fitted again without each family of features.
"""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from features import BehaviorFeatures, Decay, EventLog, Family, Share, Similar
from hybrid import HybridClassifier, TextEncoder

TEST_FROM = datetime(2011, 9, 26)
WINDOWS = ["1d", "7d", "30d", "all"]
LOG = EventLog(user="user", item="sku", query="words", event="event", timestamp="time")
PAIR = ("query", "item")
TEXT = {"query": "query", "item": "title"}
SETTINGS = {
    "booster": "lightgbm",
    "head": None,  # items and queries turn over by the week: a head learns labels of titles that are gone by the test
    "max_depth": 5,
    "min_child_weight": 5,
    "subsample": 0.8,
    "colsample": 0.5,
    "reg_lambda": 5,
}


def main(folder: Path, encoder: TextEncoder, ablation: bool) -> None:
    clicks, train, test = searches(folder)
    families = {
        "similar queries": Similar(keys=["query", PAIR], vectors=encoder, min_similarity=0.4, power=3),
        "shares": Share(keys=[PAIR]),
        "decay": Decay(keys=["item", PAIR], half_lives=["6h", "2d"]),
    }
    text = {"text": TEXT, "encoder": encoder, **SETTINGS}
    rows = {
        "behaviour alone": HybridClassifier(behavior=behavior(families), **SETTINGS),
        "text alone": HybridClassifier(**text),
        "both": HybridClassifier(behavior=behavior(families), **text),
    }
    for name in families if ablation else ():
        others = behavior({other: family for other, family in families.items() if other != name})
        rows[f"behaviour, no {name}"] = HybridClassifier(behavior=others, **SETTINGS)
        rows[f"both, no {name}"] = HybridClassifier(behavior=others, **text)
    for name, model in rows.items():
        model.fit(train, train["label"], events=clicks if model.behavior else None, groups=train["search"])
        print(f"{name:30} {map_at_5(test, model.predict_proba(test)[:, 1]):.4f}", flush=True)


def searches(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Clicks, and the candidates of the searches to train and to test on."""
    clicks = (
        pl.read_parquet(folder / "search_clicks.parquet")
        .rename({"click_time": "time"})
        .with_columns(event=pl.lit("click"))
    )
    candidates = pl.read_parquet(folder / "search_candidates.parquet").rename({"query_time": "time"})
    normal = pl.col("query").str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars()
    clicks, candidates = clicks.with_columns(words=normal), candidates.with_columns(words=normal)
    test = pl.col("time") >= TEST_FROM
    return clicks, candidates.filter(~test), candidates.filter(test)


def behavior(families: dict[str, Family]) -> BehaviorFeatures:
    """Clicks of the item, the query, the pair and the user, with further families."""
    keys = ["item", "query", PAIR, ("user", "item"), "user"]
    return BehaviorFeatures(LOG, keys, WINDOWS, families=list(families.values()))


def map_at_5(searches: pl.DataFrame, score: np.ndarray) -> float:
    """Mean over searches of 1 / rank of the clicked item, 0 below rank 5."""
    ranked = searches.select("search", "label", score=pl.Series(score)).with_columns(
        rank=pl.col("score").rank("ordinal", descending=True).over("search")
    )
    gain = ranked.filter(label=1).filter(pl.col("rank") <= 5).select((1 / pl.col("rank")).sum()).item()
    return gain / searches["search"].n_unique()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2")
    parser.add_argument("--ablation", action="store_true")
    given = parser.parse_args()
    main(given.folder, TextEncoder(given.encoder), given.ablation)
