"""Training the layers of an encoder on a CPU: bfloat16 where the processor multiplies it, against single precision, in one run.

    python benchmarks/tuned_layers.py FOLDER

FOLDER holds query_product_relevance.parquet: 512 pairs of query and title, all six layers of all-MiniLM-L6-v2, one epoch of a head's
training each, in turns; then 2,048 pairs to learn from and 512 others, three epochs, to compare what was learned.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import polars as pl
import torch
from scipy.special import log_softmax

from hybrid import TextEncoder
from hybrid.device import multiplies_bfloat16
from hybrid.encoded_texts import EncodedTexts
from hybrid.head import tuned
from hybrid.head.tuned import TunedFolds

ROLES = ("query", "title")
CPU = torch.device("cpu")


def folds(rows: pl.DataFrame, half: bool) -> TunedFolds:
    encoded = EncodedTexts({role: rows[role] for role in ROLES}, {}, TextEncoder("all-MiniLM-L6-v2", device="cpu"))
    codes = rows["relevance"].to_numpy().astype(np.int64) - 1
    with mock.patch.object(tuned, "multiplies_bfloat16", return_value=half):
        return TunedFolds(encoded, ROLES, 6, codes, None, 4, CPU)


def main(folder: Path) -> None:
    if not multiplies_bfloat16(CPU):
        sys.exit(
            "this processor has no unit that multiplies matrices of bfloat16: heads train in single precision here"
        )
    rows = pl.read_parquet(folder / "query_product_relevance.parquet").sample(2_560, seed=0)
    names = {True: "bfloat16", False: "single precision"}
    seconds: dict[bool, list[float]] = {True: [], False: []}
    with mock.patch.multiple(tuned, _FEWEST_STEPS=1, _MOST_EPOCHS=1):
        made = {half: folds(rows[:512], half) for half in names}
        for turn in range(4):
            for half, one in made.items():
                started = time.perf_counter()
                one.train(np.arange(512), 0)
                if turn:  # the first warms up
                    seconds[half].append(time.perf_counter() - started)
    for half, name in names.items():
        one = folds(rows, half)
        one.train(np.arange(2_048), 0)
        held = np.arange(2_048, 2_560)
        truth = rows["relevance"].to_numpy().astype(np.int64)[held] - 1
        loss = -log_softmax(one.predict(held).astype(np.float64), axis=1)[np.arange(len(held)), truth].mean()
        print(f"{name}: {512 / min(seconds[half]):.1f} pairs/s, log loss of other pairs {loss:.4f}", flush=True)
    print(f"{min(seconds[False]) / min(seconds[True]):.2f} times")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
