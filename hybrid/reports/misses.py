"""The worst misses, and what they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from scipy.stats import binom

from hybrid.languages import gloss, say
from hybrid.metrics import row_losses
from hybrid.numerals import count, number, percent
from hybrid.pages import Block, Cell, Table
from hybrid.reports.inference import holm
from hybrid.reports.slices import ScoredRows, categories_of, part_name

if TYPE_CHECKING:
    from hybrid.reports.report import ImportanceReport

WORST = 100
LONGEST_TEXT = 200
_SHOWN, _SHARED_SHOWN = 20, 10
TEXT, SLICE = "text: ", "slice: "
"""What the names of an example's texts and slices begin with."""

MISSES = {
    "slice": pl.String,
    "part": pl.String,
    "misses": pl.Int64,
    **dict.fromkeys(("share", "share_of_rows", "p", "p_adjusted"), pl.Float64),
}


def worst_rows(scored: ScoredRows) -> np.ndarray:
    """Positions of the hundred rows of the highest log loss, the worst first."""
    losses = -row_losses(scored.y, scored.proba)
    worst = np.arange(len(losses)) if len(losses) <= WORST else np.sort(np.argpartition(losses, WORST)[:WORST])
    return worst[np.argsort(losses[worst], kind="stable")]


def example_table(
    scored: ScoredRows,
    worst: np.ndarray,
    classes: Sequence[Any],
    shown: Sequence[pl.Series],
    slices: Sequence[pl.Series],
) -> pl.DataFrame:
    """The worst misses, without any id: see ``ImportanceReport.examples``."""
    names = np.array([str(label) for label in classes], dtype=object)
    y, proba = scored.y[worst], scored.proba[worst]
    frame = pl.DataFrame(
        {
            "loss": row_losses(y, proba),
            "label": names[y].tolist(),
            "predicted": names[proba.argmax(axis=1)].tolist(),
            "probability": proba[np.arange(len(y)), y].astype(np.float64),
        }
    )
    texts = [
        column.gather(worst).cast(pl.String).str.head(LONGEST_TEXT).alias(f"{TEXT}{column.name}") for column in shown
    ]
    parts = [column.gather(worst).cast(pl.String).alias(f"{SLICE}{column.name}") for column in slices]
    return frame.with_columns(*texts, *parts)


def shared_table(worst: np.ndarray, slices: Sequence[pl.Series]) -> pl.DataFrame:
    """Parts of slices that are more frequent among the worst misses than among all rows: see ``ImportanceReport.misses``."""
    rows = []
    for column in slices:
        codes, parts = column.to_physical().to_numpy(), categories_of(column)
        counts, among = (np.bincount(held, minlength=len(parts)) for held in (codes, codes[worst]))
        for part, n, misses in zip(parts, counts.tolist(), among.tolist(), strict=True):
            share = n / len(codes)
            if 0 < share < 1:
                p = float(binom.sf(misses - 1, len(worst), share))
                rows.append((column.name, part, misses, misses / len(worst), share, p, 0.0))
    frame = pl.DataFrame(rows, schema=MISSES, orient="row")
    corrected = frame.with_columns(p_adjusted=pl.Series(holm(frame["p"].to_numpy()), dtype=pl.Float64))
    more = corrected.filter(pl.col("share") > pl.col("share_of_rows"))
    return more.sort("p", "share", descending=[False, True], maintain_order=True)


def misses_blocks(report: ImportanceReport) -> list[Block]:
    """What the worst misses share, and the first of them."""
    blocks: list[Block] = []
    n = report.examples.height
    if report.misses.height:
        rows: list[list[str | Cell]] = [
            [
                say("{slice}: {part}", slice=gloss(row["slice"]), part=part_name(row["slice"], row["part"])),
                count(row["misses"]),
                Cell(percent(row["share"]), share=row["share"]),
                percent(row["share_of_rows"]),
                Cell(number(row["p_adjusted"], decimals=3), tone="bad" if row["p_adjusted"] < 0.05 else "muted"),
            ]
            for row in report.misses.head(_SHARED_SHOWN).iter_rows(named=True)
        ]
        caption = say(
            "What the {n} worst misses share: parts of slices that hold more of them than of all rows. p: how often as many would fall "
            "there by chance, corrected for the number of parts.",
            n=count(n),
        )
        header = [say("part"), say("misses"), say("share of misses"), say("share of rows"), "p"]
        blocks.append(Table(caption, header, rows))
    more = [name for name in report.examples.columns if name.startswith((TEXT, SLICE))]
    cells: list[list[str | Cell]] = [
        [
            row["label"],
            row["predicted"],
            percent(row["probability"], decimals=1),
            *(_shown(name, row[name]) if row[name] else Cell("–", tone="muted") for name in more),
        ]
        for row in report.examples.head(_SHOWN).iter_rows(named=True)
    ]
    caption = say(
        "The {n} worst of these misses; the others are in the report’s frame. Ids are never shown, texts only of columns that are "
        "declared showable.",
        n=min(n, _SHOWN),
    )
    header = [say("truth"), say("predicted"), say("probability of the truth")]
    header += [gloss(name.split(": ", 1)[1]) for name in more]
    words = (0, 1, *range(3, len(header)))
    return [*blocks, Table(caption, header, cells, words=words)]


def _shown(name: str, value: str) -> str:
    """A text as it is, the part of a slice as its name."""
    return part_name(name.removeprefix(SLICE), value) if name.startswith(SLICE) else value
