"""A short window's pace over a long one's, against a walk over the log."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from asof import SECONDS, alone, asked, assert_equal_to_walk, before, logs, through_json
from hypothesis import given, settings
from logs import EVENTS, START

from features import DeclarationError, Trend

KEYS = {"user": "user", "item": "item", "user_x_item": ("user", "item")}


def truth(smoothing):
    def features(rows, one):
        trends = {}
        for name, key in KEYS.items():
            for kind in EVENTS:
                short, long = (len(before(rows, one, key, kind, window)) for window in ("1h", "1d"))
                lately = (short + smoothing * SECONDS["1h"] / SECONDS["1d"]) / SECONDS["1h"]
                overall = (long + smoothing) / SECONDS["1d"]
                trends[f"{name}__{kind}_trend__1h_1d"] = lately / overall if overall else None
        return trends

    return features


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@pytest.mark.parametrize("smoothing", [1.0, 0.0, 3.5])
@settings(max_examples=25, deadline=None)
@given(rows=logs, examples=asked)
def test_trends_equal_a_walk_over_the_log(smoothing, rows, examples):
    assert_equal_to_walk(alone(Trend(short="1h", long="1d", smoothing=smoothing)), rows, examples, truth(smoothing))


def test_an_even_pace_and_no_event_are_1_and_a_rising_key_is_above():
    hours = [START + timedelta(hours=hour) for hour in range(7 * 24)]
    late = [START + timedelta(days=6, hours=hour) for hour in range(24)]
    log = pl.DataFrame({"user_id": ["even"] * len(hours) + ["late"] * 24, "ts": hours + late}).with_columns(
        item_id=pl.lit("x"), event=pl.lit("view"), price=pl.lit(1.0)
    )
    asked = pl.DataFrame({"user_id": ["even", "new", "late"], "item_id": "x", "ts": START + timedelta(days=7)})
    got = alone(Trend(), events=["view"]).fit(log).transform(asked)["user__view_trend__1d_7d"].to_list()
    assert got == pytest.approx([1, 1, (24 + 1 / 7) * 7 / 25])


def test_options_survive_json():
    family = Trend(short="7d", long="365d", smoothing=2.0, events=["buy"], keys=["item"])
    assert through_json(family).options() == family.options()
    assert through_json(family).columns(("item",)) == ["item__buy_trend__7d_365d"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"long": "all"}, "long='all' has no length; declare a window such as '365d'"),
        ({"short": "7d", "long": "1d"}, "short='7d' must be shorter than long='1d'"),
        ({"short": "24h", "long": "1d"}, "short='24h' must be shorter"),
        ({"smoothing": -1.0}, "smoothing=-1.0 must be a number of events, at least 0"),
        ({"smoothing": float("nan")}, "smoothing=nan"),
        ({"short": "day"}, "window 'day' is not a whole number with a unit"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(DeclarationError, match=message):
        Trend(**options)
