"""Sorting and merging of whole numbers against NumPy's own, at sizes where the linear ways are taken."""

from __future__ import annotations

import numpy as np
import pytest

from features.order import counted_before, running_sums, stable_order

SPANS = [1, 3, 1 << 16, (1 << 16) + 1, 1 << 40, (1 << 63) - 1]


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("size", [0, 1, 50, 5_000])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_the_order_is_that_of_a_stable_sort(span, size, dtype):
    rng = np.random.default_rng(0)
    info = np.iinfo(dtype)
    low, high = max(info.min, -span), min(info.max, span)
    values = rng.integers(low, high, size, dtype=dtype, endpoint=True)
    assert (stable_order(values) == np.argsort(values, kind="stable")).all()
    ends = np.array([info.max, info.min] * 2_000, dtype=dtype)
    assert (stable_order(ends) == np.argsort(ends, kind="stable")).all()


@pytest.mark.parametrize("n_known", [0, 1, 7, 10_000])
@pytest.mark.parametrize("n_asked", [0, 10, 9_000])
def test_counts_before_are_those_of_a_binary_search(n_known, n_asked):
    rng = np.random.default_rng(1)
    known, asked = np.sort(rng.integers(-500, 5_000, n_known)), np.sort(rng.integers(-1_000, 6_000, n_asked))
    assert (counted_before(known, asked) == np.searchsorted(known, asked)).all()


@pytest.mark.parametrize("lengths", [[], [1], [15, 16, 17, 1], [1, 2, 3] * 2_000, [40_000, 1, 1, 300]])
def test_running_sums_start_anew_with_each_group_and_keep_every_digit(lengths):
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(len(lengths)), np.array(lengths, dtype=np.int64))
    values = rng.normal(size=len(groups)) * 10.0 ** rng.integers(-6, 6, len(groups))
    expected = [sum for part in np.split(values, np.cumsum(lengths[:-1], dtype=np.int64)) for sum in np.cumsum(part)]
    assert running_sums(groups, values).tolist() == expected
