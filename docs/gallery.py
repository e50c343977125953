"""Draws the pictures of the documentation from real logs: ``python docs/gallery.py [picture ...]`` writes them to docs/images."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
from markupsafe import Markup

from features import EventLog, interest_migration
from hybrid.charts import WIDTH, Bar, Series, bar_chart, line_chart
from intentree.completejourney import purchase_task

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


PICTURES = {"interest-migration": interest_migration_picture}

if __name__ == "__main__":
    for name in sys.argv[1:] or PICTURES:
        (IMAGES / f"{name}.svg").write_text(PICTURES[name](), "utf-8")
