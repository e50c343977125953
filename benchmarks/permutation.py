"""How often the permutation interval of a group of pure noise misses zero, and its p-value is below 0.05; both should be one in twenty.

    python benchmarks/permutation.py [--runs 1000] [--repeats 5]

Each run trains 40 rounds on 1,500 rows of planted data (a strong group, a weak one, a blurred copy of the strong one, and noise) and looks
at 1,000 new rows, shuffled five times, as a report shuffles few rows, or once, as it shuffles 50,000; with groups, each five rows have one
user, whose noise and whose inclination are the same. Beside Student's interval over groups of rows, which reports use, stands that of a
percentile bootstrap of the same row-wise rises.
"""

from __future__ import annotations

import argparse

import numpy as np

from hybrid.boosters import TreeParameters, booster_class
from hybrid.matrix import Column, FeatureMatrix
from hybrid.metrics import row_losses
from hybrid.reports.importance import permutation_rises
from hybrid.reports.inference import mean

NAMES = {"user behaviour": 2, "item text": 8, "item behaviour": 1, "session": 2}
COLUMNS = tuple(Column(f"{group}_{i}", group) for group, n in NAMES.items() for i in range(n))
RESAMPLES = 500


def planted(n: int, rng: np.random.Generator, users: np.ndarray | None) -> tuple[FeatureMatrix, np.ndarray]:
    strong, text, noise = rng.normal(size=(n, 2)), rng.normal(size=(n, 8)), rng.normal(size=(n, 2))
    inclined = np.zeros(n)
    if users is not None:
        noise, inclined = noise[users], rng.normal(size=n)[users]
    copy = strong[:, :1] + 0.2 * rng.normal(size=(n, 1))
    margin = 1.6 * strong[:, 0] + 1.2 * strong[:, 1] + 0.7 * text[:, 3] - 1 + inclined
    y = (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(np.int64)
    return FeatureMatrix(np.hstack([strong, text, copy, noise]).astype(np.float32), COLUMNS), y


def one(seed: int, grouped: bool, repeats: int) -> tuple[bool, bool, bool]:
    """Whether Student's interval misses zero, its p-value is below 0.05, and the bootstrap's interval misses zero."""
    rng, kind = np.random.default_rng(seed), booster_class("xgboost")
    users = [np.arange(n) // 5 if grouped else None for n in (1_500, 1_000)]
    matrix, y = planted(1_500, rng, users[0])
    parameters = TreeParameters(n_estimators=40, learning_rate=0.15, max_depth=3)
    booster = kind.train(kind.bin(matrix, y, n_jobs=1), n_classes=2, parameters=parameters, n_jobs=1)
    matrix, y = planted(1_000, rng, users[1])
    intact = row_losses(y, booster.predict_proba(matrix))
    rises = permutation_rises(booster, matrix, y, intact, n_repeats=repeats, random_state=seed)["session"]
    estimate = mean(rises).estimate(users[1])
    low, high = estimate.interval()
    sums = rises if users[1] is None else np.bincount(users[1], weights=rises)
    drawn = sums[rng.integers(0, len(sums), (RESAMPLES, len(sums)))].sum(axis=1)
    ends = np.quantile(drawn, [0.025, 0.975])
    return not low <= 0 <= high, estimate.p_above_zero < 0.05, not ends[0] <= 0 <= ends[1]


def main(runs: int, repeats: int) -> None:
    for grouped in (False, True):
        missed, found, bootstrap = np.mean([one(seed, grouped, repeats) for seed in range(runs)], axis=0)
        rows = "rows of users" if grouped else "independent rows"
        print(
            f"{rows}: interval misses zero {missed:.1%}, p below 0.05 {found:.1%}, bootstrap misses zero {bootstrap:.1%}",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--repeats", type=int, default=5)
    main(**vars(parser.parse_args()))
