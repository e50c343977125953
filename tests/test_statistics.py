"""Mean, least and greatest values in windows, against a walk over the log."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from asof import LOG, WINDOWS, alone, asked, assert_equal_to_walk, before, logs, through_json
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import EVENTS, START

from features import DeclarationError, EventLog, Statistics
from features.ranges import range_extremes, range_sums

KEYS = {"user": "user", "item": "item", "user_x_item": ("user", "item")}
OF = {"mean": lambda held: math.fsum(held) / len(held), "min": min, "max": max}


def truth(rows, one):
    features = {}
    for name, key in KEYS.items():
        for kind in EVENTS:
            for window in WINDOWS:
                held = [row["price"] for row in before(rows, one, key, kind, window) if row["price"] is not None]
                for statistic, of in OF.items():
                    features[f"{name}__{kind}_{statistic}_price__{window}"] = of(held) if held else None
    return features


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@settings(max_examples=40, deadline=None)
@given(rows=logs, examples=asked)
def test_statistics_equal_a_walk_over_the_log(rows, examples):
    assert_equal_to_walk(alone(Statistics()), rows, examples, truth)


@given(values=st.lists(st.floats(-1e6, 1e6), max_size=40), data=st.data())
def test_ranges_reduce_to_what_their_own_values_do(values, data):
    ends = st.integers(0, len(values))
    ranges = data.draw(st.lists(st.tuples(ends, ends).map(sorted), max_size=20))
    starts, stops = (np.array([one[side] for one in ranges], dtype=np.int32) for side in (0, 1))
    held = [values[a:b] for a, b in ranges]
    array = np.array(values)
    np.testing.assert_allclose(range_sums(array, starts, stops), [math.fsum(one) for one in held], rtol=1e-9, atol=1e-6)
    for ufunc, of in ((np.minimum, min), (np.maximum, max)):
        want = [of(one) if one else math.nan for one in held]
        np.testing.assert_array_equal(range_extremes(ufunc, array, starts, stops), want)


def test_a_mean_keeps_its_digits_after_a_large_value_has_left_the_window():
    log = pl.DataFrame({
        "user_id": ["a"] * 3, "item_id": ["x"] * 3, "event": ["buy"] * 3, "price": [1e17, 0.5, 0.25],
        "ts": [START + timedelta(days=day) for day in (0, 10, 11)],
    })  # fmt: skip
    asked = pl.DataFrame({"user_id": ["a"], "item_id": ["x"], "ts": [START + timedelta(days=12)]})
    got = alone(Statistics(statistics=["mean"], windows=["7d"]), events=["buy"]).fit(log).transform(asked)
    assert got["user__buy_mean_price__7d"].to_list() == [0.375]


def test_options_choose_columns_and_survive_json():
    family = Statistics(values=["price"], statistics=["max"], events=["buy"], windows=["7d"], keys=["item"])
    again = through_json(family)
    assert again.options() == family.options()
    assert again.columns(("item",)) == ["item__buy_max_price__7d"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"statistics": ["median"]}, r"no statistic 'median'; did you mean 'mean'\?"),
        ({"statistics": "mean"}, "list of different statistics"),
        ({"values": "price"}, "values must be a list of different columns, not 'price'"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(DeclarationError, match=message):
        Statistics(**options)


def test_values_must_come_from_somewhere():
    log = pl.DataFrame({"user_id": ["a"], "item_id": ["x"], "event": ["buy"], "price": [1.0], "ts": [START]})
    bare = EventLog(user="user_id", item="item_id", event="event", timestamp="ts")
    with pytest.raises(DeclarationError, match=r'name the values, such as values=\["price"\]'):
        alone(Statistics(), log=bare, events=["buy"]).fit(log)
    named = alone(Statistics(values=["price"]), log=bare, events=["buy"]).fit(log)
    assert "user__buy_min_price__all" in named.get_feature_names_out()
    with pytest.raises(ValueError, match=r"no column 'prize'; did you mean 'price'\?"):
        alone(Statistics(values=["prize"]), log=LOG, events=["buy"]).fit(log)
