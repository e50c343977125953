"""A real shop's log with everything that goes wrong: cancellations, missing customers, duplicates, zero and negative prices.

It is that of D. Chen, "Online Retail", UCI Machine Learning Repository (2015), before September 2011.
"""

from __future__ import annotations

import itertools
import statistics
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from features import BehaviorFeatures, EventLog, Rhythm, Sessions
from features.similar import Similar

LOG = EventLog(
    user="CustomerID",
    item="StockCode",
    session="InvoiceNo",
    event="event",
    timestamp="InvoiceDate",
    values=["Quantity", "UnitPrice"],
    duplicates="drop",
)
KEYS = ["user", "item", ("user", "item")]
COLUMNS = {"user": ["CustomerID"], "item": ["StockCode"], "user_x_item": ["CustomerID", "StockCode"]}
SECONDS = {"7d": 7 * 86400, "all": 1e12}
EVENTS = ["cancel", "purchase"]


@pytest.fixture(scope="module")
def lines(research_data):
    """The lines of the invoices with what each says that happened."""
    lines = pl.read_parquet(research_data / "retail_invoices.parquet").drop("row_id")  # which hides the duplicates
    kind = (
        pl.when(pl.col("InvoiceNo").str.starts_with("C"))
        .then(pl.lit("cancel"))
        .when((pl.col("Quantity") > 0) & (pl.col("UnitPrice") >= 0))
        .then(pl.lit("purchase"))
        .otherwise(pl.lit("stock correction"))  # broken goods and bad debts, which no customer did
    )
    return lines.with_columns(kind.alias("event"))


@pytest.fixture(scope="module")
def examples(lines):
    """Customers and items of lines, some of them without a customer, a while after; and a customer whom nobody knows."""
    sample = lines.sample(60, seed=5).select("CustomerID", "StockCode", "InvoiceNo", "InvoiceDate")
    cancelled = lines.filter(pl.col("event") == "cancel", pl.col("CustomerID").is_not_null()).sample(20, seed=5)
    late = pl.concat([sample, cancelled.select(sample.columns)]).with_columns(
        pl.col("InvoiceDate") + pl.duration(minutes=pl.int_range(pl.len()) % 3 * 20)
    )
    stranger = late[:1].with_columns(CustomerID=pl.lit(1, dtype=pl.Int32))
    return pl.concat([late, stranger])


@pytest.fixture(scope="module")
def fitted(lines):
    """Every family that needs no more than this log."""
    items = lines["StockCode"].unique().sort()
    vectors = np.random.default_rng(0).normal(size=(len(items), 4))
    families = [
        Rhythm(zone="Europe/London", merge_ties=True),
        Sessions(gap="30m"),
        Similar(part="item", vectors=pl.DataFrame({"item": items, "vector": vectors}), n_neighbors=5),
    ]
    return BehaviorFeatures(
        LOG,
        KEYS,
        list(SECONDS),
        EVENTS,
        {"return": ("cancel", "purchase")},
        distinct=["item", "user"],
        families=families,
    ).fit(lines)


@pytest.fixture(scope="module")
def got(fitted, examples):
    return fitted.transform(examples)


def brute_force(lines, example, priors):
    """The features of one example but the similar items, from what they say."""
    now, features = example["InvoiceDate"], {}
    for name, columns in COLUMNS.items():
        asked = [example[column] for column in columns]
        matches = [pl.col(column) == value for column, value in zip(columns, asked, strict=True) if value is not None]
        mine = lines.filter(None not in asked, *matches, pl.col("InvoiceDate") < now, pl.col("event").is_in(EVENTS))
        rows = mine.sort("InvoiceDate", maintain_order=True).to_dicts()
        for window, seconds in SECONDS.items():
            held = [r for r in rows if (now - r["InvoiceDate"]).total_seconds() <= seconds]
            of = {kind: [r for r in held if r["event"] == kind] for kind in EVENTS}
            for kind in EVENTS:
                features[f"{name}__{kind}__{window}"] = len(of[kind])
                for value in ("Quantity", "UnitPrice"):
                    features[f"{name}__{kind}_sum_{value}__{window}"] = sum(r[value] for r in of[kind])
            prior = priors[f"{name}__return"]
            features[f"{name}__return__{window}"] = (len(of["cancel"]) + prior.alpha) / (
                len(of["purchase"]) + prior.alpha + prior.beta
            )
            for target, column in (("item", "StockCode"), ("user", "CustomerID")):
                if column not in columns:
                    features[f"{name}__distinct_{target}__{window}"] = len({r[column] for r in held} - {None})
        for kind in EVENTS:
            of_kind = [r["InvoiceDate"] for r in rows if r["event"] == kind]
            gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(of_kind)]
            apart = [gap for gap in gaps if gap]
            since = (now - of_kind[-1]).total_seconds() if of_kind else None
            near = sum((t.hour - now.hour) % 24 in (23, 0, 1) for t in of_kind)
            day = sum(t.weekday() == now.weekday() for t in of_kind)
            features |= {
                f"{name}__since__{kind}": since,
                f"{name}__gap__{kind}": statistics.fmean(gaps) if gaps else None,
                f"{name}__gap_median__{kind}": statistics.median(apart[-10:]) if apart else None,
                f"{name}__gap_deviation__{kind}": statistics.stdev(apart[-10:]) if len(apart) > 1 else None,
                f"{name}__due__{kind}": since / statistics.fmean(apart) if apart else None,
                f"{name}__{kind}_hour_share__all": (near + 10 / 8) / (len(of_kind) + 10) * 8,
                f"{name}__{kind}_weekday_share__all": (day + 10 / 7) / (len(of_kind) + 10) * 7,
            }
        if name == "user":
            session, end = [], now
            while rows and end - rows[-1]["InvoiceDate"] <= timedelta(minutes=30):
                end = rows[-1]["InvoiceDate"]
                session.append(rows.pop())
            features |= {
                "user__session_events": len(session),
                **{f"user__session_{kind}": sum(r["event"] == kind for r in session) for kind in EVENTS},
                "user__session_position": 1 + len({r["InvoiceDate"] for r in session}),
                "user__session_length": (now - end).total_seconds() if session else None,
                "user__session_items": len({r["StockCode"] for r in session}),
            }
    return features


def test_the_log_is_as_dirty_as_it_is_said_to_be(lines):
    assert lines.height == 320_705
    assert lines.height - lines.n_unique() == 2_483
    assert lines["CustomerID"].null_count() == 88_652
    assert lines["InvoiceNo"].str.starts_with("C").sum() == 5_847
    assert ((lines["UnitPrice"] == 0).sum(), (lines["UnitPrice"] < 0).sum()) == (1_797, 2)


def test_features_equal_a_walk_over_the_lines(lines, examples, fitted, got):
    once = lines.unique(maintain_order=True)
    similar = [column.name for column in fitted.columns() if column.family == "similar"]
    for i, example in enumerate(examples.to_dicts()):
        truth = brute_force(once, example, fitted.priors_)
        assert {*truth, *similar} == set(got.columns)
        for name, value in truth.items():
            assert got[name][i] == (value if value is None else pytest.approx(value, rel=1e-9, abs=1e-9)), (i, name)
    assert got["user__session_events"].max() > 1  # the sample holds what it is to test
    assert got["user__cancel__all"].max() > 1


def test_missing_customers_are_nobody_and_never_each_other(examples, got):
    nobody = got.filter(examples["CustomerID"].is_null())
    assert nobody.height >= 10
    for name in ("user__purchase__all", "user_x_item__cancel__all", "user__session_events"):
        assert nobody[name].to_list() == [0] * nobody.height
    assert nobody["user__since__purchase"].null_count() == nobody.height
    assert nobody["item__purchase__all"].min() > 0  # what they bought is still known to have been bought
    stranger = got[-1]
    assert (stranger["user__purchase__all"][0], stranger["user__since__purchase"][0]) == (0, None)


def test_whatever_the_log_holds_features_are_finite(lines, fitted):
    everything = fitted.transform(lines.sample(30_000, seed=1))
    for column in everything.select(pl.selectors.float()):
        assert column.drop_nulls().is_finite().all(), column.name
    assert everything.select(pl.selectors.integer()).null_count().sum_horizontal()[0] == 0
    assert everything["user__purchase_sum_Quantity__all"].min() >= 0
    assert everything["user__cancel_sum_Quantity__all"].max() <= 0


def test_duplicated_lines_count_once_where_that_is_declared(lines, examples, fitted):
    kept = BehaviorFeatures(
        EventLog(user="CustomerID", item="StockCode", event="event", timestamp="InvoiceDate"), ["user"], ["all"], EVENTS
    )
    end = pl.DataFrame({"CustomerID": lines["CustomerID"].drop_nulls().unique().sort()}).with_columns(
        InvoiceDate=lines["InvoiceDate"].max() + timedelta(minutes=1)
    )
    twice = kept.fit(lines).transform(end)["user__purchase__all"].sum()
    once = kept.fit(lines.unique()).transform(end)["user__purchase__all"].sum()
    purchases = lines.filter(pl.col("event") == "purchase", pl.col("CustomerID").is_not_null())
    assert (twice, once) == (purchases.height, purchases.n_unique())
    dropped = fitted.history_.log.filter(pl.col("CustomerID").is_not_null(), pl.col("__event") == "purchase").height
    assert dropped == once


def test_the_live_twin_takes_the_last_day_of_it(lines, fitted):
    cut = lines["InvoiceDate"].max().replace(hour=0, minute=0)
    start = BehaviorFeatures(LOG, KEYS, ["7d", "all"], EVENTS, families=[Rhythm(), Sessions()])
    live = start.fit(lines.filter(pl.col("InvoiceDate") < cut)).live()
    last_day = lines.filter(pl.col("InvoiceDate") >= cut)
    live.observe(last_day)
    candidates = last_day.select("CustomerID", "StockCode")[:50]
    now = cut + timedelta(hours=15)
    batch = start.fit(lines).transform(candidates.with_columns(InvoiceDate=pl.lit(now)))
    assert live.features(candidates, now=now).equals(batch)
