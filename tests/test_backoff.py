"""Rates with back-off along a chain of keys, against a walk over the log."""

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
from scipy.stats import betabinom

from features import BackoffRates, ColumnError, DeclarationError
from features.beta_binomial import fit_strength

RATES = {"cvr": ("buy", "view")}
CHAIN = [("user", "item"), "item", "category", "all"]
STRENGTHS = {"user_x_item__cvr": 3.0, "item__cvr": 5.0, "category__cvr": 0.5, "all__cvr": 2.0}

category = st.sampled_from(["k", "l", None])
logs = st.lists(st.builds(lambda row, c: row | {"category": c}, event, category), min_size=1, max_size=25)
asked = st.lists(
    st.builds(lambda row, c: row | {"category": c}, example, category | st.just("new")), min_size=1, max_size=8
)
SCHEMAS = (EVENT_SCHEMA | {"category": pl.String}, EXAMPLE_SCHEMA | {"category": pl.String})


def truth(chain):
    def features(rows, one):
        found = {}
        for window in WINDOWS:
            rate, answering = 0.3, len(chain)
            for k in reversed(range(len(chain))):
                key = () if chain[k] == "all" else chain[k]
                won, tried = (len(before(rows, one, key, kind, window)) for kind in RATES["cvr"])
                name = chain[k] if isinstance(chain[k], str) else "_x_".join(chain[k])
                strength = STRENGTHS[f"{name}__cvr"]
                rate = (won + strength * rate) / (tried + strength)
                answering = k if tried else answering
            first = chain[0] if isinstance(chain[0], str) else "_x_".join(chain[0])
            found[f"{first}__cvr_backoff__{window}"] = rate
            found[f"{first}__cvr_backoff_level__{window}"] = answering
        return found

    return features


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@pytest.mark.parametrize("chain", [CHAIN, CHAIN[:-1], CHAIN[1:3]])
@settings(max_examples=25, deadline=None)
@given(rows=logs, examples=asked)
def test_rates_equal_a_walk_over_the_log(chain, rows, examples):
    family = BackoffRates(chain=chain, levels=True, rates=RATES, strengths=STRENGTHS, means={"cvr": 0.3})
    assert_equal_to_walk(alone(family), rows, examples, truth(chain), SCHEMAS)


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@pytest.mark.parametrize("fit", ["moments", "likelihood"])
@settings(max_examples=25, deadline=None)
@given(rows=logs, examples=asked)
def test_any_log_gives_a_fit_and_every_example_a_rate(fit, rows, examples):
    log, frame = pl.DataFrame(rows, schema=SCHEMAS[0]), pl.DataFrame(examples, schema=SCHEMAS[1])
    fitted = alone(BackoffRates(chain=CHAIN, fit=fit), rates=RATES).fit(log)
    assert set(fitted.families_[-1].strengths) == set(STRENGTHS)
    assert fitted.transform(frame)["user_x_item__cvr_backoff__all"].is_finite().all()


def planted(seed=0, n_events=60_000, n_items=3_000, n_categories=30):
    """Views of items whose rates lie about their category's with strength 20, and the categories' about 0.1 with strength 10."""
    rng = np.random.default_rng(seed)
    of_category = rng.beta(1, 9, n_categories)
    of_item = rng.integers(0, n_categories, n_items)
    rate = rng.beta(20 * of_category[of_item], 20 * (1 - of_category[of_item]))
    items = rng.integers(0, n_items, n_events)
    seconds = rng.integers(0, 86_400 * 30, n_events)
    views = pl.DataFrame({
        "item_id": items, "category": of_item[items], "user_id": 0, "price": 1.0, "event": "view",
        "ts": [START + timedelta(seconds=int(s)) for s in seconds],
    })  # fmt: skip
    buys = views.filter(pl.Series(rng.random(n_events) < rate[items])).with_columns(event=pl.lit("buy"))
    return pl.concat([views, buys]), rate, of_item, of_category


@pytest.mark.parametrize("fit", ["moments", "likelihood"])
def test_strengths_recover_how_items_lie_about_their_categories(fit):
    log, *_ = planted()
    fitted = alone(BackoffRates(chain=["item", "category", "all"], rates=RATES, fit=fit), keys=["item"]).fit(log)
    assert fitted.families_[-1].strengths["item__cvr"] == pytest.approx(20, rel=0.25)
    assert 3 < fitted.families_[-1].strengths["category__cvr"] < 40


def test_a_new_item_takes_its_category_s_rate_and_a_new_category_the_rate_of_all():
    log, _, _, of_category = planted()
    fitted = alone(BackoffRates(chain=["item", "category", "all"], rates=RATES), keys=["item"]).fit(log)
    asked = pl.DataFrame({"item_id": -1, "category": [*range(30), -1, None], "ts": START + timedelta(days=40)})
    rates = fitted.transform(asked)["item__cvr_backoff__all"].to_numpy()
    np.testing.assert_allclose(rates[:30], of_category, atol=0.08)
    overall = (log["event"] == "buy").sum() / (log["event"] == "view").sum()
    assert rates[30:] == pytest.approx([overall] * 2, rel=0.01)


def test_the_most_likely_strength_beats_those_nearby():
    rng = np.random.default_rng(1)
    means, trials = rng.uniform(0.05, 0.4, 3_000), rng.integers(1, 40, 3_000)
    successes = rng.binomial(trials, rng.beta(12 * means, 12 * (1 - means)))
    best = fit_strength(successes, trials, means, (1e-2, 1e6))
    at = [betabinom.logpmf(successes, trials, f * best * means, f * best * (1 - means)).sum() for f in (1, 0.9, 1.1)]
    assert best == pytest.approx(12, rel=0.15)
    assert at[0] > max(at[1:])


def test_reads_name_every_level():
    assert BackoffRates(chain=CHAIN[:-1]).reads(("user", "item")) == (("user", "item"), ("item",), ("category",))
    assert BackoffRates(chain=CHAIN).reads(("user", "item")) is None


def test_a_declaration_survives_json_and_its_table_declares_it():
    log, *_ = planted(n_events=2_000)
    table = {"family": "backoff rate", "chain": [["user", "item"], "item", "all"], "levels": True, "windows": ["7d"]}
    fitted = alone(table, keys=["item"], rates=RATES).fit(log)
    family = fitted.families_[-1]
    assert json.loads(json.dumps(through_json(family).options())) == json.loads(json.dumps(family.options()))
    assert family.columns(("user", "item")) == ["user_x_item__cvr_backoff__7d", "user_x_item__cvr_backoff_level__7d"]


def test_a_part_that_log_or_examples_lack_is_named():
    log, *_ = planted(n_events=2_000)
    lacking = alone(BackoffRates(chain=["item", "category", "all"], rates=RATES), keys=["item"])
    with pytest.raises(ColumnError, match=r"events has no column 'category'; did you mean 'categories'\?"):
        lacking.fit(log.rename({"category": "categories"}))
    with pytest.raises(ColumnError, match="examples has no column 'category'"):
        lacking.fit(log).transform(log.drop("category"))
    with pytest.raises(ColumnError, match="'category' is String in examples and Int64 in events"):
        lacking.transform(log.with_columns(pl.col("category").cast(pl.String)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"chain": ["item"]},
            r"chain must be a list of two or more keys, such as \[\('user', 'item'\), 'item', 'all'\]",
        ),
        ({"chain": "item"}, "chain must be a list of two or more keys"),
        ({"chain": ["item", "item"]}, "must hold different keys"),
        ({"chain": ["all", "item"]}, "'all' only as the last"),
        ({"chain": ["item", "all"], "keys": ["user"]}, r"only key is the first of the chain, \('item',\)"),
        ({"chain": ["item", "all"], "strengths": {"item__cvr": 0}}, r"strengths\['item__cvr'\]=0 must lie above 0"),
        ({"chain": ["item", "all"], "means": {"cvr": 1.5}}, r"means\['cvr'\]=1.5 must lie above 0 and below 1"),
        ({"chain": ["item", "all"], "fit": "mle"}, "backoff rate: fit='mle' must be one of"),
    ],
)
def test_a_chain_that_means_nothing_is_refused(options, message):
    with pytest.raises(DeclarationError, match=message):
        BackoffRates(**options)


def test_rates_must_come_from_somewhere():
    log, *_ = planted(n_events=100)
    with pytest.raises(DeclarationError, match="no rate is declared; give rates="):
        alone(BackoffRates(chain=["item", "all"]), keys=["item"]).fit(log)
