"""What to distrust in an importance report: where its three questions disagree, thin evidence, probabilities that are off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from hybrid.numerals import count, listed, number, percent
from hybrid.reports.trust import MOVED_FAR
from hybrid.reports.verdicts import FEW_UNITS, VERDICTS, Verdict, group_findings, refits_learned

if TYPE_CHECKING:
    from hybrid.reports.report import ImportanceReport

FEW_ROWS = 100
LOUD = 0.1
NOTICED = 0.05
ALIKE = 0.8
"""Rank correlation from which two columns say nearly the same."""
OPPOSED = 0.5
"""A group's SHAP below this share of the sum of its columns' means that they cancel."""

Caution = tuple[str, str]
"""What was seen, and what it means."""


def cautions(report: ImportanceReport) -> list[Caution]:
    """All that applies to this report, the disagreements first."""
    return [
        *_leaks(report),
        *_disagreements(report),
        *_drifted(report),
        *_thin(report),
        *_miscalibrated(report),
        *_refits(report),
    ]


def _leaks(report: ImportanceReport) -> list[Caution]:
    suspicious = [f"“{name}”" for name in report.strength.filter("suspicious")["column"].head(5)]
    if not suspicious:
        return []
    meaning = "So strong a column was often made from the label, or after it: check when its value is known before believing a number here."
    return [(f"{listed(suspicious)}: almost decides the label alone.", meaning)]


def _drifted(report: ImportanceReport) -> list[Caution]:
    moved = report.drift.join(report.columns.select("column", "shap"), on="column", maintain_order="left")
    total = max(float(report.columns["shap"].sum()), 1e-300)
    carrying = moved.filter((pl.col("psi") >= MOVED_FAR) & (pl.col("shap") >= 0.01 * total)).sort(
        "shap", descending=True
    )
    if carrying.is_empty():
        return []
    names = [f"“{name}” (PSI {number(psi, decimals=2)})" for name, psi in carrying["column", "psi"].head(3).iter_rows()]
    more = f" and {carrying.height - 3} more" if carrying.height > 3 else ""
    meaning = "The model leans on values that lie otherwise than in its training rows. Train again if these rows are the new normal."
    return [(f"Moved since training: {listed(names)}{more}.", meaning)]


def _disagreements(report: ImportanceReport) -> list[Caution]:
    groups = group_findings(report)

    def named(verdict: Verdict, least_share: float = 0.0) -> str:
        names = [f"“{g.name}”" for g in groups if g.verdict == verdict and g.share >= least_share]
        return listed(names) if names else ""

    remarks = [
        (
            named("stand-in"),
            "shuffling hurts, leaving out does not.",
            "The model leans on this evidence, but other groups say the same in other words; shuffling overstates what would be lost. "
            "Groups that replace each other must not be dropped together: drop one, then look again.",
        ),
        (
            named("nothing", LOUD),
            "scores move, but not for the better.",
            "SHAP says what the model does, not whether it is right to: it may have learned chance from its training data.",
        ),
        (
            named("harmful"),
            "models without it are better.",
            "They were trained on fewer rows than this one, and fewer rows are more easily misled. Train without it before dropping it.",
        ),
        (named("misused"), "this model does not gain from what others gain from.", VERDICTS["misused"][1]),
    ]
    return (
        [(f"{names}: {lead}", meaning) for names, lead, meaning in remarks if names] + _alike(report) + _opposed(report)
    )


def _alike(report: ImportanceReport) -> list[Caution]:
    """Pairs of groups that move the scores and hold columns that rank the rows nearly alike."""
    moving = report.groups.filter(pl.col("shap_share") >= NOTICED)["group"].to_list()
    pairs = report.interactions.filter(
        pl.col("group").is_in(moving) & pl.col("other").is_in(moving) & (pl.col("correlation") >= ALIKE)
    )
    meaning = (
        "A column of one ranks the rows nearly as a column of the other does: SHAP is shared out between them, and shuffling either "
        "overstates what would be lost with it. Do not drop both at once."
    )
    return [
        (
            f"“{row['group']}” and “{row['other']}” say much the same (rank correlation {number(row['correlation'], decimals=2)}).",
            meaning,
        )
        for row in pairs.sort("correlation", descending=True, maintain_order=True).head(3).iter_rows(named=True)
    ]


def _opposed(report: ImportanceReport) -> list[Caution]:
    """Groups whose columns pull scores both ways, so that their sum says less than each of them."""
    apart = report.columns.group_by("group").agg(apart=pl.col("shap").sum())
    both = report.groups.join(apart, on="group", maintain_order="left")
    opposed = both.filter((pl.col("shap") < OPPOSED * pl.col("apart")) & (pl.col("shap_share") >= NOTICED))
    if opposed.is_empty():
        return []
    names = [f"“{name}”" for name in opposed["group"]]
    meaning = (
        "Added up in each row, their contributions cancel in part: the share of SHAP is that of the sum, less than half of what the "
        "columns move one by one. Shuffling, which takes all columns of a group at once, is not touched by this."
    )
    return [(f"{listed(names)}: columns pull against each other.", meaning)]


def _thin(report: ImportanceReport) -> list[Caution]:
    basis = report.basis
    rows_of = dict(zip(map(str, report.classes), basis.class_rows, strict=True))
    absent = [f"“{label}”" for label, rows in rows_of.items() if not rows]
    rarest = min(rows_of, key=rows_of.__getitem__)
    remarks = []
    if absent:
        shown = listed(absent) if len(absent) <= 5 else f"{len(absent)} of {len(rows_of)} classes"
        remarks.append((f"No rows of {shown}.", "Nothing here says how the model does on them."))
    elif len(rows_of) == 2 and rows_of[rarest] < FEW_ROWS:
        meaning = "Intervals from so few are themselves uncertain; more labelled rows will change the picture."
        remarks.append((f"Few rows of “{rarest}”: {rows_of[rarest]}.", meaning))
    if basis.row_groups is None:
        meaning = "Where users or sessions have several rows each, the intervals are too narrow: name the column that groups them."
        remarks.append(("Rows were taken as independent.", meaning))
    if (units := basis.row_groups or basis.rows) < FEW_UNITS:
        meaning = "Intervals that resample so few come out too narrow, and no verdict is drawn from them."
        remarks.append((f"Few {'rows' if basis.row_groups is None else 'groups of rows'}: {units}.", meaning))
    return remarks


def _miscalibrated(report: ImportanceReport) -> list[Caution]:
    table = report.calibration.filter(pl.col("class") == pl.col("class").first())
    off = table.filter((pl.col("mean_predicted") < pl.col("low")) | (pl.col("mean_predicted") > pl.col("high"))).height
    if off < max(2, 0.3 * table.height):
        return []
    rows = table["rows"].to_numpy()
    predicted = float(table["mean_predicted"].to_numpy() @ rows / rows.sum())
    observed = float(table["observed"].to_numpy() @ rows / rows.sum())
    return [
        (
            f"Probabilities are off: {off} of {table.height} bins miss the observed share.",
            f"The mean prediction is {percent(predicted, decimals=1)}, the truth {percent(observed, decimals=1)}. Rankings are not touched "
            "by this, but calibrate before multiplying a probability with a price or comparing it with a fixed threshold.",
        )
    ]


def _refits(report: ImportanceReport) -> list[Caution]:
    basis = report.basis
    if basis.no_ablation:
        return [("Nothing was refitted.", f"Leaving groups out was not tested: {basis.no_ablation}.")]
    if not refits_learned(report):
        meaning = "Trained on these rows alone, they hardly beat the base rate. The verdicts take no notice of them."
        return [("The refits learned too little.", meaning)]
    folds = f"{count(basis.sampled_rows)}, in {basis.ablation_folds} folds"
    meaning = f"They learn from these rows alone ({folds}). Compare them with each other, not with the model."
    return [("Refits see less than the model did.", meaning)]
