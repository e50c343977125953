"""Recent items against a walk over each key's last events."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from asof import assert_live_equals_batch
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import EVENT_SCHEMA, EVENTS, EXAMPLE_SCHEMA, START, event, example

from features import BehaviorFeatures, ColumnError, DeclarationError, EventLog, RecentItems
from features.families import FAMILIES
from features.family import declare

LOG = EventLog(user="user_id", item="item_id", event="event", timestamp="ts", values=["price"])
VECTORS = {"a": [3.0, 1.0, 0.2], "b": [-0.5, 2.0, 1.0], "c": [0.0, 0.0, 0.0], "d": [1.0, 1.0, -2.0]}
TABLE = pl.DataFrame({"id": list(VECTORS), "vector": list(VECTORS.values())})
ONE = {"user_id": "u", "item_id": "a", "event": "buy", "ts": START, "price": 1.0}
UNIT = {item: np.array(v) / np.linalg.norm(v) for item, v in VECTORS.items() if any(v)}


def recent(log, **options):
    family = RecentItems(**{"vectors": TABLE, **options})
    return BehaviorFeatures(LOG, ["user"], ["all"], EVENTS, recency=False, gap=False, families=[family]).fit(log)


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def brute_force(rows, one, last, half_life, chunks):
    mine = sorted(
        (r for r in rows if r["user_id"] is not None and r["user_id"] == one["user_id"] and r["ts"] < one["ts"]),
        key=lambda r: r["ts"],
    )
    past = [r for r in mine if r["event"] in EVENTS and r["item_id"] in UNIT][::-1]
    vectors = [UNIT[r["item_id"]] for r in past]
    if half_life is None:
        weights = [2 ** (-4 * rank / last) for rank in range(len(past))]
    else:
        weights = [2 ** (-(one["ts"] - r["ts"]).total_seconds() / half_life) for r in past]
    candidate = UNIT.get(one["item_id"])
    held, asked = vectors[:last], candidate is not None and bool(vectors)
    mean = sum(w * v for w, v in zip(weights, held, strict=False))
    found = {
        "cosine": cosine(mean, candidate) if asked else None,
        "max_cosine": max(cosine(v, candidate) for v in held) if asked else None,
        "spread": 1 - float(np.linalg.norm(sum(held) / len(held))) if held else None,
    }
    size, n_chunks = chunks
    for i in range(n_chunks):
        chunk = vectors[i * size : (i + 1) * size]
        found[f"chunk{i + 1}_cosine"] = cosine(sum(chunk), candidate) if chunk and asked else None
    return found


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(event, min_size=1, max_size=25),
    examples=st.lists(example, min_size=1, max_size=8),
    last=st.integers(1, 6),
    half_life=st.sampled_from([None, ("1h", 3600), ("1d", 86400)]),
    chunks=st.sampled_from([(1, 2), (2, 3), (3, 1)]),
)
def test_recent_items_equal_a_walk_over_the_log(rows, examples, last, half_life, chunks):
    options = {"last": last, "half_life": half_life and half_life[0], "chunks": chunks}
    fitted = recent(pl.DataFrame(rows, schema=EVENT_SCHEMA), **options)
    got = fitted.transform(pl.DataFrame(examples, schema=EXAMPLE_SCHEMA))
    for i, one in enumerate(examples):
        truth = brute_force(rows, one, last, half_life and half_life[1], chunks)
        for name, value in truth.items():
            found = got[f"user__recent_{name}"][i]
            assert found == (value if value is None else pytest.approx(value, abs=2e-6)), name


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(event, min_size=2, max_size=25),
    examples=st.lists(example, min_size=1, max_size=5),
    cut=st.integers(1, 24),
)
def test_live_recent_items_equal_the_batch(rows, examples, cut):
    log = pl.DataFrame(rows, schema=EVENT_SCHEMA)
    cut = min(cut, len(rows) - 1)
    candidates = pl.DataFrame(examples, schema=EXAMPLE_SCHEMA)
    assert_live_equals_batch(recent(log[:cut], chunks=(2, 2)), log, candidates, cut, tolerance=1e-6)


def large_log(n, n_items, rng):
    return pl.DataFrame({
        "user_id": rng.integers(0, 40, n), "item_id": rng.integers(0, n_items, n), "event": rng.choice(EVENTS, n),
        "ts": [START + timedelta(seconds=int(s)) for s in rng.integers(0, 10**6, n)], "price": rng.random(n),
    })  # fmt: skip


def test_cosines_asked_for_one_by_one_are_the_same_as_all_at_once():
    rng = np.random.default_rng(0)
    log = large_log(4_000, 200, rng)
    vectors = rng.normal(size=(200, 8)).astype(np.float32)
    table = pl.DataFrame({"id": np.arange(200), "vector": vectors})
    fitted = recent(log, vectors=table, last=4)
    asked = log.select("user_id", "item_id", "ts")
    together = fitted.transform(asked)  # all cosines at once
    alone = pl.concat([fitted.transform(part) for part in asked.iter_slices(50)])  # fewer than would pay
    for name in together.columns:
        np.testing.assert_allclose(together[name].to_numpy(), alone[name].to_numpy(), atol=1e-6)


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(2)
    log = large_log(2_000, 4, rng).with_columns(pl.col("item_id").replace_strict(dict(enumerate(VECTORS))))
    fitted = recent(log, chunks=(3, 4))
    asked = log.with_columns(pl.col("ts").dt.truncate("6h"))  # many candidates of one history
    whole = fitted.transform(asked)
    monkeypatch.setattr("features.recent_items._FLOATS", 200)
    blocked = fitted.transform(asked)
    for name in whole.columns:
        np.testing.assert_allclose(whole[name].to_numpy(), blocked[name].to_numpy(), atol=1e-6)


def test_future_and_simultaneous_events_do_not_count():
    rng = np.random.default_rng(1)
    log = large_log(2_000, 4, rng).with_columns(pl.col("item_id").replace_strict(dict(enumerate(VECTORS))))
    cut = START + timedelta(seconds=500_000)
    asked = log.with_columns(pl.lit(cut).alias("ts"))
    with_cut = pl.concat([log, log[:50].with_columns(pl.lit(cut).alias("ts").cast(pl.Datetime("us")))])
    before = log.filter(pl.col("ts") < cut)
    names = [name for name in recent(log).get_feature_names_out() if "recent" in name]
    assert recent(with_cut).transform(asked).select(names).equals(recent(before).transform(asked).select(names))


def test_an_encoder_gives_the_vectors_of_items_that_are_texts():
    class Letters:
        def encode(self, texts):
            return np.array([[text.count("a"), text.count("b")] for text in texts], dtype=np.float32)

    log = pl.DataFrame({
        "user_id": ["u", "u"], "item_id": ["ab", "b"], "event": ["buy", "view"], "price": [1.0, 1.0],
        "ts": [START, START + timedelta(hours=1)],
    })  # fmt: skip
    fitted = recent(log, vectors=Letters(), events=["buy"])
    asked = pl.DataFrame({"user_id": ["u", "u"], "item_id": ["a", None], "ts": [datetime(2026, 4, 1)] * 2})
    assert fitted.transform(asked)["user__recent_cosine"].to_list() == [pytest.approx(math.sqrt(0.5)), None]
    nothing = pl.DataFrame(
        {"user_id": ["u"], "item_id": pl.Series([None], dtype=pl.String), "ts": [datetime(2026, 4, 1)]}
    )
    assert fitted.transform(nothing)["user__recent_spread"].to_list() == [pytest.approx(0, abs=1e-6)]


def test_a_log_of_null_items_gives_nulls():
    log = pl.DataFrame({
        "user_id": ["u"], "item_id": pl.Series([None], dtype=pl.String), "event": ["buy"], "ts": [START], "price": [1.0],
    })  # fmt: skip
    asked = pl.DataFrame({"user_id": ["u"], "item_id": ["a"], "ts": [datetime(2026, 4, 1)]})
    with pytest.warns(UserWarning, match="never occurs"):
        fitted = recent(log)
    assert fitted.transform(asked)["user__recent_cosine"].to_list() == [None]


def test_the_declaration_survives_json_and_the_features_restore():
    log = pl.DataFrame([{**ONE, "item_id": item} for item in "abd"], schema=EVENT_SCHEMA)
    family = RecentItems(vectors=TABLE, label="lately", last=7, half_life="2d", chunks=(2, 3), events=["buy"])
    again = declare(FAMILIES, {"family": "recent interest", **json.loads(json.dumps(family.options()))})
    assert again.options() == family.options()
    assert again.columns(("user",))[0] == "user__lately_cosine"
    with pytest.warns(UserWarning, match="never occurs"):
        fitted = recent(log)
    asked = log.with_columns(pl.col("ts") + pl.duration(days=1))
    restored = BehaviorFeatures.restore(fitted.declaration(), fitted.log_, tables=fitted.tables())
    assert restored.transform(asked).equals(fitted.transform(asked))


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"last": 0}, "last=0 must be a whole number of events, at least 1"),
        ({"half_life": "all"}, "half_life='all' must be a length of time"),
        ({"half_life": "3 days"}, "window '3 days' is not a whole number with a unit"),
        ({"chunks": 5}, r"chunks=5 must be \(events in a chunk, number of chunks\)"),
        ({"chunks": (5, 0)}, r"chunks=\(5, 0\) must be"),
        ({"keys": [("user", "item")]}, "key 'user_x_item' holds the part 'item'"),
        ({"part": "query"}, r"EventLog\(query="),
        ({"events": ["by"]}, "did you mean 'buy'"),
    ],
)
def test_a_declaration_that_means_nothing_is_refused(options, message):
    log = pl.DataFrame([ONE], schema=EVENT_SCHEMA)
    with pytest.raises(DeclarationError, match=message):
        recent(log, **options)


@pytest.mark.filterwarnings("ignore:event .* never occurs")
def test_ids_of_another_type_are_refused():
    log = pl.DataFrame([ONE] * 2, schema=EVENT_SCHEMA)
    fitted = recent(log, vectors=pl.DataFrame({"id": [1], "vector": [[1.0]]}))
    with pytest.raises(ColumnError, match="ids of vectors are Int64, those of column 'item_id' String; cast one"):
        fitted.transform(log)
