"""Exponentially decayed counts and sums, against exact sums over the log."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from asof import LOG, alone, asked, assert_equal_to_walk, before, logs, through_json
from hypothesis import given, settings
from logs import EVENTS, START

from features import Decay, DeclarationError

KEYS = {"user": "user", "item": "item", "user_x_item": ("user", "item")}
HALF_LIVES = {"1h": 3600, "7d": 7 * 86400}


def truth(rows, one):
    features = {}
    for name, key in KEYS.items():
        for kind in EVENTS:
            held = before(rows, one, key, kind)
            for half_life, seconds in HALF_LIVES.items():
                weights = [2 ** -((one["ts"] - row["ts"]).total_seconds() / seconds) for row in held]
                features[f"{name}__{kind}_decayed__{half_life}"] = math.fsum(weights)
                worth = [weight * (row["price"] or 0.0) for weight, row in zip(weights, held, strict=True)]
                features[f"{name}__{kind}_decayed_price__{half_life}"] = math.fsum(worth)
    return features


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@settings(max_examples=40, deadline=None)
@given(rows=logs, examples=asked)
def test_decayed_sums_equal_a_walk_over_the_log(rows, examples):
    assert_equal_to_walk(alone(Decay(half_lives=list(HALF_LIVES))), rows, examples, truth)


def test_years_of_log_with_a_half_life_of_an_hour_keep_their_digits():
    rng = np.random.default_rng(0)
    years = 6 * 365 * 86400
    # Dense and sparse stretches, and a silence of months at the end: weights from 1 down to below what a float can hold.
    seconds = np.sort(np.concatenate([rng.integers(0, years, 3_000), years // 2 + rng.integers(0, 9_000, 2_000)]))
    log = pl.DataFrame({
        "user_id": ["a"] * 5_000 + ["b"], "item_id": "x", "event": "buy", "price": [*rng.random(5_000), 1e300],
        "ts": [START + timedelta(seconds=int(s)) for s in (*seconds, 0)],
    })  # fmt: skip
    at = np.concatenate(
        [rng.integers(0, years, 300), seconds[:5], seconds[-1] + np.array([1, 3600, 400 * 3600, years])]
    )
    asked = pl.DataFrame({"user_id": "a", "item_id": "x", "ts": [START + timedelta(seconds=int(s)) for s in at]})
    got = alone(Decay(half_lives=["1h"]), events=["buy"]).fit(log).transform(asked)
    price = log["price"].to_numpy()[:-1]
    for name, worth in (("user__buy_decayed__1h", np.ones(5_000)), ("user__buy_decayed_price__1h", price)):
        for t, value in zip(at, got[name], strict=True):
            exact = math.fsum(worth[seconds < t] * np.exp2(-(t - seconds[seconds < t]) / 3600))
            assert value == pytest.approx(exact, rel=1e-9, abs=1e-300)


def test_half_lives_and_values_choose_columns_and_survive_json():
    family = Decay(half_lives=["2d"], values=["price"], events=["buy"], keys=["user"])
    assert through_json(family).options() == family.options()
    assert through_json(family).columns(("user",)) == ["user__buy_decayed__2d", "user__buy_decayed_price__2d"]
    log = pl.DataFrame({"user_id": ["a"], "item_id": ["x"], "event": ["buy"], "price": [3.0], "ts": [START]})
    asked = log.with_columns(ts=pl.lit(START + timedelta(days=2)))
    counts = alone(Decay(values=[], half_lives=["2d"], keys=["user"]), log=LOG, events=["buy"]).fit(log)
    assert [column.name for column in counts.columns() if column.family == "decay"] == ["user__buy_decayed__2d"]
    assert counts.transform(asked)["user__buy_decayed__2d"].to_list() == [0.5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"half_lives": ["1d", "all"]}, r"half_lives must be different lengths such as '7d', not \['1d', 'all'\]"),
        ({"half_lives": "1d"}, "half_lives must be a list such as"),
        ({"half_lives": ["1d", "1d"]}, "different lengths"),
        ({"half_lives": ["0d"]}, "window '0d' is not a whole number"),
        ({"values": "price"}, "values must be a list of different columns, not 'price'"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(DeclarationError, match=message):
        Decay(**options)
