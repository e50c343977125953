"""The leak audit: planted leaks are found where they are, clean features pass."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import EVENT_SCHEMA, EVENTS, EXAMPLE_SCHEMA, START, event, example
from polars.testing import assert_frame_equal

from features import AuditReport, BehaviorFeatures, ColumnError, DeclarationError, EventLog, Family, Similar
from features import audit as full_audit
from features.leaks.finding import SCHEMA

pytestmark = pytest.mark.filterwarnings("ignore:event .* never occurs")

LOG = EventLog(user="user_id", item="item_id", event="event", timestamp="ts", values=["price"])
DAY = 86_400


def moments(seconds: np.ndarray) -> list[datetime]:
    return [START + timedelta(seconds=int(s)) for s in seconds]


def shop(seed: int = 0, n: int = 600) -> tuple[pl.DataFrame, pl.DataFrame, np.ndarray]:
    """Events, examples and labels: a third of the examples lie at the very second of an event of their user; labels follow views."""
    rng = np.random.default_rng(seed)
    events = pl.DataFrame({
        "user_id": rng.integers(0, 30, 3_000), "item_id": rng.integers(0, 10, 3_000), "event": rng.choice(EVENTS, 3_000),
        "ts": moments(rng.integers(0, 40 * DAY, 3_000)), "price": rng.random(3_000),
    })  # fmt: skip
    free = pl.DataFrame({
        "user_id": rng.integers(0, 30, n), "item_id": rng.integers(0, 10, n),
        "ts": moments(rng.integers(10 * DAY, 40 * DAY, n)),
    })  # fmt: skip
    late = events.filter(pl.col("ts") > START + timedelta(days=10))
    tied = late.sample(n // 3, seed=seed).select("user_id", "item_id", "ts")
    examples = pl.concat([free[n // 3 :], tied])
    y = rng.random(n) < 0.3
    return events, examples.with_columns(bought=pl.Series(y)), y


def behavior(**options) -> BehaviorFeatures:
    declared = {
        "keys": ["user", "item", ("user", "item")], "windows": ["1d", "7d", "all"], "events": EVENTS,
        "rates": {"cvr": ("buy", "view")}, "distinct": ["item"],
    }  # fmt: skip
    return BehaviorFeatures(LOG, **{**declared, **options})


class Counting:
    """A user's own transformer: events of the example's user for which a condition on the two times holds."""

    def __init__(self, counted: pl.Expr) -> None:
        self.counted = counted

    def transform(self, examples: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
        asked = examples.select("user_id", pl.col("ts").alias("t")).with_row_index("row")
        pairs = asked.join(events.select("user_id", pl.col("ts").alias("s")), on="user_id").filter(self.counted)
        counts = np.bincount(pairs["row"].to_numpy(), minlength=examples.height)
        return pl.DataFrame({"n": counts, "week": pl.Series(np.zeros(examples.height))})


S, T = pl.col("s"), pl.col("t")
WEEK = pl.duration(days=7)


def audit(*given, **options) -> AuditReport:
    """An audit that recomputes fewer rows than the default, which is enough for leaks that are everywhere."""
    return full_audit(*given, **{"sample": 30, **options})


def evidence(report: AuditReport) -> set[tuple[str, str | None]]:
    return set(report.findings.filter(severity="evidence").select("check", "column").iter_rows())


@pytest.mark.parametrize("seed", range(2))
def test_clean_features_pass(seed):
    events, examples, y = shop(seed)
    report = full_audit(behavior(), events, examples, y, tick="1s", sample=100)
    assert report.passed, str(report)
    told = report.findings.select("check", "severity").unique().rows()
    assert set(told) <= {("availability", "warning")}  # the log grows, so that features are less often null later on
    assert report.columns["recomputed"].min() == 100
    assert report.columns["differ"].sum() == 0


@pytest.mark.parametrize("counted", [T > S, (T > S) & (T - WEEK <= S), (T > S) & (T - WEEK < S)])
def test_a_clean_transformer_passes(counted):
    events, examples, y = shop()
    coarse = [frame.with_columns(pl.col("ts").dt.truncate("1h")) for frame in (events, examples)]
    for log, asked in ((events, examples), coarse):
        report = audit(
            Counting(counted), log, asked, y, timestamp="ts", tick="1s", identity=["user_id", "item_id", "ts"]
        )
        assert {check for check, _ in evidence(report)} <= {"duplicates"}, str(report)


@pytest.mark.parametrize(
    ("counted", "checks"),
    [
        (T >= S, {"recomputation", "shift"}),
        (pl.lit(True), {"recomputation"}),
        ((T < S) & (T + WEEK > S), {"recomputation", "shift"}),
    ],
    ids=["the example's own time", "the whole log", "the week after"],
)
def test_a_planted_leak_of_the_log_is_found(counted, checks):
    events, examples, y = shop()
    report = audit(Counting(counted), events, examples, y, timestamp="ts")
    assert not report.passed
    assert evidence(report) == {(check, "n") for check in checks}
    (row,) = report.findings.filter(check="recomputation").iter_rows(named=True)
    assert f"{row['rows']} of " in row["explanation"]
    assert "user_id=" in row["explanation"]
    assert row["value"] != row["reference"]


def test_the_shift_finds_ties_that_a_sample_misses():
    events, examples, _ = shop()
    events = events.with_columns(pl.col("ts") + pl.duration(microseconds=1))  # no event at any example's time
    tie = events[:1].with_columns(user_id=examples["user_id"][7], ts=examples["ts"][7])
    report = audit(
        Counting(T >= S),
        pl.concat([events, tie], how="vertical_relaxed"),
        examples,
        timestamp="ts",
        sample=1,
        random_state=1,
    )
    assert ("shift", "n") in evidence(report)
    assert "row 7 " in report.findings.filter(check="shift")["explanation"][0]


class OwnOutcome:
    """A smoothed rate of the user's examples, the row's own among them."""

    def transform(self, examples: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
        own = pl.col("bought").cast(pl.Float64)
        return examples.select(
            rate=(own.cum_sum() + 1) / (own.cum_count() + 10), user=pl.col("user_id").cast(pl.Float64)
        )


def test_a_rate_smoothed_by_the_rows_own_outcome_is_found():
    events, examples, y = shop()
    report = audit(OwnOutcome(), events, examples, y, timestamp="ts")
    assert ("label", "rate") in evidence(report)
    assert ("label", "user") not in evidence(report)
    assert "'bought'" in report.findings.filter(check="label")["explanation"][0]


class Leaky(Family):
    """``{key}__ever``: events of the key in the whole log."""

    name = "leaky"

    def columns(self, key):
        return [f"{'_x_'.join(key)}__ever"]

    def compute(self, key, batch):
        standing = batch.standing(key)
        sizes = np.bincount(standing.timeline.codes, minlength=1)
        yield standing.give(np.where(standing.codes >= 0, sizes[np.maximum(standing.codes, 0)], 0).astype(np.int32))


def test_a_family_that_leaks_is_found_beside_those_that_do_not():
    events, examples, y = shop()
    report = audit(behavior(families=[Leaky(keys=["user"])]), events, examples, y)
    assert evidence(report) == {("recomputation", "user__ever")}


class LaterCounts(Leaky):
    """A count for all time that counts what comes at the example's time and after it."""

    name = "count"

    def columns(self, key):
        return [f"{'_x_'.join(key)}__later__all"]

    def compute(self, key, batch):
        standing = batch.standing(key)
        ever = next(super().compute(key, batch))
        yield ever - standing.give(
            standing.count("view", batch._windows[-1]) + standing.count("buy", batch._windows[-1])
        )


def test_a_count_that_rises_is_found():
    events, examples, _ = shop()
    report = audit(behavior(families=[LaterCounts(keys=["user"])]), events, examples, tick="1h")
    (row,) = report.findings.filter(check="shift", severity="evidence").iter_rows(named=True)
    assert row["column"] == "user__later__all"
    assert "rises when they come 3600 s later" in row["explanation"]


def test_a_signal_within_a_tick_of_the_example_is_warned_of_and_no_evidence():
    events, examples, y = shop()
    just_before = examples.filter(y).select(
        "user_id", "item_id", pl.lit("view").alias("event"), pl.col("ts") - pl.duration(seconds=1)
    )
    log = pl.concat([events.drop("price"), just_before])
    user = BehaviorFeatures(EventLog(user="user_id", event="event", timestamp="ts"), ["user"], ["1h"])
    report = audit(user, log, examples, y, tick="1s", auc_threshold=1.1)
    assert report.passed
    warned = report.findings.filter(check="shift", severity="warning")
    assert "user__view__1h" in warned["column"].to_list()
    assert "all events come 1 s later" in warned["explanation"][0]
    assert (warned["value"] < warned["reference"]).all()


@pytest.mark.parametrize("classes", [2, 4])
def test_a_column_made_from_the_label_is_found(classes):
    events, examples, _ = shop()
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, examples.height)
    made = pl.DataFrame(
        {
            "copy": (y == 1) + 0.2 * rng.random(len(y)),
            "noise": rng.random(len(y)),
            "absent": pl.Series([None if one else 1.0 for one in y == 1]),
        }
    )
    report = audit(behavior(), events, examples, y, columns=made.to_pandas() if classes == 4 else made)
    assert evidence(report) == {("strength", "copy"), ("strength", "absent")}
    assert report.columns.filter(column="copy")["auc"][0] == 1
    assert report.columns.filter(column="noise")["auc"][0] == pytest.approx(0.5, abs=0.1)


def test_strength_is_the_auc_of_scikit_learn():
    from sklearn.metrics import roc_auc_score

    events, examples, y = shop()
    report = audit(behavior(), events, examples, pl.Series(y))
    values = behavior().fit(events).transform(examples)
    for name in ("user__view__7d", "item__buy_sum_price__all"):
        auc = roc_auc_score(y, values[name])
        assert report.columns.filter(column=name)["auc"][0] == pytest.approx(max(auc, 1 - auc))


def test_labels_and_folds_may_be_words():
    events, examples, y = shop()
    words = np.where(y, "yes", "no")
    by_words = audit(behavior(), events, examples, pd.Series(words), folds=pd.Series(["a"] * len(y)))
    assert by_words.columns["auc"].equals(audit(behavior(), events, examples, y).columns["auc"])
    assert by_words.passed


def test_columns_that_vanish_in_the_test_rows_are_found():
    events, examples, y = shop()
    test = examples["ts"] >= START + timedelta(days=30)
    rng = np.random.default_rng(0)
    filled = pl.Series(rng.random(len(y)))
    made = pl.DataFrame({
        "gone": filled.set(test, None), "rarer": filled.set(test & (pl.Series(rng.random(len(y))) < 0.7), 0.0),
        "fixed": filled.set(test, 0.25), "there": filled,
    })  # fmt: skip
    by_time = audit(behavior(), events, examples, y, columns=made, split=START + timedelta(days=30))
    assert evidence(by_time) == {("availability", "gone"), ("availability", "fixed")}
    warned = by_time.findings.filter(severity="warning", check="availability")["column"].to_list()
    assert set(warned) & set(made.columns) == {"rarer"}
    assert by_time.columns.filter(column="gone").select("null_train", "null_test").row(0) == (0, 1)
    by_mask = audit(behavior(), events, examples, y, columns=made, split=test)
    assert_frame_equal(by_time.findings, by_mask.findings)


def test_a_log_that_ends_before_the_test_rows_is_found():
    events, examples, y = shop()
    stale = events.filter(pl.col("ts") < START + timedelta(days=20))
    report = audit(behavior(), stale, examples, y, split=START + timedelta(days=21, seconds=1))
    assert ("availability", "user__view__1d") in evidence(report)


def test_duplicates_across_folds_are_found():
    events, examples, y = shop()
    twice = pl.concat([examples, examples[:5], examples[5:6].with_columns(user_id=None)])
    folds = ["a"] * 300 + ["b"] * 300 + ["b"] * 4 + ["a", "b"]
    labels = np.concatenate([y, y[:6]])
    report = audit(behavior(), events, twice, labels, folds=folds)
    (row,) = report.findings.filter(check="duplicates").iter_rows(named=True)
    assert (row["severity"], row["rows"], row["value"]) == ("evidence", 8, 4.0)
    assert "rows 0, 600 in folds a, b" in row["explanation"]
    assert audit(behavior(), events, twice.with_row_index(), labels, folds=folds, identity=["index"]).passed
    assert audit(behavior(), events, twice, labels, folds=["a"] * 606).passed


def test_a_log_that_does_not_reach_the_examples_is_noted():
    events, examples, _ = shop()
    after = audit(behavior(), events.with_columns(pl.col("ts") + pl.duration(days=99)), examples)
    assert "the log begins at 2026-06-08" in after.findings.filter(check="coverage")["explanation"][0]
    before = audit(behavior(), events.with_columns(pl.col("ts") - pl.duration(days=99)), examples)
    assert "ends at" in before.findings.filter(check="coverage")["explanation"][0]
    assert after.passed
    assert before.passed


def test_a_lag_is_kept():
    events, examples, _ = shop()
    assert audit(behavior(lag="1h"), events, examples, tick="1s").passed


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(event, min_size=1, max_size=25), examples=st.lists(example, min_size=1, max_size=8))
def test_any_log_passes(rows, examples):
    vectors = pl.DataFrame({"id": ["a", "b", "c"], "vector": [[1.0, 0.1], [0.8, 0.6], [0.6, 0.8]]})
    similar = Similar(part="user", vectors=vectors, n_neighbors=1, keys=["user"])
    log, asked = pl.DataFrame(rows, schema=EVENT_SCHEMA), pl.DataFrame(examples, schema=EXAMPLE_SCHEMA)
    report = audit(behavior(families=[similar]), log, asked, folds=[0] * len(examples), tick="1h")
    assert report.passed, str(report)


def test_the_same_seed_gives_the_same_report_and_a_fitted_one_keeps_its_priors():
    events, examples, y = shop()
    fitted = behavior().fit(events[:1_000])
    reports = [audit(fitted, events, examples, y, sample=20, random_state=3) for _ in range(2)]
    assert_frame_equal(reports[0].columns, reports[1].columns)
    assert_frame_equal(reports[0].findings, reports[1].findings)
    own = audit(fitted, None, examples, y)
    assert own.passed


def test_a_report_reads_as_a_table_and_as_text():
    events, examples, y = shop()
    report = audit(Counting(T >= S), events, examples, y, timestamp="ts")
    assert dict(report.findings.schema) == SCHEMA
    assert report.findings["severity"].to_list() == sorted(report.findings["severity"].to_list())
    assert str(report).startswith(
        "audit of 2 columns failed: 2 evidence, 0 warning, 0 note\n[evidence] recomputation: n: "
    )


class AsPandas:
    def transform(self, examples, events):
        assert type(examples).__name__ == type(events).__name__ == "DataFrame"
        return (
            examples[["user_id"]].assign(n=[(events["ts"] <= t).sum() for t in examples["ts"]]).drop(columns="user_id")
        )


def test_a_transformer_is_asked_with_frames_of_its_own_kind():
    events, examples, _ = shop(n=90)
    assert not audit(AsPandas(), events.to_pandas(), examples.to_pandas(), timestamp="ts", sample=20).passed


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"y": [True]}, ColumnError, "y has 1 rows and examples 600"),
        ({"y": [None, *[True] * 599]}, ColumnError, "y has 1 missing values in 600 rows"),
        ({"split": "2026-01-01"}, ColumnError, "split='2026-01-01' must have a value for each example; or give a datetime"),
        ({"split": [1] * 600}, ColumnError, "split must be a time or true and false"),
        ({"split": datetime.fromisoformat("2026-03-20T00:00:00+00:00")}, DeclarationError, "must both have a time zone"),
        ({"folds": [1, 2]}, ColumnError, "folds has 2 rows and examples 600"),
        ({"identity": ["user"]}, ColumnError, "examples has no column 'user'; did you mean 'user_id'"),
        ({"columns": pl.DataFrame({"a": [1]})}, ColumnError, "columns has 1 rows and examples 600"),
        ({"columns": pl.DataFrame({"a": ["x"] * 600})}, ColumnError, "column 'a' of columns must be numeric, not String"),
        ({"columns": pl.DataFrame({"user__view__1d": [1] * 600})}, ColumnError, "'user__view__1d' of columns has the name"),
        ({"sample": 0}, DeclarationError, "sample=0 must be at least 1"),
        ({"tick": "all"}, DeclarationError, "tick='all' must be a length"),
        ({"behavior": "counts"}, DeclarationError, "must be a BehaviorFeatures or have transform"),
        ({"behavior": Counting(T > S)}, DeclarationError, "timestamp= the column of their time"),
        ({"events": None}, DeclarationError, "behavior is not fitted"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(options, error, message):
    events, examples, _ = shop()
    given = {"behavior": behavior(), "events": events, "examples": examples, **options}
    with pytest.raises(error, match=message):
        audit(**given)


def test_a_label_that_is_no_class_is_refused():
    events, examples, _ = shop(n=1_200)
    with pytest.raises(ColumnError, match="y has 1,200 different values; the audit needs classes"):
        audit(behavior(), events, examples, np.arange(1_200) / 7)
