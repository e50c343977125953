"""Which of 150 intents does this query have? Query text only, on CLINC150 (CC BY 3.0, Larson et al., EMNLP 2019).

    python examples/query_intent.py clinc150.parquet

The file has the columns text, intent and split (train, val, test). Prints in-scope test accuracy of the boosted trees, and of a plain
logistic regression on the same embeddings: with text as the only evidence the linear model is the better one, and trees earn their
place when behaviour joins in.
"""

from __future__ import annotations

import sys
import time

import polars as pl
from sklearn.linear_model import LogisticRegression

from hybrid import HybridClassifier, TextEncoder


def main(path: str) -> None:
    queries = pl.read_parquet(path)
    train, valid, test = (queries.filter(pl.col("split") == split) for split in ("train", "val", "test"))
    encoder = TextEncoder("all-MiniLM-L6-v2")
    vectors = {split: encoder.encode(part["text"]) for split, part in (("train", train), ("test", test))}

    started = time.perf_counter()
    linear = LogisticRegression(C=10, max_iter=300).fit(vectors["train"], train["intent"].to_numpy())
    accuracy = (linear.predict(vectors["test"]) == test["intent"].to_numpy()).mean()
    print(f"logistic regression  {accuracy:.3f}  {time.perf_counter() - started:4.0f} s", flush=True)

    started = time.perf_counter()
    model = HybridClassifier(
        text={"query": "text"},
        encoder=encoder,
        text_channels={"coordinates": 64},
        n_estimators=60,
        learning_rate=0.2,
        max_depth=3,
        colsample=0.5,
    )
    model.fit(train, train["intent"], eval_set=(valid, valid["intent"]))
    accuracy = (model.predict(test) == test["intent"].to_numpy()).mean()
    print(f"boosted trees        {accuracy:.3f}  {time.perf_counter() - started:4.0f} s", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
