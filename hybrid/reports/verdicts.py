"""A verdict on each group of columns: does it move scores, does shuffling it hurt, is it missed when left out?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import polars as pl

from hybrid.languages import message
from hybrid.reports.importance import NOTHING_DROPPED
from hybrid.reports.tables import BASE_RATE

if TYPE_CHECKING:
    from hybrid.reports.report import ImportanceReport

LITTLE = 0.05
"""A rise of the log loss below this share of the model's gain over the base rate is little."""
FEW_UNITS = 30
"""Intervals over fewer rows, or groups of rows, come out too narrow to judge by."""
LEARNED = 0.25
"""Refits that reach less than this share of the model's gain learned too little to say anything about a group."""

Verdict = Literal["keep", "little", "stand-in", "nothing", "harmful", "misused", "unused", "used", "unknown"]

VERDICTS: dict[Verdict, tuple[str, str]] = {
    "keep": (message("Keep"), message("It carries evidence that no other group has: models without it are worse.")),
    "little": (
        message("Adds little"),
        message(
            "It carries some evidence of its own, but less than a twentieth of what the model knows. Keep it if it is cheap."
        ),
    ),
    "stand-in": (
        message("Can be replaced"),
        message(
            "Shuffling it hurts, leaving it out does not: other groups can stand in. If it is costly it may go, alone; then look again."
        ),
    ),
    "nothing": (message("Adds nothing"), message("It adds nothing that these rows can show. A candidate to drop.")),
    "harmful": (
        message("Does harm"),
        message(
            "Models without it are better: it teaches them more chance than fact. A candidate to drop, once the training data say so too."
        ),
    ),
    "misused": (
        message("Used badly"),
        message(
            "Models trained anew gain from it, yet shuffling it does this one no harm: it has not learned to use it. Train again."
        ),
    ),
    "unused": (message("Not used"), message("The trees never split on it.")),
    "used": (
        message("Used"),
        message("The scores need its values. Whether other groups could stand in for it, these rows cannot tell."),
    ),
    "unknown": (message("Unknown"), message("These rows are too few, or the model too weak, to say.")),
}
"""A word for the verdict, and what to make of it; `hybrid.languages.say` says both."""


@dataclass(frozen=True)
class Gap:
    """A difference with its interval."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int | None:
        """1 or -1 where the interval lies on one side of zero, 0 where it holds zero, None where there is no interval."""
        if math.isnan(self.low) or math.isnan(self.high):
            return None
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


@dataclass(frozen=True)
class GroupFinding:
    """One group: its SHAP, the rise of the log loss when it is shuffled and when it is left out, and the verdict."""

    name: str
    shap: float
    share: float
    permutation: Gap
    ablation: Gap | None
    verdict: Verdict


def gain_over_base_rate(report: ImportanceReport) -> float:
    """By how much the model's log loss lies below the base rate's; 0 where that is not certain."""
    row = _log_loss(report.metrics, "model", BASE_RATE)
    return float(row["difference"]) if row["difference_low"] > 0 else 0.0


def refits_learned(report: ImportanceReport) -> bool:
    """Whether the ablation's models learned enough for a group's absence to show."""
    if report.ablation.is_empty():
        return False
    base = _log_loss(report.metrics, "model", BASE_RATE)["value"]
    refit = _log_loss(report.ablation, "dropped", NOTHING_DROPPED)["value"]
    return bool(base - refit >= LEARNED * gain_over_base_rate(report))


def group_findings(report: ImportanceReport) -> list[GroupFinding]:
    """Each group's numbers and verdict, in the order of ``report.groups``."""
    dropped = {
        row["dropped"]: Gap(row["difference"], row["difference_low"], row["difference_high"])
        for row in report.ablation.filter(pl.col("metric") == "log_loss").iter_rows(named=True)
        if row["dropped"] != NOTHING_DROPPED
    }
    gain, learned = gain_over_base_rate(report), refits_learned(report)
    enough = (report.basis.sampled_row_groups or report.basis.sampled_rows) >= FEW_UNITS
    found = []
    for row in report.groups.iter_rows(named=True):
        permutation = Gap(row["permutation"], row["permutation_low"], row["permutation_high"])
        ablation = dropped.get(row["group"])
        verdict = _verdict(row["shap"], permutation, ablation if learned else None, gain if enough else 0.0)
        found.append(GroupFinding(row["group"], row["shap"], row["shap_share"], permutation, ablation, verdict))
    return found


def _verdict(shap: float, permutation: Gap, ablation: Gap | None, gain: float) -> Verdict:
    little = LITTLE * gain
    if shap == 0:
        return "unused"
    if permutation.sign is None or gain == 0:
        return "unknown"
    if ablation is None or ablation.sign is None:
        if permutation.high <= little:
            return "little" if permutation.sign == 1 else "nothing"
        return "used" if permutation.sign == 1 else "unknown"
    if ablation.sign == 1:
        if permutation.high <= 0:
            return "misused"
        return "little" if ablation.high <= little else "keep"
    if ablation.sign == -1 and -ablation.low > little:
        return "harmful"
    if ablation.high > little:
        return "used" if permutation.sign == 1 else "unknown"
    return "stand-in" if permutation.sign == 1 and permutation.high > little else "nothing"


def _log_loss(frame: pl.DataFrame, column: str, name: str) -> dict[str, float]:
    return frame.row(by_predicate=(pl.col(column) == name) & (pl.col("metric") == "log_loss"), named=True)
