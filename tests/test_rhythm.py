"""Gaps and profiles of a key against a slow truth that walks the log."""

from __future__ import annotations

import itertools
import json
import statistics
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from asof import assert_live_equals_batch
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import EVENT_SCHEMA, EVENTS, EXAMPLE_SCHEMA, START, event, example

from features import BehaviorFeatures, DeclarationError, EventLog, Rhythm
from features.families import FAMILIES
from features.family import declare

LOG = EventLog(user="user_id", item="item_id", event="event", timestamp="ts")
SECONDS = {"1d": 86400, "all": 1e12}

# Times over many days and hours beside those of the common strategy, with exact window edges and the hour around midnight.
moment = st.sampled_from([
    *(timedelta(seconds=s) for s in (0, 1, 3600, 86400, 86401)),
    *(timedelta(days=d, hours=h) for d in (0, 1, 7, 27, 28) for h in (0, 1, 2, 22, 23)),
]).map(lambda after: START + after)  # fmt: skip
timed_event = st.builds(lambda one, ts: {**one, "ts": ts}, event, moment)
timed_example = st.builds(lambda one, ts: {**one, "ts": ts}, example, moment)


def behavior(**options):
    return BehaviorFeatures(
        LOG, ["user", ("user", "item")], ["1d", "all"], EVENTS, families=[Rhythm(windows=["1d", "all"], **options)]
    )


def rhythm_columns(fitted):
    return [column.name for column in fitted.columns() if column.family == "rhythm"]


def brute_force(rows, example, *, last, merge_ties, prior_events, zone=None):
    """The rhythm of one example's keys, from the declaration in words."""
    features = {}
    local = lambda t: t if zone is None else t.replace(tzinfo=ZoneInfo("UTC")).astimezone(ZoneInfo(zone))  # noqa: E731
    now = local(example["ts"])
    for name, parts in {"user": ["user_id"], "user_x_item": ["user_id", "item_id"]}.items():
        mine = [
            r for r in rows if all(r[p] is not None and r[p] == example[p] for p in parts) and r["ts"] < example["ts"]
        ]
        for kind in EVENTS:
            times = sorted(r["ts"] for r in mine if r["event"] == kind)
            visits = sorted(set(times)) if merge_ties else times
            gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(visits)]
            recent = gaps[-last:]
            features[f"{name}__gap_median__{kind}"] = statistics.median(recent) if recent else None
            features[f"{name}__gap_deviation__{kind}"] = statistics.stdev(recent) if len(recent) > 1 else None
            due = sum(gaps) > 0
            since = (example["ts"] - visits[-1]).total_seconds() if due else None
            features[f"{name}__due__{kind}"] = since / (sum(gaps) / len(gaps)) if due else None
            for window, seconds in SECONDS.items():
                held = [local(t) for t in times if (example["ts"] - t).total_seconds() <= seconds]
                near = sum((t.hour - now.hour) % 24 in (23, 0, 1) for t in held)
                day = sum(t.weekday() == now.weekday() for t in held)
                for profile, count, even in (("hour", near, 3 / 24), ("weekday", day, 1 / 7)):
                    share = (count + even * prior_events) / (len(held) + prior_events) / even
                    features[f"{name}__{kind}_{profile}_share__{window}"] = share
    return features


def compare(got, rows, examples, names, **options):
    for i, one in enumerate(examples):
        truth = brute_force(rows, one, **options)
        assert set(truth) == set(names)
        for name, value in truth.items():
            assert got[name][i] == (value if value is None else pytest.approx(value, rel=1e-9, abs=1e-9)), name


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(timed_event, min_size=1, max_size=25),
    examples=st.lists(timed_example, min_size=1, max_size=8),
    last=st.integers(2, 4),
    merge_ties=st.booleans(),
    prior_events=st.sampled_from([0.5, 10]),
    zone=st.sampled_from([None, "Europe/Berlin", "Asia/Kolkata", "America/New_York"]),
)
def test_rhythm_equals_a_walk_over_the_log(rows, examples, last, merge_ties, prior_events, zone):
    options = {"last": last, "merge_ties": merge_ties, "prior_events": prior_events}
    log, asked = pl.DataFrame(rows, schema=EVENT_SCHEMA), pl.DataFrame(examples, schema=EXAMPLE_SCHEMA)
    if zone is not None:
        utc = pl.col("ts").dt.replace_time_zone("UTC")
        log, asked = log.with_columns(utc), asked.with_columns(utc.dt.convert_time_zone("Asia/Tokyo"))
    fitted = behavior(zone=zone or "Asia/Tokyo", **options).fit(log)  # without a zone in the data it changes nothing
    compare(fitted.transform(asked), rows, examples, rhythm_columns(fitted), zone=zone, **options)


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(timed_event, min_size=2, max_size=25),
    examples=st.lists(timed_example, min_size=1, max_size=5),
    cut=st.integers(1, 24),
    merge_ties=st.booleans(),
)
def test_live_rhythm_equals_the_batch(rows, examples, cut, merge_ties):
    utc = pl.col("ts").dt.replace_time_zone("UTC")
    log = pl.DataFrame(rows, schema=EVENT_SCHEMA).with_columns(utc)
    cut = min(cut, len(rows) - 1)
    fitted = behavior(zone="Europe/Berlin", merge_ties=merge_ties).fit(log[:cut])
    candidates = pl.DataFrame(examples, schema=EXAMPLE_SCHEMA).with_columns(utc)
    assert_live_equals_batch(fitted, log, candidates, cut)


def shopper(times, *, event="buy"):
    return pl.DataFrame({"user_id": ["ann"] * len(times), "item_id": ["x"] * len(times), "event": event, "ts": times})


def rhythm_of(events, now, **options):
    """The one example's features."""
    declared = BehaviorFeatures(LOG, ["user"], ["all"], families=[Rhythm(**options)])
    return declared.fit(events).transform(pl.DataFrame({"user_id": ["ann"], "ts": [now]})).row(0, named=True)


def test_due_is_the_time_since_over_the_mean_gap():
    days = [START + timedelta(days=d) for d in (0, 0, 10, 20)]  # the first visit had two lines
    got = rhythm_of(shopper(days), START + timedelta(days=35), merge_ties=False)
    assert got["user__due__buy"] == pytest.approx(got["user__since__buy"] / got["user__gap__buy"]) == 15 / (20 / 3)
    merged = rhythm_of(shopper(days), START + timedelta(days=35))
    assert merged["user__due__buy"] == 1.5
    assert (got["user__gap_median__buy"], merged["user__gap_median__buy"]) == (864000, 864000)
    assert (got["user__gap_deviation__buy"], merged["user__gap_deviation__buy"]) == (pytest.approx(498830.6), 0)


def test_the_median_and_deviation_are_of_the_last_gaps():
    days = [START + timedelta(days=d) for d in (0, 100, 101, 103)]
    got = rhythm_of(shopper(days), START + timedelta(days=104), last=2)
    assert got["user__gap_median__buy"] == 1.5 * 86400
    assert got["user__gap_deviation__buy"] == pytest.approx(86400 / 2**0.5)


def test_gaps_keep_their_digits_in_the_year_9000_and_beside_a_million_events():
    far = datetime(9000, 1, 1)
    times = [far + timedelta(microseconds=10 * i + i % 2) for i in range(5)]
    many = pl.DataFrame({"user_id": ["bob"], "item_id": ["x"], "event": ["buy"], "ts": [START]})
    many = many.select(pl.all().repeat_by(1_000_000).explode())
    got = rhythm_of(pl.concat([many, shopper(times)]), far + timedelta(seconds=1))
    assert got["user__gap_median__buy"] == pytest.approx(1e-5, rel=1e-9)
    assert got["user__gap_deviation__buy"] == pytest.approx(statistics.stdev([11e-6, 9e-6] * 2), rel=1e-9)


def test_the_clock_of_the_shop_is_right_on_both_sides_of_a_change_and_in_the_hour_that_comes_twice():
    berlin = ZoneInfo("Europe/Berlin")
    wall = [datetime(2026, 10, 24, 12), datetime(2026, 10, 25, 12), datetime(2026, 10, 26, 12)]  # UTC: 10, 11, 11
    twice = [datetime(2026, 10, 25, 2, 30, fold=fold) for fold in (0, 1)]  # UTC: 0:30 and 1:30
    events = shopper([t.replace(tzinfo=berlin).astimezone(ZoneInfo("UTC")) for t in (*wall, *twice)])

    def hour_share(hour, zone="Europe/Berlin"):
        now = datetime(2026, 11, 7, hour, tzinfo=berlin).astimezone(ZoneInfo("UTC"))
        return rhythm_of(events, now, zone=zone, prior_events=1)["user__buy_hour_share__all"]

    def share(near):
        return pytest.approx((near + 1 / 8) / 6 / (1 / 8))

    assert [hour_share(hour) for hour in (10, 11, 12, 13, 14)] == [share(n) for n in (0, 3, 3, 3, 0)]
    assert [hour_share(hour) for hour in (0, 1, 2, 3, 4)] == [share(n) for n in (0, 2, 2, 2, 0)]
    # On the UTC clock the same noon spreads over two hours: 10 o'clock is one short of 11 and 12 is two.
    assert [hour_share(hour + 1, "UTC") for hour in (9, 10, 11, 12)] == [share(n) for n in (1, 3, 3, 2)]
    gaps = rhythm_of(events, datetime(2026, 11, 7, 12, tzinfo=berlin), zone="Europe/Berlin")
    assert gaps["user__gap_median__buy"] == (9.5 + 14.5) / 2 * 3600  # 14.5, 1, 9.5 and 24 hours


def test_the_day_of_the_week_is_that_of_the_shop():
    events = shopper([datetime(2026, 3, 1, 23, 30, tzinfo=ZoneInfo("UTC"))])  # a Sunday, in Berlin Monday
    monday = datetime(2026, 3, 9, 12, tzinfo=ZoneInfo("UTC"))
    column = "user__buy_weekday_share__all"
    assert rhythm_of(events, monday, zone="Europe/Berlin", prior_events=7)[column] == pytest.approx(2 / 8 * 7)
    assert rhythm_of(events, monday, prior_events=7)[column] == pytest.approx(1 / 8 * 7)


def test_a_key_without_events_has_no_preference_and_no_gaps():
    fitted = BehaviorFeatures(LOG, ["user"], ["all"], families=[Rhythm(merge_ties=False)]).fit(shopper([START, START]))
    asked = pl.DataFrame({"user_id": ["bob", None, "ann", "ann"], "ts": [START, START, START, START + timedelta(1)]})
    got = fitted.transform(asked)
    assert (
        got["user__buy_hour_share__all"][:3].to_list() == got["user__buy_weekday_share__all"][:3].to_list() == [1.0] * 3
    )
    assert got["user__gap_median__buy"].to_list() == [None, None, None, 0.0]
    assert got["user__due__buy"].null_count() == 4  # the gap of the two ties is 0, of which nothing is a multiple


def test_options_survive_json():
    family = Rhythm(
        zone="Asia/Shanghai", last=5, merge_ties=True, windows=["30d", "all"], prior_events=3.5, events=["buy"]
    )
    again = declare(FAMILIES, {"family": "rhythm", **json.loads(json.dumps(family.options()))})
    assert again.options() == family.options()
    fitted = behavior(zone="Europe/Berlin").fit(
        shopper([START]).with_columns(pl.lit("view").alias("event")).vstack(shopper([START]))
    )
    restored = BehaviorFeatures.restore(json.loads(json.dumps(fitted.declaration())), fitted.log_)
    asked = shopper([START + timedelta(1)])
    assert restored.transform(asked).equals(fitted.transform(asked))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"zone": "Europe/Berln"}, r"zone='Europe/Berln' is not .* did you mean 'Europe/Berlin'\?"),
        ({"zone": "+02:00"}, r"zone='\+02:00' is not the IANA name"),
        ({"zone": ""}, "is not the IANA name"),
        ({"zone": None}, "zone=None is not the IANA name"),
        ({"last": 1}, "last=1 must be a whole number of gaps, at least 2"),
        ({"last": 2.5}, "last=2.5 must be a whole number"),
        ({"last": True}, "last=True must be a whole number"),
        ({"prior_events": 0}, "prior_events=0 must be a number above 0"),
        ({"prior_events": "10"}, "prior_events='10' must be a number above 0"),
        ({"merge_ties": "yes"}, "merge_ties='yes' must be true or false"),
        ({"windows": "all"}, r"windows must be a list of windows: \['all'\]"),
        ({"windows": ["a week"]}, "window 'a week' is not"),
        ({"windows": []}, "one or more different windows"),
    ],
)
def test_a_declaration_that_means_nothing_is_refused(options, message):
    with pytest.raises(DeclarationError, match=message):
        Rhythm(**options)


def test_an_unknown_event_is_refused():
    with pytest.raises(DeclarationError, match=r"rhythm uses event 'by', which is not declared; did you mean 'buy'\?"):
        behavior(events=["by"]).fit(shopper([START, START], event=EVENTS))


def test_a_long_history_costs_no_more_than_its_length():
    n = 300_000  # one key: an array of examples by events would be 90 billion cells
    rng = np.random.default_rng(0)
    seconds = np.sort(rng.integers(0, 50_000_000, n))
    log = pl.DataFrame({"user_id": pl.repeat("ann", n, eager=True), "ts": seconds * 1_000_000}).with_columns(
        pl.col("ts").cast(pl.Datetime("us", "UTC"))
    )
    fitted = BehaviorFeatures(
        EventLog(user="user_id", timestamp="ts"), ["user"], ["all"], families=[Rhythm(zone="Europe/Berlin")]
    )
    got = fitted.fit(log).transform(log)
    assert got["user__event_hour_share__all"].is_finite().all()
    asked = log[-1:].with_columns(pl.col("ts") + pl.duration(seconds=1))
    assert fitted.transform(asked)["user__gap_median__event"][0] == np.median(np.diff(seconds)[-10:])
