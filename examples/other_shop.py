"""A model of another shop, whose tuned layers a shop with few grades of its own starts from.

    python examples/other_shop.py FOLDER OUTPUT

FOLDER holds product_search_relevance.parquet: 37,513 pairs of query and title of a home improvement shop, graded 1 to 3 by the mean of
about three judges. All six layers of all-MiniLM-L6-v2 are trained on them in the head of a hybrid, which is saved as OUTPUT/other_shop.
An hour on one core. Then

    python benchmarks/text.py FOLDER relevance --only "hybrid, tuned layers" --start OUTPUT/other_shop --folds 3

fits other shops' pairs, of four grades, from there.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import polars as pl

from hybrid import HybridClassifier, TextHead


def main(data: Path, output: Path) -> None:
    pairs = pl.read_parquet(data / "product_search_relevance.parquet")
    grades = (pairs["relevance"].to_numpy() * 3).round() / 3  # seven, but for a few pairs of other numbers of judges
    model = HybridClassifier(
        text={"query": "query", "title": "title"},
        encoder="all-MiniLM-L6-v2",
        head="margin",
        text_channels={"head": TextHead(tuned_layers=6, folds=2)},
        n_estimators=100,
        early_stopping_rounds=None,
    )
    began = time.perf_counter()

    def say(step: str, done: int, total: int) -> None:
        if step == "text head":
            print(f"fold {done} of {total}, {time.perf_counter() - began:.0f} s", file=sys.stderr)

    model.fit(pairs, grades, groups=pairs["query"], progress=say)
    model.save(output / "other_shop")
    print(f"saved as {output / 'other_shop'} after {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
