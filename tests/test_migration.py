"""Interest migration against a walk over keys and weeks, and over what it should say of a planted move."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import ColumnError, DeclarationError, EmptyFrameError, EventLog, TimestampError, interest_migration

LOG = EventLog(user="who", event="kind", timestamp="ts")
MONDAY = datetime(2026, 3, 2)
row = st.fixed_dictionaries({
    "who": st.sampled_from(["a", "b", None]), "shelf": st.sampled_from(["x", "y", "z", None]),
    "kind": st.sampled_from(["buy", "view"]), "ts": st.sampled_from([0, 1, 6, 7, 8, 13, 14, 20, 21, 35]).map(
        lambda days: MONDAY + timedelta(days=days)),
})  # fmt: skip
SCHEMA = {"who": pl.String, "shelf": pl.String, "kind": pl.String, "ts": pl.Datetime("us")}


def foremost(shares):
    return min(shares, key=lambda c: (-round(shares[c], 12), c), default=None)


def brute_force(rows, kinds, long):
    users, moved, events = {}, defaultdict(float), defaultdict(float)
    known = [r for r in rows if r["who"] and r["shelf"] and r["kind"] in kinds]
    weeks = {(r["who"], (r["ts"] - MONDAY).days // 7) for r in known}
    for who, week in weeks:
        start = MONDAY + timedelta(days=7 * week)
        mine = [r for r in known if r["who"] == who]
        now = Counter(r["shelf"] for r in mine if start <= r["ts"] < start + timedelta(days=7))
        past = Counter(r["shelf"] for r in mine if start - long <= r["ts"] < start)
        p = {c: n / now.total() for c, n in now.items()}
        q = {c: n / past.total() for c, n in past.items()}
        entropy = -sum(v * math.log(v) for v in p.values())
        shift, change = None, {}
        if q:
            both = {c: (p.get(c, 0) + q.get(c, 0)) / 2 for c in p.keys() | q.keys()}
            shift = sum(sum(v * math.log2(v / both[c]) for c, v in side.items()) for side in (p, q)) / 2
            change = {c: p.get(c, 0) - q.get(c, 0) for c in both}
        up = {c: d for c, d in change.items() if d > 1e-12}
        down = {c: -d for c, d in change.items() if d < -1e-12}
        for a, loss in down.items():
            for b, gain in up.items():
                moved[a, b] += loss * gain / sum(up.values())
                events[a, b] += now.total() * loss * gain / sum(up.values())
        users[who, start] = (now.total(), entropy, shift, foremost(up), foremost(down), foremost(p))
    return users, moved, events


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(row, min_size=1, max_size=30),
    kinds=st.sampled_from([["buy"], ["buy", "view"]]),
    long=st.sampled_from(["1w", "3w", "all"]),
)
def test_migration_equals_a_walk_over_the_weeks(rows, kinds, long):
    length = timedelta(days={"1w": 7, "3w": 21, "all": 10_000}[long])
    users, moved, events = brute_force(rows, kinds, length)
    log = pl.DataFrame(rows, schema=SCHEMA)
    if not users or not set(kinds) <= set(log["kind"]):
        return
    got = interest_migration(log, LOG, category="shelf", kinds=kinds, long=long)
    assert got.users.rows() == sorted(got.users.rows(), key=lambda r: r[:2])
    assert {r[:2] for r in got.users.rows()} == set(users)
    for who, start, *found in got.users.rows():
        n_events, entropy, shift, *named = users[who, start]
        assert found[0] == n_events
        assert found[1] == pytest.approx(entropy, abs=1e-9)
        assert found[2] == (shift if shift is None else pytest.approx(shift, abs=1e-9))
        assert found[3:] == named
    assert {(a, b): w for a, b, w, _, _ in got.matrix.rows()} == pytest.approx(moved, abs=1e-9)
    assert {(a, b): n for a, b, _, n, _ in got.matrix.rows()} == pytest.approx(events, abs=1e-9)
    for a, b, _, n, net in got.matrix.rows():
        assert net == pytest.approx(n - events.get((b, a), 0.0), abs=1e-9)


def test_a_planted_move_is_found():
    weeks = [MONDAY + timedelta(days=7 * week + day) for week in range(6) for day in range(5)]
    log = pl.DataFrame({
        "who": [who for who in range(20) for _ in weeks],
        "shelf": ["skis" if who < 15 and ts >= weeks[25] else "tents" for who in range(20) for ts in weeks],
        "kind": "buy", "ts": weeks * 20,
    })  # fmt: skip
    got = interest_migration(log, LOG, category="shelf")
    assert got.matrix.rows() == [("tents", "skis", 15.0, 75.0, 75.0)]
    last = got.users.filter(pl.col("period") == weeks[25])
    assert last["gaining"].to_list() == ["skis"] * 15 + [None] * 5
    alone = interest_migration(log, LOG, category="shelf", since=weeks[25], until=weeks[25] + timedelta(days=1))
    assert alone.users.equals(last)
    assert interest_migration(log, LOG, category="shelf", until=weeks[25]).matrix.is_empty()
    assert last["shift"].to_list() == pytest.approx([1.0] * 15 + [0.0] * 5)


def test_periods_keep_the_zone_and_keys_of_several_parts_work():
    log = pl.DataFrame({"who": ["a", "a"], "place": [1, 1], "shelf": ["x", "y"], "kind": "buy",
                        "ts": [MONDAY, MONDAY + timedelta(days=1)]})  # fmt: skip
    log = log.with_columns(pl.col("ts").dt.replace_time_zone("Asia/Shanghai"))
    got = interest_migration(log, LOG, category="shelf", key=("user", "place"), period="1d")
    assert got.users.columns[:4] == ["who", "place", "period", "events"]
    assert got.users["period"].dtype.time_zone == "Asia/Shanghai"
    assert got.users["period"].dt.convert_time_zone("UTC").dt.hour().to_list() == [0, 0]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"category": "shlf"}, ColumnError, r"events has no column 'shlf'; did you mean 'shelf'\?"),
        ({"period": "all"}, DeclarationError, "period='all' must be a length of time"),
        ({"period": "weekly"}, DeclarationError, "window 'weekly' is not a whole number with a unit"),
        ({"kinds": ["by"]}, DeclarationError, r"event 'by' never occurs in the log; did you mean 'buy'\?"),
        ({"key": ("user", "shelf")}, DeclarationError, "the key holds the category 'shelf' itself"),
        ({"since": datetime(2026, 3, 2, tzinfo=UTC)}, TimestampError, "timestamps of events have none"),
        ({"since": datetime(2027, 3, 2)}, EmptyFrameError, "no event of the periods"),
        ({"key": "query"}, DeclarationError, r"EventLog\(query="),
    ],
)
def test_a_question_that_means_nothing_is_refused(options, error, message):
    log = pl.DataFrame({"who": ["a"], "shelf": ["x"], "kind": ["buy"], "ts": [MONDAY]})
    with pytest.raises(error, match=message):
        interest_migration(log, LOG, **{"category": "shelf", **options})


def test_a_log_without_categories_is_refused():
    log = pl.DataFrame([{"who": "a", "shelf": None, "kind": "buy", "ts": MONDAY}], schema=SCHEMA)
    with pytest.raises(EmptyFrameError, match="no event of the periods has a key and a category in 'shelf'"):
        interest_migration(log, LOG, category="shelf")
