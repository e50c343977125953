"""The answer of an importance report: a few paragraphs made from its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from hybrid.languages import paragraph, quoted, say
from hybrid.numerals import count, decimals_for, interval, listed, number, percent, span
from hybrid.reports.tables import BASE_RATE, MODEL
from hybrid.reports.verdicts import Gap, GroupFinding, Verdict, group_findings

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
        return say(
            "On {rows} rows, all of them {label}, the model’s log loss is {loss}. "
            "With one class only, nothing can be said of how well it tells classes apart.",
            rows=rows,
            label=quoted(str(present[0])),
            loss=own,
        )
    if len(report.classes) == 2:
        share = percent(report.basis.class_rows[1] / report.basis.rows, decimals=1)
        what = say("{share} of them {label}", share=share, label=quoted(str(report.classes[1])))
        naive = say("that of one who knows only this share")
    else:
        what = say("{n} classes", n=len(present))
        naive = say("that of one who knows only how frequent each class is")
    gap = Gap(base["difference"], base["difference_low"], base["difference_high"])
    values_shown = {"naive": naive, "own": own, "base": number(base["value"], decimals=digits)}
    if gap.sign == 1:
        by = percent(gap.value / base["value"])
        compared = say("is {by} below {naive} ({own} against {base}, lower is better).", by=by, **values_shown)
    elif gap.sign == -1:
        compared = say(
            "is worse than {naive} ({own} against {base}, lower is better): do not use its probabilities as they are.",
            **values_shown,
        )
    else:
        compared = say("cannot be told from {naive} ({own} against {base}, lower is better).", **values_shown)
    first = say("On {rows} rows, {what}, the model’s log loss {compared}", rows=rows, what=what, compared=compared)
    ranking = _ranking(str(report.classes[1]), values) if len(report.classes) == 2 else _accuracy(values)
    return paragraph([first, ranking])


def _ranking(positive: str, values: _Values) -> str:
    auc, precision = values[MODEL, "roc_auc"]["value"], values[MODEL, "average_precision"]["value"]
    return say(
        "Given one row that is {label} and one that is not, it puts the right one first {times} times in 100 (ROC AUC {auc}); "
        "its average precision is {precision}, against {chance} by chance.",
        label=quoted(positive),
        times=number(100 * auc, decimals=0),
        auc=number(auc, decimals=3),
        precision=number(precision, decimals=3),
        chance=number(values[BASE_RATE, "average_precision"]["value"], decimals=3),
    )


def _accuracy(values: _Values) -> str:
    return say(
        "It names the right class for {right} of the rows; always naming the most frequent class is right for {naive}.",
        right=percent(values[MODEL, "accuracy"]["value"], decimals=1),
        naive=percent(values[BASE_RATE, "accuracy"]["value"], decimals=1),
    )


def _beside(report: ImportanceReport) -> str:
    """The model against the baselines."""
    named: dict[int, list[str]] = {1: [], -1: [], 0: []}
    others = report.metrics.filter((pl.col("metric") == "log_loss") & ~pl.col("model").is_in([MODEL, BASE_RATE]))
    for row in others.iter_rows(named=True):
        gap = Gap(row["difference"], row["difference_low"], row["difference_high"])
        low, high = sorted((abs(gap.low), abs(gap.high)))
        name, by = quoted(row["model"]), _with_interval(Gap(abs(gap.value), low, high))
        named[gap.sign or 0].append(say("{name}, by {value}", name=name, value=by) if gap.sign else name)
    parts = [
        *([say("lower than that of {models}", models=listed(named[1]))] if named[1] else []),
        *([say("higher than that of {models}", models=listed(named[-1]))] if named[-1] else []),
        *([say("not to be told from that of {models}", models=listed(named[0]))] if named[0] else []),
    ]
    return say("On the same rows, its log loss is {compared}.", compared=say("; ").join(parts)) if parts else ""


def _carriers(groups: list[GroupFinding]) -> str:
    """The groups that make up most of what moves the scores, three at most."""
    leading: list[GroupFinding] = []
    for group in groups:
        if len(leading) < 3 and sum(g.share for g in leading) < CARRIED and group.share > 0:
            leading.append(group)
    if not leading:
        return say("No column moves the scores: the model gives every row the same probabilities.")
    first, *rest = leading
    then = [say("{name} with {share}", name=quoted(g.name), share=percent(g.share)) for g in rest]
    most = {"name": quoted(first.name), "share": percent(first.share)}
    sentences = [
        say("{name} moves the scores most, with {share} of the total, then {others}.", **most, others=listed(then))
        if then
        else say("{name} moves the scores most, with {share} of the total.", **most)
    ]
    shuffled = [f"{quoted(g.name)} {_with_interval(g.permutation)}" for g in leading if g.permutation.sign == 1]
    if shuffled:
        sentences.append(say("Rise of the log loss when its values are shuffled: {groups}.", groups=listed(shuffled)))
    missed = [f"{quoted(g.name)} {_with_interval(g.ablation)}" for g in leading if g.verdict == "keep" and g.ablation]
    if missed:
        sentences.append(say("Rise when models never see it: {groups}.", groups=listed(missed)))
    replaced = [quoted(g.name) for g in leading if g.verdict == "stand-in"]
    if replaced:
        sentences.append(
            say("{group} can be replaced by the other groups, as far as these rows can show.", group=replaced[0])
            if len(replaced) == 1
            else say(
                "{groups} can each be replaced by the other groups, as far as these rows can show.",
                groups=listed(replaced),
            )
        )
    return paragraph(sentences)


def _idle(groups: list[GroupFinding]) -> str:
    """The groups that could go, with the intervals that say so."""

    def named(verdict: Verdict) -> list[str]:
        return [
            say("{name} ({value})", name=quoted(g.name), value=_interval_alone(g))
            for g in groups
            if g.verdict == verdict
        ]

    little, nothing = named("little"), named("nothing")
    parts = []
    if little:
        parts.append(
            say("{group} adds little", group=little[0])
            if len(little) == 1
            else say("{groups} add little", groups=listed(little))
        )
    if nothing:
        parts.append(
            say("{group} adds nothing that these rows can show", group=nothing[0])
            if len(nothing) == 1
            else say("{groups} add nothing that these rows can show", groups=listed(nothing))
        )
    if not parts:
        return ""
    return say("{found} (in brackets: 95 % interval of the rise in log loss without it).", found=say("; ").join(parts))


def _interval_alone(group: GroupFinding) -> str:
    gap = group.ablation if group.ablation and group.ablation.sign is not None else group.permutation
    return span(gap.low, gap.high, decimals=decimals_for([gap.high - gap.low]))


def _with_interval(gap: Gap) -> str:
    return interval(gap.value, gap.low, gap.high, decimals=decimals_for([gap.high - gap.low]))
