"""A small shop whose columns and classes have hostile names, and a model of it, for tests that look at pages."""

from __future__ import annotations

import numpy as np
import polars as pl

from hybrid import HybridClassifier
from tests.encoders import HashEncoder

HOSTILE = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>"


def searches(n: int = 400) -> tuple[pl.DataFrame, np.ndarray]:
    """Queries and 16 numbers, one of them with a hostile name, and whether the search ended in a hostile class."""
    rng = np.random.default_rng(0)
    words = np.array(["red", "blue", "shoe", "boot", "lamp", "<b>bold</b>"])
    values = rng.normal(size=(n, 16))
    names = [*(f"{letter} price" for letter in "abcdefghijklmno"), HOSTILE]
    queries = [" ".join(rng.choice(words, 2)) for _ in range(n)]
    frame = pl.DataFrame(values, schema=names).with_columns(query=pl.Series(queries))
    bought = frame["query"].str.contains("red").to_numpy() ^ (values @ (np.arange(16) > 8) > 3)
    return frame, np.where(bought, HOSTILE, "leaves")


def small_model() -> HybridClassifier:
    """Reads queries and numbers; quick to train."""
    return HybridClassifier(
        text={"query": "query"},
        numeric=searches(1)[0].columns[:-1],
        encoder=HashEncoder(),
        head=None,
        booster="xgboost",
        n_estimators=10,
        max_depth=3,
        early_stopping_rounds=None,
        n_jobs=1,
    )
