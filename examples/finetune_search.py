"""An encoder adapted to a shop: what it gains on real data.

    python examples/finetune_search.py FOLDER OUTPUT search | relevance | intents

FOLDER holds the data, OUTPUT is where the encoders go. Each prints what it measures before and after, and takes some minutes on two
cores (where others work on the same cores, set OMP_WAIT_POLICY=passive: threads that spin while they wait make it several times slower).

search      Clicks and shown items before 26 September 2011 (search_clicks.parquet, search_candidates.parquet): mean average precision
            at 5 of the cosine alone, over the searches from then on, as in search_intent.py.
relevance   Human grades 1 to 4 of query and title (query_product_relevance.parquet): nDCG@10 on queries held out.
intents     150 intents of queries (clinc150.parquet): in-scope test accuracy of a logistic regression on the embeddings.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
from search_intent import map_at_5
from sklearn.linear_model import LogisticRegression

from hybrid import FineTuned, TextEncoder, finetune

TEST_FROM = datetime(2011, 9, 26)
BASE = TextEncoder("all-MiniLM-L6-v2")


def search(data: Path, output: Path) -> None:
    clicks = pl.read_parquet(data / "search_clicks.parquet").with_columns(label=pl.lit(1, pl.Int8))
    candidates = pl.read_parquet(data / "search_candidates.parquet")
    columns = ["query", "title", "label", "query_time"]
    shown = pl.concat([clicks.select(columns), candidates.select(columns)]).filter(pl.col("query_time") < TEST_FROM)
    tuned = finetune(BASE, shown, output / "search", label="label", max_tokens=32, epochs=2, progress=said())
    test = candidates.filter(pl.col("query_time") >= TEST_FROM)
    report(tuned, "MAP@5 of the cosine", lambda encoder: map_at_5(test, cosine(encoder, test)))


def relevance(data: Path, output: Path) -> None:
    pairs = pl.read_parquet(data / "query_product_relevance.parquet")
    options = {"label": "relevance", "min_label": 4, "holdout": 0.3, "batch_size": 32, "freeze": 0}
    tuned = finetune(BASE, pairs, output / "relevance", **options, progress=said())
    print(tuned.verdict)


def intents(data: Path, output: Path) -> None:
    queries = pl.read_parquet(data / "clinc150.parquet").filter(pl.col("intent") != "oos")
    queries = queries.with_columns(name=pl.col("intent").str.replace_all("_", " "))
    train, test = queries.filter(pl.col("split") != "test"), queries.filter(pl.col("split") == "test")
    options = {"anchor": "text", "positive": "name", "max_tokens": 32}
    tuned = finetune(
        BASE, train, output / "clinc", **options, epochs=2, learning_rate=2e-4, freeze=0, patience=None, progress=said()
    )

    def accuracy(*encoders: TextEncoder) -> float:
        seen, new = (np.hstack([encoder.encode(part["text"]) for encoder in encoders]) for part in (train, test))
        linear = LogisticRegression(C=10, max_iter=300).fit(seen, train["intent"].to_numpy())
        return float((linear.predict(new) == test["intent"].to_numpy()).mean())

    report(tuned, "test accuracy", accuracy)
    print(f"test accuracy on both embeddings side by side: {accuracy(BASE, tuned.encoder):.4f}")


def cosine(encoder: TextEncoder, rows: pl.DataFrame) -> np.ndarray:
    query, title = encoder.encode(rows["query"], role="query"), encoder.encode(rows["title"], role="item")
    return np.einsum("ij,ij->i", query, title)


def report(tuned: FineTuned, what: str, measure: Callable[[TextEncoder], float]) -> None:
    print(tuned.verdict)
    print(f"{what}: {measure(BASE):.4f} before, {measure(tuned.encoder):.4f} after")


def said() -> Callable[[str, int, int], None]:
    """Progress every 20 steps."""
    began = time.perf_counter()

    def say(step: str, done: int, total: int) -> None:
        if done % 20 == 0 or done == total:
            print(f"{step}: {done} of {total}, {time.perf_counter() - began:.0f} s", file=sys.stderr)

    return say


if __name__ == "__main__":
    tasks = {"search": search, "relevance": relevance, "intents": intents}
    if len(sys.argv) != 4 or sys.argv[3] not in tasks:
        sys.exit(__doc__)
    tasks[sys.argv[3]](Path(sys.argv[1]), Path(sys.argv[2]))
