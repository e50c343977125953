"""A trained hybrid in a new domain: adapted, trained on the new domain alone, and left as it is, by the number of new labels.

    python benchmarks/transfer.py FOLDER

FOLDER holds product_search_relevance.parquet, the source: query and title of a home improvement shop, relevant at a mean of 2.5 or more;
and query_product_relevance.parquet, the target: query and title of several other shops, relevant at grade 4. Labels are drawn by whole
queries and tested on the other half of the queries. Prints log loss and ROC AUC, the mean of two draws, and the way that `adapt` took.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.metrics import log_loss, roc_auc_score

from hybrid import HybridClassifier

LABELS = (30, 100, 300)
SETTINGS = {"text": {"query": "query", "title": "title"}, "n_estimators": 150, "max_depth": 4, "head": "feature"}
QUIET = {"early_stopping_rounds": None}


def main(folder: Path) -> None:
    source = pl.read_parquet(folder / "product_search_relevance.parquet").sample(6_000, seed=0)
    target = pl.read_parquet(folder / "query_product_relevance.parquet")
    y_source = source["relevance"].to_numpy() >= 2.5
    fitted = HybridClassifier(**SETTINGS, **QUIET).fit(source, y_source, groups=source["query"])
    scores: dict[tuple[int, str], list[tuple[float, float]]] = {}
    ways: dict[int, list[str]] = {}
    for draw in range(2):
        queries = target["query"].unique(maintain_order=True).shuffle(seed=draw)
        half = len(queries) // 2
        test = target.filter(pl.col("query").is_in(queries[:half].implode()))
        order = pl.DataFrame({"query": queries[half:]}).with_row_index("place")
        pool = target.join(order, on="query").sort("place", "id")
        truth = test["relevance"].to_numpy() == 4
        for n in LABELS:
            few = pool[:n]
            y = few["relevance"].to_numpy() == 4
            adapted = fitted.adapt(few, y, groups=few["query"], source=(source[:2000], y_source[:2000]))
            ways.setdefault(n, []).append(adapted.adaptation_.way)
            alone = HybridClassifier(**SETTINGS, **QUIET).fit(few, y, groups=few["query"])
            for name, model in (("adapted", adapted), ("target only", alone), ("source only", fitted)):
                proba = model.predict_proba(test)[:, 1]
                scores.setdefault((n, name), []).append((log_loss(truth, proba), roc_auc_score(truth, proba)))
    for n in LABELS:
        print(f"{n} labels; adapt took {', '.join(sorted(set(ways[n])))}")
        for name in ("adapted", "target only", "source only"):
            loss, auc = np.mean(scores[n, name], axis=0)
            print(f"  {name:12} log loss {loss:.3f}  ROC AUC {auc:.3f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
