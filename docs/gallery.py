"""Draws the pictures of the documentation from real logs: ``python docs/gallery.py [picture ...]`` writes them to docs/images."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
from markupsafe import Markup
from sklearn.metrics import roc_auc_score

from features import BackoffRates, BehaviorFeatures, EventLog, Rhythm, interest_migration
from hybrid.charts import WIDTH, Bar, Series, bar_chart, line_chart
from intentree.completejourney import HORIZON, purchase_task

IMAGES = Path(__file__).parent / "images"
CHARTS = Path(__file__).parent.parent / "hybrid" / "templates" / "page.css"
GAP, MARGIN = 48, 16


def interest_migration_picture() -> str:
    """Where households' interest turned week by week in 2017, and what moved in the week of Thanksgiving."""
    purchases = purchase_task().events
    log = EventLog(user="household_id", event="event", timestamp="timestamp")
    users = interest_migration(purchases, log, category="category").users.drop_nulls("gaining")
    by_week = users.group_by("period").agg(
        pl.len().alias("households"),
        *(
            (pl.col("gaining") == category).mean().alias(category)
            for category in ("candy packaged", "baking needs", "berries")
        ),
    )
    weeks = by_week.filter(pl.col("households") > 500).sort("period")
    numbers = ((weeks["period"] - datetime(2017, 1, 2)).dt.total_days() // 7 + 1).to_list()
    turned = line_chart(
        [Series(name, numbers, (100 * weeks[name]).to_list(), mark="line") for name in weeks.columns[2:]],
        title="Households whose interest turned most to ...",
        x_label="week of 2017",
        y_label="per cent of the households that bought",
        height=316,
    )
    thanksgiving = datetime(2017, 11, 20)
    moved = interest_migration(
        purchases, log, category="category", since=thanksgiving, until=thanksgiving + timedelta(days=7)
    ).matrix
    net = moved.group_by("to").agg(pl.col("net").sum()).sort("net", "to", descending=[True, False])
    bars = [Bar(name, value, text=f"{value:+.0f}") for name, value in [*net.head(4).rows(), *net.tail(2).rows()]]
    thanks = bar_chart(bars, title="Purchases moved in the week of Thanksgiving")
    return beside([turned, thanks])


def backoff_picture() -> str:
    """What smoothing and back-off say of pairs with few trials, and what the households then did."""
    task = purchase_task(households=150)
    shown = task.train.select("household_id", "product_type", "category", "timestamp", event=pl.lit("candidate"))
    bought = task.train.filter("bought").select(
        "household_id", "product_type", "category", pl.col("timestamp") + HORIZON, event=pl.lit("bought")
    )
    rate = {"rate": ("bought", "candidate")}
    pair = ("user", "item")
    chain = [pair, ("user", "category"), "user", "all"]
    declared = BehaviorFeatures(
        EventLog(user="household_id", item="product_type", event="event", timestamp="timestamp"),
        keys=[pair],
        windows=["all"],
        rates=rate,
        recency=False,
        gap=False,
        families=[BackoffRates(chain=chain)],
    )
    features = declared.fit(pl.concat([shown, bought])).transform(task.test)
    trials = features["user_x_item__candidate__all"]
    lines = pl.DataFrame(
        {
            "trials": trials.clip(0, 6),
            "bought": task.test["bought"].cast(pl.Float64),
            "smoothed alone": features["user_x_item__rate__all"],
            "with back-off": features["user_x_item__rate_backoff__all"],
        }
    )
    by_trials = lines.group_by("trials").agg(pl.all().mean()).sort("trials")
    marks = {"bought": "points", "smoothed alone": "line", "with back-off": "line"}
    level = line_chart(
        [
            Series(name, by_trials["trials"].to_list(), (100 * by_trials[name]).to_list(), mark=mark)
            for name, mark in marks.items()
        ],
        title="Bought within a week, of pairs ...",
        x_label="times a candidate before (6: or more)",
        y_label="per cent",
        height=316,
    )
    new = trials.to_numpy() == 0
    order = [
        Bar(name, roc_auc_score(lines["bought"].to_numpy()[new], lines[name].to_numpy()[new]))
        for name in ("smoothed alone", "with back-off")
    ]
    return beside([level, bar_chart(order, title="ROC AUC among pairs never seen")])


def rhythm_picture() -> str:
    """How likely a household buys a type again, by how due it is and by whether today is its day."""
    task = purchase_task(households=150)
    log = EventLog(user="household_id", item="product_type", event="event", timestamp="timestamp")
    families = [Rhythm(keys=[("user", "item"), "user"])]
    declared = BehaviorFeatures(
        log, keys=[("user", "item")], windows=["all"], recency=False, gap=False, families=families
    )
    features = declared.fit(task.events).transform(task.test)
    regular = features["user_x_item__purchase__all"] >= 5
    due = features["user_x_item__due__purchase"]
    binned = pl.DataFrame({"due": (due / 0.25).floor() * 0.25 + 0.125, "bought": task.test["bought"]}).filter(
        regular & (due < 4)
    )
    line = binned.group_by("due").agg(pl.col("bought").mean(), pl.len()).sort("due")
    bought = line_chart(
        [Series("bought", line["due"].to_list(), (100 * line["bought"]).to_list(), mark="line")],
        title="Bought again within a week",
        x_label="time since the last, in mean gaps (1: due)",
        y_label="per cent",
        height=316,
    )
    moments = task.events.filter(pl.col("household_id").is_in(task.test["household_id"].unique().implode()))
    visits = moments.unique(["household_id", "timestamp"], maintain_order=True)
    at_visit = declared.transform(visits)["user__purchase_weekday_share__all"]
    away = declared.transform(visits.with_columns(pl.col("timestamp") + timedelta(days=3)))
    bars = [
        Bar("on the day of a visit", float(at_visit.mean() or 0)),
        Bar("three days after", float(away["user__purchase_weekday_share__all"].mean() or 0)),
    ]
    return beside([bought, bar_chart(bars, title="Visits on that weekday (1: no habit)")])


def beside(charts: list[Markup]) -> str:
    """Charts side by side as one SVG file, with the report's colours, light or dark as the reader's system is."""
    rules = CHARTS.read_text("utf-8").split("\n")
    style = "\n".join(_colours(rules) + [rule for rule in rules if rule.startswith(("svg .", "svg text"))])
    heights = [float(chart.split('viewBox="0 0 ', 1)[1].split('"', 1)[0].split()[1]) for chart in charts]
    width, height = len(charts) * (WIDTH + GAP) - GAP + 2 * MARGIN, max(heights) + 2 * MARGIN
    placed = "".join(
        str(chart).replace(
            "<svg ", f'<svg x="{MARGIN + i * (WIDTH + GAP)}" y="{MARGIN}" width="{WIDTH}" height="{tall:g}" ', 1
        )
        for i, (chart, tall) in enumerate(zip(charts, heights, strict=True))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" width="{width}" height="{height:g}">'
        f"<style>{style}\nsvg {{ font: 12px system-ui, sans-serif; }}</style>"
        f'<rect width="100%" height="100%" fill="var(--paper)"/>{placed}</svg>\n'
    )


def _colours(rules: list[str]) -> list[str]:
    """The page's colours, which its style sheet sets before anything else."""
    end = next(i for i, rule in enumerate(rules) if rule.startswith(("body", "*", "html")))
    return rules[:end]


PICTURES = {
    "interest-migration": interest_migration_picture,
    "rates-with-back-off": backoff_picture,
    "rhythm": rhythm_picture,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or PICTURES:
        (IMAGES / f"{name}.svg").write_text(PICTURES[name](), "utf-8")
