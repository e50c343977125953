"""Interest against a walk over each key's windows."""

from __future__ import annotations

import json
import math
from collections import Counter
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from asof import assert_live_equals_batch
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import EVENT_SCHEMA, EVENTS, EXAMPLE_SCHEMA, START, event, example

from features import BehaviorFeatures, ColumnError, DeclarationError, EventLog, Interest
from features.families import FAMILIES
from features.family import declare

LOG = EventLog(user="user_id", item="item_id", event="event", timestamp="ts")
SECONDS = {"1h": 3600, "1d": 86400, "all": math.inf}
category = st.sampled_from(["x", "y", "z", None])
shelved = st.builds(lambda row, shelf: {**row, "category": shelf}, event, category)
asked_for = st.builds(lambda row, shelf: {**row, "category": shelf}, example, category | st.just("w"))
LOG_SCHEMA = {**EVENT_SCHEMA, "category": pl.String}
ASKED_SCHEMA = {**EXAMPLE_SCHEMA, "category": pl.String}


def interest(log, of=("user", ("user", "item")), **options):
    family = Interest(**{"short": "1h", "long": "1d", **options})
    behavior = BehaviorFeatures(LOG, list(of), ["all"], EVENTS, recency=False, gap=False, families=[family])
    return behavior.fit(log)


def brute_force(rows, one, parts, short, long):
    held = {}
    for window in (short, long):
        held[window] = Counter(
            r["category"]
            for r in rows
            if all(r[p] is not None and r[p] == one[p] for p in parts)
            and r["event"] in EVENTS
            and r["category"] is not None
            and 0 < (one["ts"] - r["ts"]).total_seconds() <= SECONDS[window]
        )
    share = {w: {c: n / counts.total() for c, n in counts.items()} for w, counts in held.items()}
    found = {}
    for w, p in share.items():
        found[f"entropy__{w}"] = -sum(v * math.log(v) for v in p.values()) if p else None
        found[f"top_share__{w}"] = max(p.values()) if p else None
        found[f"share__{w}"] = p.get(one["category"], 0.0) if p and one["category"] else None
    p, q = share[short], share[long]
    middle = {c: (p.get(c, 0) + q.get(c, 0)) / 2 for c in q}
    apart = [sum(v * math.log2(v / middle[c]) for c, v in side.items()) for side in (p, q)]
    found[f"shift__{short}_{long}"] = sum(apart) / 2 if p else None
    known = bool(p) and one["category"] is not None
    found[f"share_change__{short}_{long}"] = p.get(one["category"], 0) - q.get(one["category"], 0) if known else None
    ahead = [c for c, n in held[long].items() if n > held[long][one["category"]]]
    found[f"rank__{long}"] = 1 + len(ahead) if q and one["category"] else None
    return found


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(shelved, min_size=1, max_size=25),
    examples=st.lists(asked_for, min_size=1, max_size=8),
    windows=st.sampled_from([("1h", "1d"), ("1d", "all")]),
)
def test_interest_equals_a_walk_over_the_log(rows, examples, windows):
    short, long = windows
    fitted = interest(pl.DataFrame(rows, schema=LOG_SCHEMA), short=short, long=long)
    got = fitted.transform(pl.DataFrame(examples, schema=ASKED_SCHEMA))
    for i, one in enumerate(examples):
        for name, parts in (("user", ["user_id"]), ("user_x_item", ["user_id", "item_id"])):
            truth = brute_force(rows, one, parts, short, long)
            assert {f"{name}__category_{c}" for c in truth} == {
                c.name for c in fitted.columns() if c.name.startswith(f"{name}__c")
            }
            for feature, value in truth.items():
                found = got[f"{name}__category_{feature}"][i]
                assert found == (value if value is None else pytest.approx(value, abs=1e-9)), feature


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(shelved, min_size=2, max_size=25),
    examples=st.lists(asked_for, min_size=1, max_size=5),
    cut=st.integers(1, 24),
)
def test_live_interest_equals_the_batch(rows, examples, cut):
    log = pl.DataFrame(rows, schema=LOG_SCHEMA)
    cut = min(cut, len(rows) - 1)
    candidates = pl.DataFrame(examples, schema=ASKED_SCHEMA)
    assert_live_equals_batch(interest(log[:cut]), log, candidates, cut, tolerance=1e-9)


def large_log(n, rng):
    return pl.DataFrame({
        "user_id": rng.integers(0, 300, n), "item_id": rng.integers(0, 9, n), "event": rng.choice(EVENTS, n),
        "category": rng.integers(0, 30, n), "ts": [START + timedelta(seconds=int(s)) for s in rng.integers(0, 10**6, n)],
    })  # fmt: skip


def test_blocks_do_not_show():
    rng = np.random.default_rng(0)
    log = large_log(50_000, rng)  # 50,000 moments of 30 categories: more than one block
    fitted = interest(log, ["user"])
    together = fitted.transform(log)
    alone = pl.concat([fitted.transform(part) for part in log.iter_slices(5_000)])
    assert together.equals(alone)


def test_other_keys_and_later_events_change_nothing():
    rng = np.random.default_rng(1)
    log = large_log(3_000, rng)
    cut = START + timedelta(seconds=500_000)
    asked = log.filter(pl.col("user_id") < 20).with_columns(pl.lit(cut).alias("ts").cast(pl.Datetime("us")))
    mine = log.filter((pl.col("user_id") < 20) & (pl.col("ts") < cut))
    assert interest(log, ["user"]).transform(asked).equals(interest(mine, ["user"]).transform(asked))


@pytest.mark.filterwarnings("ignore:event .* never occurs")
def test_a_log_without_any_category_gives_nulls():
    rows = [{"user_id": "a", "item_id": "b", "event": "buy", "ts": START, "price": 1.0, "category": None}]
    log = pl.DataFrame(rows, schema=LOG_SCHEMA)
    got = interest(log, ["user"]).transform(log.with_columns(pl.col("ts") + pl.duration(minutes=1)))
    assert got.select(pl.selectors.contains("category")).null_count().sum_horizontal()[0] == 9


def test_the_declaration_survives_json():
    family = Interest(category="shelf", short="1d", long="all", events=["buy"], keys=["user"])
    again = declare(FAMILIES, {"family": "interest", **json.loads(json.dumps(family.options()))})
    assert again.options() == family.options()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"short": "1d", "long": "1h"}, DeclarationError, "short='1d' must be a shorter window than long='1h'"),
        ({"short": "all"}, DeclarationError, "short='all' must be a shorter window"),
        ({"long": "1 month"}, DeclarationError, "window '1 month'"),
        ({"category": "categry"}, ColumnError, r"no column 'categry'; did you mean 'category'\?"),
        ({"keys": [("user", "category")]}, DeclarationError, "holds the category 'category' itself"),
    ],
)
def test_a_declaration_that_means_nothing_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        interest(large_log(100, np.random.default_rng(0)), **options)
