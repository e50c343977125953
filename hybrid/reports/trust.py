"""What to check before the numbers of a report are believed: columns that know too much, rows that differ from the training rows, and
an order of importance that depends on the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from scipy.stats import rankdata, spearmanr

from features.leaks import availability, strength
from hybrid.boosters.base import Booster, TreeParameters
from hybrid.holdout import assign_folds
from hybrid.languages import gloss, paragraph, say
from hybrid.matrix import TEXT_HEAD, FeatureMatrix
from hybrid.numerals import count, number, percent, span
from hybrid.pages import Cell, Panel, Section, Table, Tabs, Text
from hybrid.reference import Reference
from hybrid.reports.importance import coordinate_runs
from hybrid.reports.inference import Ordering

if TYPE_CHECKING:
    from hybrid.reports.report import ImportanceReport

MOVED, MOVED_FAR = 0.1, 0.25
"""Population stability indices that are usually read as some and as much change."""
TOO_STRONG = 0.95
ROWS = 20_000
"""Rows of the strengths at most."""
_BINS = 10
_DOMAIN_TREES = TreeParameters(n_estimators=50, learning_rate=0.2, max_depth=3, min_child_weight=5)
_SHOWN = 15

STRENGTH = {"column": pl.String, "group": pl.String, "auc": pl.Float64, "suspicious": pl.Boolean}
DRIFT = {
    "column": pl.String,
    "group": pl.String,
    **dict.fromkeys(("psi", "missing_then", "missing_now"), pl.Float64),
    "gone": pl.Boolean,
}
DOMAINS = {"group": pl.String, **dict.fromkeys(("auc", "low", "high"), pl.Float64)}
STABILITY = {
    "fold": pl.Int64,
    "group": pl.String,
    "shap_share": pl.Float64,
    "rank": pl.Float64,
    "correlation": pl.Float64,
}


def strength_table(matrix: FeatureMatrix, y: np.ndarray) -> pl.DataFrame:
    """How well each column orders the label on its own, strongest first; coordinates and the head's logits are left out.

    Returns
    -------
    polars.DataFrame
        ``column, group, auc, suspicious``: ``auc`` from 0.5 to 1, of the class that the column tells from the others best;
        ``suspicious`` where it is 0.95 or more and, where three others stand beside it, far above them, or above 0.999, as
        `features.audit` judges it.
    """
    kept = _named(matrix)
    values = pl.DataFrame(matrix.numpy()[:, kept], schema=[matrix.columns[i].name for i in kept])
    found = strength.strengths(values, y)
    told = {
        finding.column
        for finding in strength.findings(found, TOO_STRONG, 5.0, len(y))
        if finding.severity == "evidence"
    }
    rows = [(matrix.columns[i].name, matrix.columns[i].group, found[matrix.columns[i].name]) for i in kept]
    table = pl.DataFrame([(*row, row[0] in told) for row in rows], schema=STRENGTH, orient="row")
    return table.sort(pl.col("auc").fill_nan(None), descending=True, nulls_last=True, maintain_order=True)


def drift_table(matrix: FeatureMatrix, reference: Reference) -> pl.DataFrame:
    """How far each column's values have moved since training, the farthest first; coordinates and the head's logits are left out.

    Returns
    -------
    polars.DataFrame
        ``column, group, psi, missing_then, missing_now, gone``: the population stability index over tenths of the training rows (over the
        categories of a column of such) and the missing values, half a row added to each part; shares of missing values; and whether
        what was there in training is never there now, or the other way round, as `features.audit` judges it.
    """
    kept = _named(matrix)
    names = [matrix.columns[i].name for i in kept]
    then, now = reference.values[:, kept], matrix.numpy()[:, kept]
    both = pl.DataFrame(np.concatenate([then, now]), schema=names)
    shares = availability.shares(both, np.arange(both.height) >= len(then))
    told = availability.findings(shares, len(then), len(now), 0.5, 5.0)
    gone = {finding.column for finding in told if finding.severity == "evidence"}
    rows = []
    for place, i in enumerate(kept):
        column = matrix.columns[i]
        moved = _psi(then[:, place], now[:, place], column.categories)
        missing = (float(np.isnan(part[:, place]).mean()) for part in (then, now))
        rows.append((column.name, column.group, moved, *missing, column.name in gone))
    return pl.DataFrame(rows, schema=DRIFT, orient="row").sort("psi", descending=True, maintain_order=True)


def domain_table(
    booster: Booster, matrix: FeatureMatrix, reference: Reference, random_state: int, n_jobs: int | None
) -> pl.DataFrame:
    """How well trees tell these rows from training rows by each group of columns, by cross-fitting in two folds.

    Returns
    -------
    polars.DataFrame
        ``group, auc, low, high``, the most telling first: 0.5 where the rows cannot be told apart. The head is left out: its logits of
        training rows were made out of fold.
    """
    drawn = np.random.default_rng(random_state).permutation(len(matrix))[: len(reference.values)]
    now = matrix.rows(np.sort(drawn)).numpy()
    both, new = np.concatenate([reference.values, now]), np.repeat([0, 1], [len(reference.values), len(now)])
    rows = []
    for group in matrix.groups:
        positions = matrix.positions(group)
        if group == TEXT_HEAD or min(np.bincount(new, minlength=2)) < 50:
            continue
        columns = tuple(matrix.columns[i] for i in positions)
        told = _told_apart(
            booster, FeatureMatrix(np.ascontiguousarray(both[:, positions]), columns), new, random_state, n_jobs
        )
        auc = Ordering(new == 1, told).roc_auc().estimate(None)
        rows.append((group, auc.value, *auc.interval(0.0, 1.0)))
    return pl.DataFrame(rows, schema=DOMAINS, orient="row").sort("auc", descending=True, maintain_order=True)


def stability_table(shares: Sequence[dict[str, float]]) -> pl.DataFrame:
    """The order of groups by SHAP, in the model and in each refit.

    Parameters
    ----------
    shares : sequence of mapping from group to share of SHAP
        The model's first, then those of each fold's refit on the rows that it did not see.

    Returns
    -------
    polars.DataFrame
        ``fold, group, shap_share, rank, correlation``: fold 0 is the model; ``correlation`` is the rank correlation (Spearman) of the
        fold's shares with the model's, over groups.
    """
    rows = []
    groups = list(shares[0]) if shares else []
    model = np.array([shares[0][group] for group in groups]) if shares else np.empty(0)
    for fold, found in enumerate(shares):
        own = np.array([found[group] for group in groups])
        alike = float(spearmanr(model, own).statistic) if len(set(own)) > 1 and len(set(model)) > 1 else np.nan
        for group, rank in zip(groups, rankdata(-own), strict=True):
            rows.append((fold, group, found[group], rank, alike))
    return pl.DataFrame(rows, schema=STABILITY, orient="row")


def trust_section(report: ImportanceReport) -> Section:
    """Leaks, drift and stability."""
    panels: list[Panel] = []
    if report.strength.height:
        panels.append((say("Columns alone"), [_strength_block(report)]))
    if report.drift.height:
        panels.append((say("Moved since training"), [_drift_block(report)]))
    if report.domains.height:
        panels.append((say("Told from training rows"), [_domains_block(report)]))
    if report.stability.height and report.groups.height > 1:
        panels.append((say("Stability of the order"), [_stability_block(report)]))
    tabs = [Tabs(panels)] if panels else []
    return Section(say("Can these numbers be trusted?"), [Text(_remarks(report)), *tabs])


def _remarks(report: ImportanceReport) -> list[str]:
    gap = report.basis.shap_gap
    sums = (
        say("The SHAP values of each row, the text head’s included, add up to its score within {gap}.", gap=number(gap))
        if gap <= 1e-4
        else say(
            "The SHAP values of a row miss its score by up to {gap}: more than rounding. Do not rely on them.",
            gap=number(gap),
        )
    )
    if not report.drift.height:
        unknown = say("Nothing is known of the training rows, so nothing is said of how these rows differ from them.")
        return [sums, unknown]
    moved = report.drift.filter(pl.col("psi") >= MOVED_FAR).height
    return [
        sums,
        say(
            "Of {all} columns, {moved} have moved far since training (population stability index of {far} or more).",
            all=count(report.drift.height),
            moved=count(moved),
            far=MOVED_FAR,
        ),
    ]


def _strength_block(report: ImportanceReport) -> Table:
    rows: list[list[str | Cell]] = [
        [
            row["column"],
            gloss(row["group"]),
            Cell(
                number(row["auc"], decimals=3), share=max(0.0, 2 * row["auc"] - 1) if row["auc"] == row["auc"] else None
            ),
            Cell(say("too good to be known before?"), tone="bad") if row["suspicious"] else Cell("–", tone="muted"),
        ]
        for row in report.strength.head(_SHOWN).iter_rows(named=True)
    ]
    caption = say(
        "How well single columns order the label: the {n} strongest, by ROC AUC on their own. One that is almost perfect, far from all "
        "others, was often made from the label, or after it.",
        n=len(rows),
    )
    return Table(caption, [say("column"), say("group"), say("AUC alone"), say("remark")], rows, words=(0, 1, 3))


def _drift_block(report: ImportanceReport) -> Table:
    rows: list[list[str | Cell]] = []
    for row in report.drift.head(_SHOWN).iter_rows(named=True):
        far = row["psi"] >= MOVED_FAR
        remark = say("moved far") if far else say("moved") if row["psi"] >= MOVED else "–"
        rows.append(
            [
                row["column"],
                gloss(row["group"]),
                number(row["psi"], decimals=3),
                f"{percent(row['missing_then'])} → {percent(row['missing_now'])}",
                Cell(say("gone, or new") if row["gone"] else remark, tone="bad" if far or row["gone"] else "muted"),
            ]
        )
    caption = say(
        "Columns whose values have moved most since training. PSI: population stability index over tenths of the training rows; below "
        "{some} is little, from {far} on much. Compared with {rows} training rows.",
        some=MOVED,
        far=MOVED_FAR,
        rows=count(report.basis.reference_rows),
    )
    header = [say("column"), say("group"), "PSI", say("missing"), say("remark")]
    return Table(caption, header, rows, words=(0, 1, 4))


def _domains_block(report: ImportanceReport) -> Table:
    rows: list[list[str | Cell]] = [
        [
            gloss(row["group"]),
            Cell(
                number(row["auc"], decimals=3),
                span(row["low"], row["high"], decimals=3),
                tone="bad" if row["low"] > 0.75 else "",
            ),
        ]
        for row in report.domains.iter_rows(named=True)
    ]
    caption = say(
        "Can these rows be told from training rows? ROC AUC of trees that try, by the columns of one group, embeddings too: 0.5 is no, 1 "
        "is always. Behaviour that is counted over all time moves by itself."
    )
    return Table(caption, [say("group"), "AUC"], rows)


def _stability_block(report: ImportanceReport) -> Table:
    frame = report.stability
    folds = frame["fold"].unique(maintain_order=True).to_list()
    share = {(row["fold"], row["group"]): row for row in frame.iter_rows(named=True)}
    rows: list[list[str | Cell]] = [
        [
            gloss(group),
            *(
                Cell(
                    percent(share[fold, group]["shap_share"], decimals=1),
                    say("place {rank}", rank=number(share[fold, group]["rank"])),
                )
                for fold in folds
            ),
        ]
        for group in frame.filter(fold=0)["group"]
    ]
    found = frame.filter(pl.col("fold") > 0).unique("fold")["correlation"].drop_nans().to_list()
    caption = [
        say("Does the order of the groups depend on the rows?"),
        say("Shares of SHAP in the model, and in models trained anew on parts of these rows."),
    ]
    if found:
        mean = number(sum(found) / len(found), decimals=2)
        caption.append(say("Mean rank correlation with the model: {value}.", value=mean))
    header = [say("group"), say("model"), *(say("refit {n}", n=fold) for fold in folds[1:])]
    return Table(paragraph(caption), header, rows)


def _named(matrix: FeatureMatrix) -> list[int]:
    """Positions of the columns that mean something one by one."""
    coordinates = {int(i) for _, run in coordinate_runs(matrix.columns) for i in run}
    return [i for i, column in enumerate(matrix.columns) if i not in coordinates and column.group != TEXT_HEAD]


def _psi(then: np.ndarray, now: np.ndarray, categories: int) -> float:
    known = then[~np.isnan(then)]
    if categories or not len(known):
        edges = np.arange(categories) + 0.5
    else:
        edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1], method="inverted_cdf"))
    shares = []
    for values in (then, now):
        code = np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="left"))
        rows = np.bincount(code, minlength=len(edges) + 2)
        shares.append(rows)
    used = shares[0] + shares[1] > 0
    before, after = ((rows[used] + 0.5) / (rows[used] + 0.5).sum() for rows in shares)
    return float(((after - before) * np.log(after / before)).sum())


def _told_apart(
    booster: Booster, matrix: FeatureMatrix, new: np.ndarray, random_state: int, n_jobs: int | None
) -> np.ndarray:
    folds, told = assign_folds(new, None, 2, random_state), np.empty(len(new))
    for fold in (0, 1):
        inside, out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        data = booster.bin(matrix.rows(inside), new[inside], device=booster.device, n_jobs=n_jobs)
        trees = booster.train(data, n_classes=2, parameters=_DOMAIN_TREES, random_state=random_state, n_jobs=n_jobs)
        told[out] = trees.predict_proba(matrix.rows(out))[:, 1]
    return told
