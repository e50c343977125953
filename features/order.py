"""Sorting and merging of whole numbers in linear time: what timelines spend their time on."""

from __future__ import annotations

import numpy as np
import polars as pl

_DIGIT = 16  # bits; NumPy 2.4 sorts 16-bit numbers stably by radix, wider ones by merging, seven times slower
_WORTH_DIGITS = 2_000
_SHORT_RUN = 16


def stable_order(values: np.ndarray) -> np.ndarray:
    """Positions that sort whole numbers, equal ones in their order; Int64 of the same length."""
    if len(values) < _WORTH_DIGITS:
        return np.argsort(values, kind="stable")
    if bool((values[1:] >= values[:-1]).all()):
        return np.arange(len(values))
    low = values.min()
    bits = (int(values.max()) - int(low)).bit_length()
    above = values - low  # wraps to the right unsigned number where the span needs all 64 bits
    order = np.argsort(above.astype(np.uint16), kind="stable")
    for shift in range(_DIGIT, bits, _DIGIT):
        digit = (above.take(order) >> shift).astype(np.uint16)
        order = order.take(np.argsort(digit, kind="stable"))
    return order


def counted_before(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """How many of ``known`` are strictly less than each of ``asked``; both sorted whole numbers. Int64."""
    if len(asked) < _WORTH_DIGITS or not len(known):
        return np.searchsorted(known, asked, side="left")
    # One merge, where binary searches would each start anew.
    numbered = pl.DataFrame({"at": pl.Series(known).set_sorted()}).with_row_index("place")
    needles = pl.DataFrame({"at": pl.Series(asked).set_sorted()})
    last = needles.join_asof(numbered, on="at", strategy="backward", allow_exact_matches=False)["place"]
    return (last.cast(pl.Int64) + 1).fill_null(0).to_numpy()


def running_sums(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums of the values up to and with each, anew in each run of equal ``groups``; Float64.

    Every sum is added up in the values' order, so it does not depend on other groups or on what comes later.
    """
    starts = np.flatnonzero(groups[1:] != groups[:-1]) + 1
    starts = np.concatenate([np.zeros(min(len(groups), 1), dtype=starts.dtype), starts])
    lengths = np.diff(starts, append=len(groups))
    sums = np.array(values, dtype=np.float64)
    short = lengths <= _SHORT_RUN
    # Polars 2.1 pays per group: for many short ones a pass a place is several times faster.
    at, left = starts[short], lengths[short]
    for place in range(1, _SHORT_RUN):
        more = left > place
        at, left = at[more], left[more]
        sums[at + place] += sums[at + place - 1]
    if not short.all():
        inside = np.repeat(~short, lengths)
        long = pl.DataFrame({"group": pl.Series(groups[inside]).set_sorted(), "value": sums[inside]})
        sums[inside] = long.select(pl.col("value").cum_sum().over("group"))["value"].to_numpy()
    return sums
