"""Position-debiased rates: against a walk over the log, and against planted propensities."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from asof import WINDOWS, alone, assert_equal_to_walk, before, through_json
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import EVENT_SCHEMA, EXAMPLE_SCHEMA, START, event, example

from features import BetaPrior, ColumnError, DebiasedRates, DeclarationError
from features.click_model import examination

RATES = {"cvr": ("buy", "view")}
KEYS = {"user": "user", "item": "item", "user_x_item": ("user", "item")}
PROPENSITIES = [1.0, 0.5, 0.125]

positions = st.sampled_from([None, 1, 2, 3, 7])
logs = st.lists(st.builds(lambda row, p: row | {"position": p}, event, positions), min_size=1, max_size=25)
asked = st.lists(example, min_size=1, max_size=8)
SCHEMAS = (EVENT_SCHEMA | {"position": pl.Int64}, EXAMPLE_SCHEMA)


def truth(rows, one):
    found = {}
    for name, key in KEYS.items():
        for window in WINDOWS:
            bought, viewed = (before(rows, one, key, kind, window) for kind in RATES["cvr"])
            at = [row["position"] for row in viewed]
            examined = sum(0.4 if p is None else PROPENSITIES[min(p, 3) - 1] for p in at)
            found[f"{name}__cvr_debiased__{window}"] = (len(bought) + 0.2 * 5) / (examined + 5)
    return found


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@settings(max_examples=40, deadline=None)
@given(rows=logs, examples=asked)
def test_rates_equal_a_walk_over_the_log(rows, examples):
    family = DebiasedRates(
        rates=RATES,
        propensities={"cvr": PROPENSITIES},
        average={"cvr": 0.4},
        priors={f"{name}__cvr": BetaPrior(0.2, 5.0) for name in KEYS},
    )
    assert_equal_to_walk(alone(family), rows, examples, truth, SCHEMAS)


def planted(n_views=120_000, n_items=400, seed=0):
    """Views of items in lists sorted by a guess at what attracts and by promotion, and the position-based model's clicks."""
    rng = np.random.default_rng(seed)
    examined = 1 / np.arange(1, 11) ** 0.8
    attracts = rng.beta(2, 8, n_items)
    item = rng.integers(0, n_items, n_views)
    guess = (5 * attracts + rng.normal(0, 1, n_items))[item] + rng.normal(0, 1, n_views)
    position = np.minimum(np.argsort(np.argsort(-guess)) * 10 // n_views, 9)
    clicked = rng.random(n_views) < examined[position] * attracts[item]
    views = pl.DataFrame({
        "user_id": np.arange(n_views), "item_id": item, "price": 1.0, "event": "view", "position": position + 1,
        "seconds": rng.integers(0, 86_400 * 20, n_views),
    }).select(pl.exclude("seconds"), ts=START + pl.duration(seconds="seconds"))  # fmt: skip
    clicks = views.filter(pl.Series(clicked)).with_columns(event=pl.lit("buy"))
    return pl.concat([views, clicks]), examined, attracts


def test_planted_propensities_and_attraction_are_recovered_where_the_plain_rate_is_biased():
    log, examined, attracts = planted()
    fitted = alone(DebiasedRates(), keys=["item"], rates=RATES).fit(log)
    found = np.array(fitted.families_[-1].propensities["cvr"])
    np.testing.assert_allclose(found, examined, rtol=0.12)
    by_position = log.group_by("position").agg((pl.col("event") == "buy").sum() / (pl.col("event") == "view").sum())
    naive = by_position.sort("position")["event"].to_numpy()
    # Good items stand high, so that low positions look worse than they are.
    assert (naive / naive[0])[-1] < 0.8 * examined[-1]
    items = pl.DataFrame({"item_id": np.arange(400), "ts": START + timedelta(days=30)})
    rates = fitted.transform(items)
    debiased, plain = (rates[f"item__cvr{kind}__all"].to_numpy() for kind in ("_debiased", ""))
    assert np.abs(debiased - attracts).mean() < 0.04
    assert np.abs(plain - attracts).mean() > 0.1
    assert np.corrcoef(debiased, attracts)[0, 1] > 0.02 + np.corrcoef(plain, attracts)[0, 1]


def test_results_seen_once_or_twice_do_not_bias_propensities():
    log, examined, _ = planted(n_views=200_000, n_items=80_000, seed=1)
    found = alone(DebiasedRates(), keys=["item"], rates=RATES).fit(log).families_[-1].propensities["cvr"]
    np.testing.assert_allclose(found, examined, rtol=0.25)


def test_results_that_never_moved_leave_positions_alike():
    item = np.repeat(np.arange(5), 20)
    clicks = np.tile([1.0, 0.0], 50)
    cells = np.arange(5)
    found = examination(cells, cells, np.bincount(item).astype(float), np.bincount(item, clicks))
    np.testing.assert_allclose(found, 1.0)


def test_a_position_without_clicked_results_is_as_the_one_before_it():
    found = examination(np.array([0, 0, 1]), np.array([0, 1, 2]), np.array([10.0, 10, 10]), np.array([4.0, 2, 0]))
    assert found == pytest.approx([1.0, 0.5, 0.5])
    assert examination(np.array([0]), np.array([1]), np.array([5.0]), np.array([0.0])).tolist() == [1.0, 1.0]


def test_clicks_without_a_position_take_that_of_the_view_that_they_match():
    log, _, _ = planted(n_views=20_000)
    want = alone(DebiasedRates(), keys=["item"], rates=RATES).fit(log).families_[-1].propensities
    bare = log.with_columns(position=pl.when(pl.col("event") == "view").then("position"))
    got = alone(DebiasedRates(match=["user", "item"]), keys=["item"], rates=RATES).fit(bare).families_[-1].propensities
    assert got["cvr"] == pytest.approx(want["cvr"])
    with pytest.raises(ColumnError, match=r"no event 'buy' has a position .* such as match=\('user', 'item'\)"):
        alone(DebiasedRates(), keys=["item"], rates=RATES).fit(bare)


def test_positions_below_the_deepest_share_one_propensity_and_the_fit_survives_json():
    log, _, _ = planted(n_views=20_000)
    fitted = alone(DebiasedRates(deepest=4, windows=["7d"]), keys=["item"], rates=RATES).fit(log)
    family = fitted.families_[-1]
    assert len(family.propensities["cvr"]) == 4
    again = through_json(family)
    assert json.loads(json.dumps(again.options())) == json.loads(json.dumps(family.options()))
    assert again.columns(("item",)) == ["item__cvr_debiased__7d"]


@pytest.mark.parametrize(
    ("position", "message"),
    [
        ([0, 1, -1, 1], "'position' of events has 2 positions below 1 in 3 events 'view'; positions count 1, 2, 3"),
        ([1.0, 1.5, 2.0, 1.0], "'position' of events has 1 positions that are no whole number in 3 events 'view'"),
        ([None] * 4, "'position' of events is null in all 3 events 'view' .*; debiased rates need the positions"),
        (["1"] * 4, "column 'position' of events must be numeric, not String"),
    ],
)
def test_positions_that_are_none_are_refused(position, message):
    log = pl.DataFrame({
        "user_id": ["a"] * 4, "item_id": ["x"] * 4, "price": 1.0, "ts": START, "event": ["view"] * 3 + ["buy"],
        "position": position,
    })  # fmt: skip
    with pytest.raises(ColumnError, match=message):
        alone(DebiasedRates(), keys=["item"], rates=RATES).fit(log)


def test_a_log_without_the_column_is_told_the_closest():
    log, _, _ = planted(n_views=100)
    with pytest.raises(ColumnError, match=r"events has no column 'position'; did you mean 'positions'\?"):
        alone(DebiasedRates(), keys=["item"], rates=RATES).fit(log.rename({"position": "positions"}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"deepest": 0}, "deepest=0 must be a position, at least 1"),
        ({"propensities": {"cvr": [1.0, 0.0]}}, r"propensities\['cvr'\] must be a list of numbers above 0"),
        ({"of": []}, "must name one or more different parts"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(DeclarationError, match=message):
        DebiasedRates(**options)


def test_rates_must_come_from_somewhere():
    log, _, _ = planted(n_views=100)
    with pytest.raises(DeclarationError, match="debiased rate: no rate is declared"):
        alone(DebiasedRates(), keys=["item"]).fit(log)
