"""The answer of an importance report: a few paragraphs made from its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from hybrid.numerals import count, decimals_for, interval, listed, number, percent, span
from hybrid.reports.tables import BASE_RATE, MODEL
from hybrid.reports.verdicts import Gap, GroupFinding, group_findings

if TYPE_CHECKING:
    from hybrid.reports.report import ImportanceReport

CARRIED = 0.8
"""Groups are named in the answer until they make up this share of SHAP."""

_Values = Mapping[tuple[str, str], Mapping[str, float]]


def answer(report: ImportanceReport) -> list[str]:
    """How well the model predicts what, beside which others, what carries it, and what adds nothing."""
    groups = group_findings(report)
    return [text for text in (_quality(report), _beside(report), _carriers(groups), _idle(groups)) if text]


def _quality(report: ImportanceReport) -> str:
    both = report.metrics.filter(pl.col("model").is_in([MODEL, BASE_RATE]))
    values = {(row["model"], row["metric"]): row for row in both.iter_rows(named=True)}
    loss, base = values[MODEL, "log_loss"], values[BASE_RATE, "log_loss"]
    digits = decimals_for([loss["high"] - loss["low"]])
    rows, own = count(report.basis.rows), number(loss["value"], decimals=digits)
    present = [label for label, n in zip(report.classes, report.basis.class_rows, strict=True) if n]
    if len(present) == 1:
        return (
            f"On {rows} rows, all of them “{present[0]}”, the model’s log loss is {own}. "
            "With one class only, nothing can be said of how well it tells classes apart."
        )
    numbers = f"({own} against {number(base['value'], decimals=digits)}, lower is better)"
    if len(report.classes) == 2:
        share = percent(report.basis.class_rows[1] / report.basis.rows, decimals=1)
        what, naive = f"{share} of them “{report.classes[1]}”", "that of one who knows only this share"
    else:
        what, naive = f"{len(present)} classes", "that of one who knows only how frequent each class is"
    gap = Gap(base["difference"], base["difference_low"], base["difference_high"])
    compared = {
        1: f"is {percent(gap.value / base['value'])} below {naive} {numbers}.",
        -1: f"is worse than {naive} {numbers}: do not use its probabilities as they are.",
    }.get(gap.sign or 0, f"cannot be told from {naive} {numbers}.")
    ranking = _ranking(str(report.classes[1]), values) if len(report.classes) == 2 else _accuracy(values)
    return f"On {rows} rows, {what}, the model’s log loss {compared} {ranking}"


def _ranking(positive: str, values: _Values) -> str:
    auc, precision = values[MODEL, "roc_auc"]["value"], values[MODEL, "average_precision"]["value"]
    chance = values[BASE_RATE, "average_precision"]["value"]
    return (
        f"Given one row that is “{positive}” and one that is not, it puts the right one first {number(100 * auc, decimals=0)} times in 100 "
        f"(ROC AUC {number(auc, decimals=3)}); its average precision is {number(precision, decimals=3)}, "
        f"against {number(chance, decimals=3)} by chance."
    )


def _accuracy(values: _Values) -> str:
    right, naive = values[MODEL, "accuracy"]["value"], values[BASE_RATE, "accuracy"]["value"]
    return (
        f"It names the right class for {percent(right, decimals=1)} of the rows; always naming the most frequent class "
        f"is right for {percent(naive, decimals=1)}."
    )


def _beside(report: ImportanceReport) -> str:
    """The model against the baselines."""
    named: dict[int, list[str]] = {1: [], -1: [], 0: []}
    others = report.metrics.filter((pl.col("metric") == "log_loss") & ~pl.col("model").is_in([MODEL, BASE_RATE]))
    for row in others.iter_rows(named=True):
        gap = Gap(row["difference"], row["difference_low"], row["difference_high"])
        low, high = sorted((abs(gap.low), abs(gap.high)))
        by = f", by {_with_interval(Gap(abs(gap.value), low, high))}" if gap.sign else ""
        named[gap.sign or 0].append(f"“{row['model']}”{by}")
    words = {1: "lower than", -1: "higher than", 0: "not to be told from"}
    parts = [f"{words[sign]} that of {listed(names)}" for sign, names in named.items() if names]
    return f"On the same rows, its log loss is {'; '.join(parts)}." if parts else ""


def _carriers(groups: list[GroupFinding]) -> str:
    """The groups that make up most of what moves the scores, three at most."""
    leading: list[GroupFinding] = []
    for group in groups:
        if len(leading) < 3 and sum(g.share for g in leading) < CARRIED and group.share > 0:
            leading.append(group)
    if not leading:
        return "No column moves the scores: the model gives every row the same probabilities."
    first, *rest = (
        f"“{g.name}” {'moves the scores most, ' if g is leading[0] else ''}with {percent(g.share)}" for g in leading
    )
    sentences = [f"{first} of the total{', then ' + listed(rest) if rest else ''}."]
    shuffled = [f"“{g.name}” {_with_interval(g.permutation)}" for g in leading if g.permutation.sign == 1]
    if shuffled:
        sentences.append(f"Rise of the log loss when its values are shuffled: {listed(shuffled)}.")
    missed = [f"“{g.name}” {_with_interval(g.ablation)}" for g in leading if g.verdict == "keep" and g.ablation]
    if missed:
        sentences.append(f"Rise when models never see it: {listed(missed)}.")
    replaced = [f"“{g.name}”" for g in leading if g.verdict == "stand-in"]
    if replaced:
        each = "each be" if len(replaced) > 1 else "be"
        sentences.append(f"{listed(replaced)} can {each} replaced by the other groups, as far as these rows can show.")
    return " ".join(sentences)


def _idle(groups: list[GroupFinding]) -> str:
    """The groups that could go, with the intervals that say so."""
    little = [f"“{g.name}” ({_interval_alone(g)})" for g in groups if g.verdict == "little"]
    nothing = [f"“{g.name}” ({_interval_alone(g)})" for g in groups if g.verdict == "nothing"]
    parts = []
    if little:
        parts.append(f"{listed(little)} {'adds' if len(little) == 1 else 'add'} little")
    if nothing:
        parts.append(f"{listed(nothing)} {'adds' if len(nothing) == 1 else 'add'} nothing that these rows can show")
    return f"{'; '.join(parts)} (in brackets: 95 % interval of the rise in log loss without it)." if parts else ""


def _interval_alone(group: GroupFinding) -> str:
    gap = group.ablation if group.ablation and group.ablation.sign is not None else group.permutation
    return span(gap.low, gap.high, decimals=decimals_for([gap.high - gap.low]))


def _with_interval(gap: Gap) -> str:
    return interval(gap.value, gap.low, gap.high, decimals=decimals_for([gap.high - gap.low]))
