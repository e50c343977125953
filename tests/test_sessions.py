"""Sessions so far against a slow truth that walks the log."""

from __future__ import annotations

import itertools
import json
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from asof import assert_live_equals_batch
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import EVENT_SCHEMA, EVENTS, EXAMPLE_SCHEMA, START, event, example

from features import BehaviorFeatures, ColumnError, DeclarationError, EventLog, Sessions
from features.families import FAMILIES
from features.family import declare

ROLES = {"user": "user_id", "item": "item_id", "query": "query_id", "session": "session_id"}
LOG = EventLog(**ROLES, event="event", timestamp="ts")
SCHEMA = {**EVENT_SCHEMA, "query_id": pl.String, "session_id": pl.Int64, "dwell": pl.Float64}
SCHEMA_ASKED = {**EXAMPLE_SCHEMA, "query_id": pl.String, "session_id": pl.Int64}

query, session = st.sampled_from(["shoes", "red shoes", "hat", None]), st.sampled_from([1, 2, None])
full_event = st.builds(
    lambda one, query, session, dwell: {**one, "query_id": query, "session_id": session, "dwell": dwell},
    event, query, session, st.none() | st.floats(0, 1e3),
)  # fmt: skip
full_example = st.builds(
    lambda one, query, session: {**one, "query_id": query, "session_id": session}, example, query, session
)


def behavior(keys=("user", ("user", "item")), **options):
    family = Sessions(keys=keys, dwell="dwell", **options)
    return BehaviorFeatures(LOG, ["user"], ["1h"], EVENTS, families=[family])


def session_columns(fitted):
    return [column.name for column in fitted.columns() if column.family == "session"]


def brute_force(rows, example, gap):
    """The sessions of one example's keys, from the declaration in words; by id where there is no gap."""
    features = {}
    for name, parts in {"user": ["user_id"], "user_x_item": ["user_id", "item_id"]}.items():
        parts = parts if gap else [*parts, "session_id"]
        mine = [
            r for r in rows if all(r[p] is not None and r[p] == example[p] for p in parts) and r["ts"] < example["ts"]
        ]
        mine = sorted((r for r in mine if r["event"] in EVENTS), key=lambda r: r["ts"])  # stable, as the log was
        now, so_far = example["ts"], []
        for r in reversed(mine):
            if gap and (now - r["ts"]).total_seconds() > gap:
                break
            so_far, now = [r, *so_far], r["ts"]
        queries = [r["query_id"] for r in so_far if r["query_id"] is not None]
        features |= {
            f"{name}__session_events": len(so_far),
            **{f"{name}__session_{kind}": sum(r["event"] == kind for r in so_far) for kind in EVENTS},
            f"{name}__session_position": 1 + len({r["ts"] for r in so_far}),
            f"{name}__session_length": (example["ts"] - so_far[0]["ts"]).total_seconds() if so_far else None,
            f"{name}__session_queries": len(set(queries)),
            f"{name}__session_reformulations": sum(a != b for a, b in itertools.pairwise(queries)),
            f"{name}__session_items": len({r["item_id"] for r in so_far} - {None}),
            f"{name}__session_dwell": sum(r["dwell"] or 0.0 for r in so_far),
        }
    return features


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(full_event, min_size=1, max_size=25),
    examples=st.lists(full_example, min_size=1, max_size=8),
    gap=st.sampled_from(["30m", "1h", "2h", "1d", None]),
)
def test_sessions_equal_a_walk_over_the_log(rows, examples, gap):
    family = {"gap": gap} if gap else {"session": True}
    fitted = behavior(**family).fit(pl.DataFrame(rows, schema=SCHEMA))
    got = fitted.transform(pl.DataFrame(examples, schema=SCHEMA_ASKED))
    seconds = {"30m": 1800, "1h": 3600, "2h": 7200, "1d": 86400, None: None}[gap]
    for i, one in enumerate(examples):
        truth = brute_force(rows, one, seconds)
        assert set(truth) == set(session_columns(fitted))
        for name, value in truth.items():
            assert got[name][i] == (value if value is None else pytest.approx(value, rel=1e-9, abs=1e-9)), name


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(full_event, min_size=2, max_size=25),
    examples=st.lists(full_example, min_size=1, max_size=5),
    cut=st.integers(1, 24),
    by_id=st.booleans(),
)
def test_live_sessions_equal_the_batch(rows, examples, cut, by_id):
    log = pl.DataFrame(rows, schema=SCHEMA)
    cut = min(cut, len(rows) - 1)
    fitted = behavior(**({"session": True} if by_id else {"gap": "1h"})).fit(log[:cut])
    assert_live_equals_batch(fitted, log, pl.DataFrame(examples, schema=SCHEMA_ASKED), cut)


def minutes(*at, **columns):
    base = {"user_id": ["ann"] * len(at), "ts": [START + timedelta(minutes=m) for m in at]}
    return pl.DataFrame({**base, **columns})


def sessions_of(events, asked, log=None, **options):
    log = log or EventLog(user="user_id", timestamp="ts")
    return BehaviorFeatures(log, ["user"], ["all"], families=[Sessions(**options)]).fit(events).transform(asked)


def test_an_example_exactly_a_gap_after_the_last_event_is_still_in_its_session():
    asked = minutes(30, 59, 60, 61)
    got = sessions_of(minutes(0, 30), asked)
    assert got["user__session_events"].to_list() == [1, 2, 2, 0]
    assert got["user__session_length"].to_list() == [1800.0, 3540.0, 3600.0, None]
    late = asked[2:3].with_columns(pl.col("ts") + pl.duration(microseconds=1))
    assert sessions_of(minutes(0, 30), late)["user__session_events"].to_list() == [0]


def test_the_log_decides_which_columns_there_are():
    names = sessions_of(minutes(0), minutes(1)).columns
    assert [name for name in names if "session" in name] == [
        "user__session_events",
        "user__session_event",
        "user__session_position",
        "user__session_length",
    ]
    log = EventLog(user="user_id", query="q", timestamp="ts")
    assert "user__session_queries" in sessions_of(minutes(0, q=["a"]), minutes(1), log).columns
    typed = sessions_of(minutes(0, 1, what=["a", "b"]), minutes(2), query="what")  # a column that has no role
    assert typed["user__session_reformulations"].to_list() == [1]


def test_events_of_one_time_are_one_step():
    got = sessions_of(minutes(0, 0, 0, 5, 5), minutes(6))
    assert (got["user__session_events"][0], got["user__session_position"][0]) == (5, 3)


def test_sessions_of_the_log_are_the_users_own():
    log = EventLog(user="user_id", session="visit", timestamp="ts")
    events = minutes(0, 600, 601, 602, visit=[1, 1, 2, 1]).with_columns(user_id=pl.Series(["ann", "ann", "ann", "bob"]))
    got = sessions_of(events, minutes(700, 700, 700, visit=[1, 2, None]), log, session=True)
    assert got["user__session_events"].to_list() == [2, 1, 0]
    shared = BehaviorFeatures(log, ["session"], ["all"], families=[Sessions(session=True, keys=["session"])])
    asked = minutes(700, visit=[1])
    assert shared.fit(events).transform(asked)["session__session_events"].to_list() == [3]


def test_one_long_dwell_does_not_cost_another_session_its_digits():
    events = minutes(0, 100, 101, seconds=[1e17, 0.25, 0.5])
    assert sessions_of(events, minutes(102), dwell="seconds")["user__session_dwell"].to_list() == [0.75]


def test_options_survive_json():
    for family in (Sessions(gap="1h", dwell="dwell", events=["buy"]), Sessions(session=True, query="q"), Sessions()):
        again = declare(FAMILIES, {"family": "session", **json.loads(json.dumps(family.options()))})
        assert again.options() == family.options()
    rows = minutes(0, 1, item_id=["x", "y"], query_id=["a", "b"], session_id=[1, 1], event=EVENTS, dwell=[1.0, 2.0])
    for options in ({"gap": "1h"}, {"session": True}):
        fitted = behavior(**options).fit(rows)
        restored = BehaviorFeatures.restore(json.loads(json.dumps(fitted.declaration())), fitted.log_)
        assert restored.transform(rows).equals(fitted.transform(rows))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gap": "all"}, 'gap="all" must be a length of time'),
        ({"gap": "half an hour"}, "window 'half an hour' is not"),
        ({"gap": "30m", "session": True}, "gap='30m' and session=True contradict each other"),
        ({"session": "sid"}, r"session=\'sid\' must be true or false; the column is declared in EventLog\(session="),
    ],
)
def test_a_declaration_that_means_nothing_is_refused(options, message):
    with pytest.raises(DeclarationError, match=message):
        Sessions(**options)


def test_session_ids_need_a_column_and_some_key_has_to_be_taken_over():
    with pytest.raises(DeclarationError, match=r"'session' is not in the log: declare its column, EventLog\(session="):
        sessions_of(minutes(0), minutes(1), session=True)
    items = BehaviorFeatures(EventLog(item="user_id", timestamp="ts"), ["item"], families=[Sessions()])
    with pytest.raises(DeclarationError, match='there is no key "user" to take over; say whose sessions are meant'):
        items.fit(minutes(0))


def test_negative_dwell_is_refused_wherever_a_log_comes_in():
    good, bad = minutes(0, 1, 2, dwell=[1.0, 2.0, None]), minutes(0, 1, 2, dwell=[-1.0, -2.0, 3.0])
    message = "'dwell' of events is negative in 2 of 3 rows .* set those values to null"
    declared = BehaviorFeatures(EventLog(user="user_id", timestamp="ts"), ["user"], families=[Sessions(dwell="dwell")])
    with pytest.raises(ColumnError, match=message):
        declared.fit(bad)
    fitted = declared.fit(good)
    with pytest.raises(ColumnError, match=message):
        fitted.transform(good, events=bad)
    live = fitted.live()
    with pytest.raises(ColumnError, match=message):
        live.observe(bad)
    now = START + timedelta(minutes=3)
    assert live.features(good[:1], now=now)["user__session_dwell"].to_list() == [3.0]  # nothing of it was taken in


@pytest.mark.parametrize("values", [[True, False, None], [None, None, None], [3, 3, 4]])
def test_queries_may_be_of_any_dtype_of_keys(values):
    got = sessions_of(minutes(0, 1, 2, q=values), minutes(3), EventLog(user="user_id", query="q", timestamp="ts"))
    known = [value for value in values if value is not None]
    assert got["user__session_queries"].to_list() == [len(set(known))]


def test_one_session_of_many_events_costs_no_more_than_its_length():
    n = 300_000
    rng = np.random.default_rng(0)
    log = pl.DataFrame({"user_id": pl.repeat("ann", n, eager=True), "q": rng.integers(0, n, n), "ts": np.arange(n)})
    log = log.with_columns(pl.col("ts").cast(pl.Datetime("us")))
    got = sessions_of(log, log, EventLog(user="user_id", query="q", timestamp="ts"))
    assert got["user__session_queries"][-1] == log["q"][:-1].n_unique()
