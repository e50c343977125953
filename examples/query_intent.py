"""Which of 150 intents does this query have? Query text only, on CLINC150 (CC BY 3.0, Larson et al., EMNLP 2019).

    python examples/query_intent.py clinc150.parquet

The file has the columns text, intent and split (train, val, test). Prints in-scope test accuracy, trained on train and val, of the hybrid,
whose text head the trees start from, and of a logistic regression on the same embeddings.
"""

from __future__ import annotations

import sys
import time

import polars as pl
from sklearn.linear_model import LogisticRegression

from hybrid import HybridClassifier, TextEncoder


def main(path: str) -> None:
    queries = pl.read_parquet(path).filter(pl.col("intent") != "oos")
    train, test = queries.filter(pl.col("split").is_in(["train", "val"])), queries.filter(pl.col("split") == "test")
    encoder = TextEncoder("all-MiniLM-L6-v2")
    vectors, new_vectors = encoder.encode(train["text"]), encoder.encode(test["text"])

    started = time.perf_counter()
    linear = LogisticRegression(C=10, max_iter=300).fit(vectors, train["intent"].to_numpy())
    accuracy = (linear.predict(new_vectors) == test["intent"].to_numpy()).mean()
    print(f"logistic regression  {accuracy:.3f}  {time.perf_counter() - started:4.0f} s", flush=True)

    started = time.perf_counter()
    model = HybridClassifier(
        text={"query": "text"}, encoder=encoder, n_estimators=60, learning_rate=0.2, max_depth=3, colsample=0.4
    )
    model.fit(train, train["intent"])
    accuracy = (model.predict(test) == test["intent"].to_numpy()).mean()
    print(f"hybrid               {accuracy:.3f}  {time.perf_counter() - started:4.0f} s", flush=True)
    print(f"head: {model.head_.mode}, as {model.head_.reason}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
