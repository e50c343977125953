"""Every behaviour feature against a slow truth that walks the log event by event."""

from __future__ import annotations

import itertools
import math
import warnings
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import EVENT_SCHEMA, EVENTS, EXAMPLE_SCHEMA, START, event, example
from sklearn.base import clone

from features import (
    BehaviorFeatures,
    BetaPrior,
    ColumnError,
    DeclarationError,
    EmptyFrameError,
    EventLog,
    Rhythm,
    Sessions,
    TimestampError,
    Window,
)

LOG = EventLog(user="user_id", item="item_id", event="event", timestamp="ts", values=["price"])
WINDOWS = ["1h", "1d", Window.all()]
SECONDS = {"1h": 3600, "1d": 86400, "all": math.inf}
KEYS = ["user", "item", ("user", "item")]


def behavior(**options):
    declared = {
        "keys": KEYS,
        "windows": WINDOWS,
        "events": EVENTS,
        "rates": {"cvr": ("buy", "view")},
        "distinct": ["item"],
    }
    return BehaviorFeatures(LOG, **{**declared, **options})


def brute_force(rows, example, priors):
    """The features of one example, from the declaration in words."""
    features = {}
    for key in KEYS:
        parts = [f"{part}_id" for part in ([key] if isinstance(key, str) else key)]
        name = key if isinstance(key, str) else "_x_".join(key)
        mine = [
            r for r in rows if all(r[p] is not None and r[p] == example[p] for p in parts) and r["ts"] < example["ts"]
        ]
        age = lambda r: (example["ts"] - r["ts"]).total_seconds()  # noqa: E731 - one line of truth
        for window, seconds in SECONDS.items():
            held = [r for r in mine if age(r) <= seconds and r["event"] in EVENTS]
            of = {kind: [r for r in held if r["event"] == kind] for kind in EVENTS}
            for kind in EVENTS:
                features[f"{name}__{kind}__{window}"] = len(of[kind])
                features[f"{name}__{kind}_sum_price__{window}"] = sum(r["price"] or 0.0 for r in of[kind])
            prior = priors[f"{name}__cvr"]
            features[f"{name}__cvr__{window}"] = (len(of["buy"]) + prior.alpha) / (
                len(of["view"]) + prior.alpha + prior.beta
            )
            if "item_id" not in parts:
                features[f"{name}__distinct_item__{window}"] = len({r["item_id"] for r in held} - {None})
        for kind in EVENTS:
            times = sorted(r["ts"] for r in mine if r["event"] == kind)
            features[f"{name}__since__{kind}"] = (example["ts"] - times[-1]).total_seconds() if times else None
            gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(times)]
            features[f"{name}__gap__{kind}"] = sum(gaps) / len(gaps) if gaps else None
    return features


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@settings(max_examples=150, deadline=None)
@given(rows=st.lists(event, min_size=1, max_size=25), examples=st.lists(example, min_size=1, max_size=8))
def test_features_equal_a_walk_over_the_log(rows, examples):
    fitted = behavior().fit(pl.DataFrame(rows, schema=EVENT_SCHEMA))
    frame = pl.DataFrame(examples, schema=EXAMPLE_SCHEMA)
    got = fitted.transform(frame)
    assert got.columns == list(fitted.get_feature_names_out())
    for i, one in enumerate(examples):
        truth = brute_force(rows, one, fitted.priors_)
        assert set(truth) == set(got.columns)
        for name, value in truth.items():
            assert got[name][i] == (value if value is None else pytest.approx(value, rel=1e-9, abs=1e-9)), name


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(event, min_size=2, max_size=25),
    examples=st.lists(example, min_size=1, max_size=5),
    cut=st.integers(1, 24),
)
def test_live_features_equal_the_batch(rows, examples, cut):
    log = pl.DataFrame(rows, schema=EVENT_SCHEMA)
    fitted = behavior().fit(log[: min(cut, len(rows) - 1)])
    live = fitted.live()
    for one in rows[min(cut, len(rows) - 1) :]:
        live.observe(pl.DataFrame([one], schema=EVENT_SCHEMA))
    candidates = pl.DataFrame(examples, schema=EXAMPLE_SCHEMA)
    now = examples[0]["ts"]
    batch = fitted.transform(candidates.with_columns(pl.lit(now).alias("ts")), events=log)
    assert live.features(candidates.drop("ts"), now=now).equals(batch)


def test_live_features_stay_right_when_observed_events_outgrow_the_log():
    rng = np.random.default_rng(0)
    n = 12_000
    log = pl.DataFrame({
        "user_id": rng.integers(0, 50, n), "item_id": rng.integers(0, 20, n), "event": rng.choice(EVENTS, n),
        "ts": [START + timedelta(seconds=int(s)) for s in rng.integers(0, 200_000, n)], "price": rng.random(n),
    })  # fmt: skip
    fitted = behavior().fit(log[:100])
    live = fitted.live()
    for part in log[100:].iter_slices(1_000):
        live.observe(part)
    candidates = log[:200].select("user_id", "item_id")
    now = START + timedelta(seconds=150_000)
    batch = fitted.transform(candidates.with_columns(pl.lit(now).alias("ts")), events=log)
    got = live.features(candidates, now=now)
    for name in batch.columns:
        np.testing.assert_allclose(got[name].to_numpy(), batch[name].to_numpy(), rtol=1e-9)


def small_log(**columns):
    base = {
        "user_id": ["a", "a", "b"], "item_id": ["x", "y", "x"], "event": ["view", "buy", "view"],
        "ts": [START, START + timedelta(hours=1), START + timedelta(hours=2)], "price": [1.0, 2.0, None],
    }  # fmt: skip
    return pl.DataFrame({**base, **columns})


def test_events_of_another_log_replace_the_fitted_ones_and_priors_stay():
    fitted = behavior().fit(small_log())
    asked = small_log().select("user_id", "item_id", "ts").with_columns(pl.col("ts") + pl.duration(days=2))
    later = small_log().with_columns(pl.col("ts") + pl.duration(days=1))
    replaced = fitted.transform(asked, events=later)
    assert replaced["user__view__1d"].to_list() == [1, 0, 1]
    assert fitted.transform(asked)["user__view__1d"].to_list() == [0, 0, 0]
    alone = behavior().fit(later).transform(asked)
    assert replaced["user__view__all"].equals(alone["user__view__all"])


def test_future_events_change_nothing_but_the_priors():
    rng = np.random.default_rng(1)
    n = 3_000
    log = pl.DataFrame({
        "user_id": rng.integers(0, 40, n), "item_id": rng.integers(0, 30, n), "event": rng.choice(EVENTS, n),
        "ts": [START + timedelta(seconds=int(s)) for s in rng.integers(0, 100_000, n)], "price": rng.random(n),
    })  # fmt: skip
    cut = START + timedelta(seconds=50_000)
    examples = log.sample(200, seed=0).select("user_id", "item_id", pl.lit(cut).alias("ts"))
    plain = {"rates": None}
    everything = behavior(**plain).fit(log).transform(examples)
    assert everything.equals(behavior(**plain).fit(log.filter(pl.col("ts") < cut)).transform(examples))


def test_one_large_value_does_not_cost_another_key_its_digits():
    log = small_log(price=[1e17, 0.5, 0.25])
    sums = behavior().fit(log).transform(log.with_columns(ts=pl.lit(START + timedelta(days=1))))
    assert sums["user__view_sum_price__all"].to_list() == [1e17, 1e17, 0.25]


def test_frames_are_answered_in_kind_and_rows_keep_their_order_and_index():
    fitted = behavior().fit(small_log())
    examples = small_log().select("user_id", "item_id", pl.col("ts") + pl.duration(hours=3))
    want = fitted.transform(examples)
    table = fitted.transform(examples.to_arrow())
    assert pl.DataFrame(pl.from_arrow(table)).equals(want)
    frame = fitted.fit(small_log().to_pandas()).transform(examples.to_pandas().set_index(pd.Index([7, 3, 5])))
    assert list(frame.index) == [7, 3, 5]
    np.testing.assert_array_equal(frame["user__view__all"], want["user__view__all"])


def test_integer_keys_that_pandas_turned_into_floats_still_match():
    events = pd.DataFrame({"user_id": [1.0, np.nan, 2.0], "ts": pd.to_datetime(["2026-03-01"] * 3)})
    fitted = BehaviorFeatures(EventLog(user="user_id", timestamp="ts"), ["user"], ["all"]).fit(events)
    asked = pl.DataFrame({"user_id": [2, 3], "ts": [datetime(2026, 3, 2)] * 2})
    assert fitted.transform(asked)["user__event__all"].to_list() == [1, 0]


def test_a_zone_makes_no_difference_to_instants():
    zoned = small_log().with_columns(pl.col("ts").dt.replace_time_zone("UTC"))
    elsewhere = zoned.with_columns(pl.col("ts").dt.convert_time_zone("Asia/Shanghai"))
    fitted = behavior().fit(zoned)
    assert fitted.transform(elsewhere).equals(behavior().fit(small_log()).transform(small_log()))


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(event, min_size=1, max_size=25),
    examples=st.lists(example, min_size=1, max_size=8),
    lag=st.sampled_from(["1s", "5m", "1h", "1d"]),
)
def test_a_lag_is_as_if_every_example_were_that_much_earlier(rows, examples, lag):
    log, asked = pl.DataFrame(rows, schema=EVENT_SCHEMA), pl.DataFrame(examples, schema=EXAMPLE_SCHEMA)
    families = [Rhythm(), Sessions(gap="1h")]
    late = behavior(lag=lag, families=families).fit(log)
    early = behavior(families=families).fit(log)
    moved = asked.with_columns(pl.col("ts") - pl.duration(seconds=Window(lag).seconds))
    assert late.transform(asked).equals(early.transform(moved))
    now = examples[0]["ts"]
    candidates = asked.drop("ts")
    batch = late.transform(candidates.with_columns(pl.lit(now).alias("ts")))
    assert late.live().features(candidates, now=now).equals(batch)


def test_an_event_exactly_a_lag_before_the_example_is_not_known_yet():
    log = small_log()[:1]
    asked = log.with_columns(pl.col("ts") + pl.duration(minutes=5))
    late = behavior(lag="5m", rates=None, events=["view"]).fit(log)
    assert late.transform(asked)["user__view__all"].to_list() == [0]
    after = asked.with_columns(pl.col("ts") + pl.duration(microseconds=1))
    assert late.transform(after)["user__view__all"].to_list() == [1]
    restored = BehaviorFeatures.restore(late.declaration(), late.log_)
    assert restored.transform(asked).equals(late.transform(asked))


@pytest.mark.parametrize("lag", ["all", "5 minutes", "0m", "-5m", "", 5])
def test_a_lag_that_is_no_length_is_refused_before_the_log_is_read(lag):
    with pytest.raises(DeclarationError, match=rf'lag={lag!r} must be a length of time such as "5m"'):
        behavior(lag=lag).fit(small_log()[:0])


def test_rows_equal_in_every_column_are_kept_or_dropped_as_declared():
    log = pl.concat(
        [small_log(), small_log()[:1], small_log(price=[1.5, 2.0, None])[:1]]
    )  # one again, and another price
    asked = small_log()[:1].with_columns(pl.col("ts") + pl.duration(days=1))

    def features(duplicates):
        names = EventLog(
            user="user_id", item="item_id", event="event", timestamp="ts", values=["price"], duplicates=duplicates
        )
        fitted = BehaviorFeatures(names, KEYS, WINDOWS).fit(log)
        again = BehaviorFeatures.restore(fitted.declaration(), fitted.log_)
        assert again.transform(asked).equals(fitted.transform(asked))
        return fitted.transform(asked).row(0, named=True)

    kept, dropped = features("keep"), features("drop")
    assert (kept["user__view__all"], dropped["user__view__all"]) == (3, 2)
    assert (kept["user__view_sum_price__all"], dropped["user__view_sum_price__all"]) == (3.5, 2.5)
    assert (kept["user__gap__view"], dropped["user__gap__view"]) == (0.0, 0.0)  # of one time either way


@pytest.mark.filterwarnings("ignore:event .* never occurs")
@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(event, min_size=1, max_size=15),
    again=st.lists(st.integers(0, 14), max_size=10),
    examples=st.lists(example, min_size=1, max_size=5),
)
def test_dropping_duplicates_is_as_if_each_row_were_there_once(rows, again, examples):
    log = pl.DataFrame(rows, schema=EVENT_SCHEMA).unique(maintain_order=True)
    repeated = log[[*range(log.height), *(i % log.height for i in again)]]
    asked = pl.DataFrame(examples, schema=EXAMPLE_SCHEMA)
    names = EventLog(user="user_id", item="item_id", event="event", timestamp="ts", values=["price"], duplicates="drop")
    declared = BehaviorFeatures(names, KEYS, WINDOWS, EVENTS, {"cvr": ("buy", "view")})
    dropped = declared.fit(repeated).transform(asked)
    assert dropped.equals(behavior(distinct=()).fit(log).transform(asked))


def test_another_word_for_duplicates_is_refused():
    with pytest.raises(DeclarationError, match=r'EventLog\(duplicates=\'first\'\) must be "keep" or "drop"'):
        EventLog(timestamp="ts", duplicates="first")


@pytest.mark.parametrize("zoned", [True, False])
def test_times_with_and_without_a_zone_are_never_compared(zoned):
    naive = small_log()
    aware = naive.with_columns(pl.col("ts").dt.replace_time_zone("UTC"))
    good, bad = (aware, naive) if zoned else (naive, aware)
    fitted = behavior().fit(good)
    live = fitted.live()
    words = "have none and those of the fitted events have a time zone"
    if not zoned:
        words = "have a time zone and those of the fitted events have none"
    with pytest.raises(TimestampError, match=f"timestamps of examples {words}; give both a zone"):
        fitted.transform(bad)
    with pytest.raises(TimestampError, match=f"timestamps of events {words}"):
        fitted.transform(good, events=bad)
    with pytest.raises(TimestampError, match=f"timestamps of events {words}"):
        live.observe(bad)
    with pytest.raises(TimestampError, match=f"timestamps of now {words}"):
        live.features(good.drop("ts"), now=bad["ts"][0])
    restored = BehaviorFeatures.restore(fitted.declaration(), fitted.log_)
    with pytest.raises(TimestampError, match=f"timestamps of examples {words}"):
        restored.transform(bad)


def test_priors_recover_the_distribution_that_rates_came_from():
    rng = np.random.default_rng(0)
    trials = rng.integers(1, 60, 20_000)
    successes = rng.binomial(trials, rng.beta(2.0, 18.0, len(trials)))
    prior = BetaPrior.fit(successes, trials)
    assert prior.mean == pytest.approx(0.1, rel=0.03)
    assert prior.strength == pytest.approx(20, rel=0.1)
    assert prior.alpha + prior.beta == pytest.approx(prior.strength)


def test_keys_alike_get_a_strong_prior_and_no_trials_a_flat_one():
    rng = np.random.default_rng(0)
    trials = np.full(5_000, 40)
    assert BetaPrior.fit(rng.binomial(trials, 0.3), trials).strength > 1_000
    assert BetaPrior.fit(np.array([3]), np.array([0])) == BetaPrior(0.5, 2.0)


def test_scikit_learn_clones_and_refits():
    fitted = behavior().fit(small_log())
    again = clone(fitted)
    assert not hasattr(again, "log_")
    assert again.get_params()["log"] == LOG
    zoned = small_log().with_columns(pl.col("ts").dt.replace_time_zone("UTC"))
    assert fitted.fit(zoned).transform(zoned).height == 3


def test_restored_features_are_the_same():
    fitted = behavior().fit(small_log())
    restored = BehaviorFeatures.restore(fitted.declaration(), fitted.log_)
    assert restored.transform(small_log()).equals(fitted.transform(small_log()))


@pytest.mark.parametrize(
    ("events", "error", "message"),
    [
        (
            small_log().rename({"user_id": "userid"}),
            ColumnError,
            r"events has no column 'user_id'; did you mean 'userid'\?",
        ),
        (small_log()[:0], EmptyFrameError, "events is empty"),
        (small_log(ts=["2026-03-01"] * 3), TimestampError, r"'ts' of events must be a datetime, not String; parse"),
        (small_log(ts=[1, 2, 3]), TimestampError, "pl.from_epoch"),
        (small_log(ts=[START, None, START]), TimestampError, "1 nulls in 3 rows"),
        (
            small_log(price=[1.0, float("nan"), float("inf")]),
            ColumnError,
            "'price' of events has 2 NaN or infinite values",
        ),
        (small_log(price=["1", "2", "3"]), ColumnError, "'price' of events must be numeric, not String"),
        (
            small_log(user_id=[0.5, 1.0, 2.0]),
            ColumnError,
            "key column 'user_id' of events must hold strings or integers",
        ),
        (small_log().lazy(), ColumnError, "collect"),
        ([1, 2], ColumnError, "must be a Polars, pandas or Arrow table, not list"),
    ],
)
def test_a_bad_log_is_refused(events, error, message):
    with pytest.raises(error, match=message):
        behavior().fit(events)


def test_duplicate_columns_are_refused():
    doubled = pd.DataFrame([["a", "b"]], columns=["user_id", "user_id"])
    with pytest.raises(ColumnError, match="more than one column named 'user_id'"):
        behavior().fit(doubled)


@pytest.mark.parametrize(
    ("examples", "error", "message"),
    [
        (small_log().drop("item_id"), ColumnError, "examples has no column 'item_id'"),
        (small_log()[:0], EmptyFrameError, "examples is empty"),
        (
            small_log().with_columns(pl.col("ts").dt.replace_time_zone("UTC")),
            TimestampError,
            "examples have a time zone",
        ),
        (small_log(user_id=[1, 2, 3]), ColumnError, "'user_id' is Int64 in examples and String in events"),
    ],
)
def test_bad_examples_are_refused(examples, error, message):
    with pytest.raises(error, match=message):
        behavior().fit(small_log()).transform(examples)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": ["query"]}, "key part 'query' is not in the log"),
        ({"keys": "user"}, "keys must be a list"),
        ({"keys": ["user", "user"]}, "'user' is declared twice"),
        ({"keys": [("user", "user")]}, "different parts"),
        ({"windows": ["7 days"]}, "window '7 days'"),
        ({"windows": ["1d", "1d"]}, "different windows"),
        ({"rates": {"cvr": ("by", "view")}}, r"event 'by', which is not declared; did you mean 'buy'\?"),
    ],
)
def test_a_declaration_that_means_nothing_is_refused(options, message):
    with pytest.raises(DeclarationError, match=message):
        behavior(**options).fit(small_log())


def test_an_event_that_never_occurs_is_warned_of():
    with pytest.warns(UserWarning, match=r"event 'byu' never occurs in the log; did you mean 'buy'\?"):
        behavior(events=["view", "byu"], rates=None).fit(small_log())


def test_a_log_that_begins_after_every_example_is_warned_of():
    fitted = behavior().fit(small_log())
    with pytest.warns(UserWarning, match=r"the log begins at 2026-03-01 00:00:00, after every example"):
        fitted.transform(small_log(ts=[START] * 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted.transform(small_log())
        fitted.live().features(small_log().drop("ts"), now=START - timedelta(days=1))


def test_keys_of_many_parts_are_told_apart_whatever_the_product_of_their_sizes():
    rng = np.random.default_rng(0)
    n = 3_000
    parts = [f"part_{i}" for i in range(6)]  # 3,000 distinct values each: the product is beyond 64 bits
    log = pl.DataFrame({name: rng.permutation(n) for name in parts}).with_columns(
        pl.Series("ts", [START + timedelta(seconds=i) for i in range(n)])
    )
    twice = pl.concat([log, log.with_columns(pl.col("ts") + pl.duration(days=1))])
    fitted = BehaviorFeatures(EventLog(timestamp="ts"), [tuple(parts)], ["all"]).fit(twice)
    later = log.with_columns(pl.col("ts") + pl.duration(days=2))
    counts = f"{'_x_'.join(parts)}__event__all"
    assert fitted.transform(twice)[counts].to_list() == [0] * n + [1] * n
    assert fitted.transform(later)[counts].to_list() == [2] * n
    mixed = later.with_columns(pl.col(parts[-1]).reverse())
    assert fitted.transform(mixed)[counts].sum() == 0
