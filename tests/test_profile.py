"""Profiles against a walk over each key's events, and segments against keys that were made to differ."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from asof import assert_live_equals_batch
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import EVENT_SCHEMA, EVENTS, EXAMPLE_SCHEMA, START, event, example

from features import BehaviorFeatures, ColumnError, DeclarationError, EventLog, Profile, profiles
from features.families import FAMILIES
from features.family import declare

LOG = EventLog(user="user_id", item="item_id", event="event", timestamp="ts")
KEYS = ["user", ("user", "item")]
MONTH = 30 * 86400
category = st.sampled_from(["x", "y", None])
shelved = st.builds(lambda row, shelf: {**row, "category": shelf}, event, category)
asked_for = st.builds(lambda row, shelf: {**row, "category": shelf}, example, category | st.just("w"))
LOG_SCHEMA = {**EVENT_SCHEMA, "category": pl.String}
ASKED_SCHEMA = {**EXAMPLE_SCHEMA, "category": pl.String}


def profile(log, **options):
    family = Profile(**{"value": "price", "attributes": ["category", "item"], **options})
    return BehaviorFeatures(LOG, KEYS, ["all"], EVENTS, recency=False, gap=False, families=[family]).fit(log)


def brute_force(rows, one, parts):
    mine = [
        r
        for r in rows
        if all(r[p] is not None and r[p] == one[p] for p in parts) and r["event"] in EVENTS and r["ts"] < one["ts"]
    ]
    ages = [(one["ts"] - r["ts"]).total_seconds() for r in mine]
    prices = [r["price"] for r in mine if r["price"] is not None]
    found = {
        "recency": min(ages) if mine else None,
        "tenure": max(ages) if mine else None,
        "frequency": len(mine) * MONTH / max(MONTH, *ages, 0),
        "monetary": sum(prices) / len(prices) if prices else None,
    }
    for attribute, column in (("category", "category"), ("item", "item_id")):
        if column not in parts:
            held = Counter(r[column] for r in mine if r[column] is not None)
            top = max(held.values(), default=0)
            known = held and one[column] is not None
            found[f"favourite_{attribute}_match"] = float(held[one[column]] == top) if known else None
            found[f"favourite_{attribute}_share"] = top / held.total() if held else None
    return found


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@settings(max_examples=150, deadline=None)
@given(rows=st.lists(shelved, min_size=1, max_size=25), examples=st.lists(asked_for, min_size=1, max_size=8))
def test_profiles_equal_a_walk_over_the_log(rows, examples):
    fitted = profile(pl.DataFrame(rows, schema=LOG_SCHEMA), segments=0)
    got = fitted.transform(pl.DataFrame(examples, schema=ASKED_SCHEMA))
    for i, one in enumerate(examples):
        for name, parts in (("user", ["user_id"]), ("user_x_item", ["user_id", "item_id"])):
            truth = brute_force(rows, one, parts)
            assert {c.name for c in fitted.columns() if c.family == "profile" and c.name.startswith(f"{name}__")} == {
                f"{name}__{feature}" for feature in truth
            }
            for feature, value in truth.items():
                found = got[f"{name}__{feature}"][i]
                assert found == (value if value is None else pytest.approx(value, rel=1e-9, abs=1e-9)), feature


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(shelved, min_size=2, max_size=25),
    examples=st.lists(asked_for, min_size=1, max_size=5),
    cut=st.integers(1, 24),
)
def test_live_profiles_equal_the_batch(rows, examples, cut):
    log = pl.DataFrame(rows, schema=LOG_SCHEMA)
    cut = min(cut, len(rows) - 1)
    candidates = pl.DataFrame(examples, schema=ASKED_SCHEMA)
    assert_live_equals_batch(profile(log[:cut], segments=2), log, candidates, cut, tolerance=1e-9)


def three_kinds_of_user():
    """Users 0-9 buy dear things daily to the end, 10-19 cheap things weekly, 20-29 bought once long ago."""
    rng = np.random.default_rng(0)
    days = {0: range(0, 100), 1: range(0, 100, 7), 2: [3]}
    rows = [
        (user, kind, "buy", START + timedelta(days=day, seconds=int(rng.integers(1000))), [80.0, 3.0, 9.0][kind])
        for user, kind in ((user, user // 10) for user in range(30))
        for day in days[kind]
    ]
    return pl.DataFrame(rows, ["user_id", "category", "event", "ts", "price"], orient="row").with_columns(
        item_id=pl.lit("i")
    )


def test_segments_part_users_who_differ_and_the_best_come_first():
    log = three_kinds_of_user()
    found = profiles(log.sample(fraction=1, shuffle=True, seed=1), LOG, value="price", segments=3)
    assert found["user_id"].to_list() == list(range(30))
    assert found["segment"].to_list() == [0] * 10 + [1] * 10 + [2] * 10
    assert found["favourite_category"].to_list() == [user // 10 for user in range(30)]
    names = found["segment_name"].unique(maintain_order=True).to_list()
    assert names[0] == "frequent, recent, high value"
    assert "lapsed" in names[2]
    assert len(set(names)) == 3
    behavior = BehaviorFeatures(LOG, ["user"], families=[Profile(value="price", segments=3)]).fit(log)
    end = log.group_by("user_id").agg(pl.col("category").first(), ts=pl.lit(log["ts"].max() + timedelta(hours=1)))
    got = behavior.transform(end)["user__segment"].to_list()
    assert got == [user // 10 for user in end["user_id"]]


def test_more_segments_than_words_still_have_different_names():
    rng = np.random.default_rng(0)
    n = 5_000
    log = pl.DataFrame({
        "user_id": rng.integers(0, 800, n), "event": "buy", "price": rng.exponential(20.0, n), "category": "x",
        "ts": [START + timedelta(seconds=int(s)) for s in rng.integers(0, 10**7, n)],
    })  # fmt: skip
    names = profiles(log, LOG, value="price", segments=40)["segment_name"].unique()
    assert len(names) == 40
    assert profiles(log, LOG, segments=0).columns[-1] == "favourite_category"


def test_centres_are_kept_and_the_features_restore():
    log = three_kinds_of_user()
    behavior = BehaviorFeatures(LOG, ["user"], families=[Profile(value="price", segments=3)]).fit(log)
    kept = json.loads(json.dumps(behavior.declaration()))
    asked = log.with_columns(pl.col("ts") + pl.duration(days=1))
    assert BehaviorFeatures.restore(kept, behavior.log_).transform(asked).equals(behavior.transform(asked))
    family = Profile(value="price", attributes=["item"], segments=2, events=["buy"], random_state=3)
    again = declare(FAMILIES, {"family": "profile", **json.loads(json.dumps(family.options()))})
    assert again.options() == family.options()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"attributes": "category"}, DeclarationError, r"attributes='category' must be a list: \['category'\]"),
        ({"segments": -1}, DeclarationError, "segments=-1 must be a whole number, 0 for none"),
        ({"value": "prise"}, ColumnError, r"no column 'prise'; did you mean 'price'\?"),
        ({"attributes": ["categories"]}, ColumnError, r"no column 'categories'; did you mean 'category'\?"),
        ({"value": "event"}, ColumnError, "column 'event' of events must be numeric, not String"),
    ],
)
def test_a_declaration_that_means_nothing_is_refused(options, error, message):
    log = three_kinds_of_user().with_columns(category=pl.lit("x"))
    with pytest.raises(error, match=message):
        profile(log, **options)
    with pytest.raises(error, match=message):
        profiles(log, LOG, **options)


def test_a_kind_of_event_that_never_occurs_is_refused():
    with pytest.raises(DeclarationError, match=r"event 'by' never occurs in the log; did you mean 'buy'\?"):
        profiles(three_kinds_of_user(), LOG, kinds=["by"])
