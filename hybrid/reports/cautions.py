"""What to distrust in an importance report: where its three questions disagree, thin evidence, probabilities that are off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from hybrid.languages import quoted, say
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
    suspicious = [quoted(name) for name in report.strength.filter("suspicious")["column"].head(5)]
    if not suspicious:
        return []
    meaning = say(
        "So strong a column was often made from the label, or after it: check when its value is known before believing a number here."
    )
    return [(say("{names}: {lead}", names=listed(suspicious), lead=say("almost decides the label alone.")), meaning)]


def _drifted(report: ImportanceReport) -> list[Caution]:
    moved = report.drift.join(report.columns.select("column", "shap"), on="column", maintain_order="left")
    total = max(float(report.columns["shap"].sum()), 1e-300)
    carrying = moved.filter((pl.col("psi") >= MOVED_FAR) & (pl.col("shap") >= 0.01 * total)).sort(
        "shap", descending=True
    )
    if carrying.is_empty():
        return []
    names = [
        say("{name} (PSI {value})", name=quoted(name), value=number(psi, decimals=2))
        for name, psi in carrying["column", "psi"].head(3).iter_rows()
    ]
    if carrying.height > len(names):
        names.append(say("{n} more", n=count(carrying.height - len(names))))
    meaning = say(
        "The model leans on values that lie otherwise than in its training rows. Train again if these rows are the new normal."
    )
    return [(say("Moved since training: {names}.", names=listed(names)), meaning)]


def _disagreements(report: ImportanceReport) -> list[Caution]:
    groups = group_findings(report)

    def named(verdict: Verdict, least_share: float = 0.0) -> str:
        names = [quoted(g.name) for g in groups if g.verdict == verdict and g.share >= least_share]
        return listed(names) if names else ""

    remarks = [
        (
            named("stand-in"),
            say("shuffling hurts, leaving out does not."),
            say(
                "The model leans on this evidence, but other groups say the same in other words; shuffling overstates what would be lost. "
                "Groups that replace each other must not be dropped together: drop one, then look again."
            ),
        ),
        (
            named("nothing", LOUD),
            say("scores move, but not for the better."),
            say(
                "SHAP says what the model does, not whether it is right to: it may have learned chance from its training data."
            ),
        ),
        (
            named("harmful"),
            say("models without it are better."),
            say(
                "They were trained on fewer rows than this one, and fewer rows are more easily misled. Train without it before dropping it."
            ),
        ),
        (
            named("misused"),
            say("this model does not gain from what others gain from."),
            say(VERDICTS["misused"][1]),
        ),
    ]
    found = [(say("{names}: {lead}", names=names, lead=lead), meaning) for names, lead, meaning in remarks if names]
    return found + _alike(report) + _opposed(report)


def _alike(report: ImportanceReport) -> list[Caution]:
    """Pairs of groups that move the scores and hold columns that rank the rows nearly alike."""
    moving = report.groups.filter(pl.col("shap_share") >= NOTICED)["group"].to_list()
    pairs = report.interactions.filter(
        pl.col("group").is_in(moving) & pl.col("other").is_in(moving) & (pl.col("correlation") >= ALIKE)
    )
    meaning = say(
        "A column of one ranks the rows nearly as a column of the other does: SHAP is shared out between them, and shuffling either "
        "overstates what would be lost with it. Do not drop both at once."
    )
    return [
        (
            say(
                "{group} and {other} say much the same (rank correlation {value}).",
                group=quoted(row["group"]),
                other=quoted(row["other"]),
                value=number(row["correlation"], decimals=2),
            ),
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
    names = listed([quoted(name) for name in opposed["group"]])
    meaning = say(
        "Added up in each row, their contributions cancel in part: the share of SHAP is that of the sum, less than half of what the "
        "columns move one by one. Shuffling, which takes all columns of a group at once, is not touched by this."
    )
    return [(say("{names}: {lead}", names=names, lead=say("columns pull against each other.")), meaning)]


def _thin(report: ImportanceReport) -> list[Caution]:
    basis = report.basis
    rows_of = dict(zip(map(str, report.classes), basis.class_rows, strict=True))
    absent = [quoted(label) for label, rows in rows_of.items() if not rows]
    rarest = min(rows_of, key=rows_of.__getitem__)
    remarks = []
    if absent:
        shown = listed(absent) if len(absent) <= 5 else say("{n} of {total} classes", n=len(absent), total=len(rows_of))
        remarks.append(
            (say("No rows of {classes}.", classes=shown), say("Nothing here says how the model does on them."))
        )
    elif len(rows_of) == 2 and rows_of[rarest] < FEW_ROWS:
        meaning = say("Intervals from so few are themselves uncertain; more labelled rows will change the picture.")
        remarks.append((say("Few rows of {label}: {n}.", label=quoted(rarest), n=rows_of[rarest]), meaning))
    if basis.row_groups is None:
        meaning = say(
            "Where users or sessions have several rows each, the intervals are too narrow: name the column that groups them."
        )
        remarks.append((say("Rows were taken as independent."), meaning))
    if (units := basis.row_groups or basis.rows) < FEW_UNITS:
        meaning = say("Intervals over so few come out too narrow, and no verdict is drawn from them.")
        few = say("Few rows: {n}.", n=units) if basis.row_groups is None else say("Few groups of rows: {n}.", n=units)
        remarks.append((few, meaning))
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
            say("Probabilities are off: {off} of {bins} bins miss the observed share.", off=off, bins=table.height),
            say(
                "The mean prediction is {predicted}, the truth {observed}. Rankings are not touched by this, but calibrate on recent rows "
                "(calibration=“temperature”) before multiplying a probability with a price or comparing it with a fixed threshold.",
                predicted=percent(predicted, decimals=1),
                observed=percent(observed, decimals=1),
            ),
        )
    ]


def _refits(report: ImportanceReport) -> list[Caution]:
    basis = report.basis
    if basis.no_ablation:
        why = say("Leaving groups out was not tested: {why}.", why=say(basis.no_ablation))
        return [(say("Nothing was refitted."), why)]
    if not refits_learned(report):
        meaning = say(
            "Trained on these rows alone, they hardly beat the base rate. The verdicts take no notice of them."
        )
        return [(say("The refits learned too little."), meaning)]
    meaning = say(
        "They learn from these rows alone ({rows}, in {folds} folds). Compare them with each other, not with the model.",
        rows=count(basis.sampled_rows),
        folds=basis.ablation_folds,
    )
    return [(say("Refits see less than the model did."), meaning)]
