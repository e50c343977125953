"""How well does this product answer this query? Grades 1 to 4 from the query, the title and the description.

    python examples/query_product_relevance.py relevance.parquet

The file has the columns query, title, description, relevance (1 to 4) and fold. Prints the quadratic weighted kappa of the rounded
expected grade, fold by fold, each predicted by a model that was trained on the others.
"""

from __future__ import annotations

import sys

import numpy as np
import polars as pl
from sklearn.metrics import cohen_kappa_score

from hybrid import HybridClassifier


def main(path: str) -> None:
    pairs = pl.read_parquet(path)
    kappas = []
    for fold in sorted(pairs["fold"].unique()):
        train, test = pairs.filter(pl.col("fold") != fold), pairs.filter(pl.col("fold") == fold)
        model = HybridClassifier(
            text={"query": "query", "title": "title", "description": "description"},
            n_estimators=300,
            learning_rate=0.05,
            max_depth=5,
            subsample=0.8,
            colsample=0.4,
            early_stopping_rounds=None,
        )
        model.fit(train, train["relevance"])
        expected = model.predict_proba(test) @ model.classes_
        kappas.append(cohen_kappa_score(test["relevance"], np.rint(expected), weights="quadratic"))
        print(f"fold {fold}: {kappas[-1]:.3f} (head: {model.head_.mode}, {model.head_.reason})", flush=True)
    print(f"mean:   {np.mean(kappas):.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
