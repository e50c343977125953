"""What the scores get wrong: thresholds and their costs, classes taken for others, gains, and how far probabilities are off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from hybrid.calibration import N_BINS, bin_codes
from hybrid.charts import Series, line_chart
from hybrid.errors import ParameterError
from hybrid.languages import quoted, say
from hybrid.metrics import Interval
from hybrid.numerals import count, number, percent, span
from hybrid.pages import Block, Cell, Figure, Matrix, Panel, Table
from hybrid.reports.inference import mean, renumbered
from hybrid.reports.slices import ScoredRows

if TYPE_CHECKING:
    from hybrid.reports.report import ImportanceReport

COSTS = {"false_positive": 1.0, "false_negative": 1.0}
_THRESHOLDS = 100
_THRESHOLDS_SHOWN = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_CLASSES_SHOWN = 12
_CONFUSIONS_SHOWN = 20
_DRAWS = 2_000

THRESHOLDS = dict.fromkeys(("threshold", "flagged", "precision", "recall", "cost"), pl.Float64)
GAINS = dict.fromkeys(("share", "captured", "low", "high", "lift"), pl.Float64)


def costs_of(declared: Mapping[str, float] | None) -> dict[str, float]:
    """The costs of a mistake of each kind, those that are not declared 1.

    Raises
    ------
    ParameterError
        Another kind of mistake, or a cost that is no number of at least 0.
    """
    costs = {**COSTS, **(declared or {})}
    for name, cost in costs.items():
        if name not in COSTS:
            raise ParameterError(f"costs names {name!r}; there are: {', '.join(COSTS)}")
        if not isinstance(cost, int | float) or not 0 <= cost < np.inf:
            raise ParameterError(f"costs[{name!r}] must be a number of at least 0, not {cost!r}")
    return costs


def threshold_table(scored: ScoredRows, costs: Mapping[str, float]) -> pl.DataFrame:
    """What comes of calling a row positive from a score on, at a hundred scores; empty for more than two classes.

    Parameters
    ----------
    scored : ScoredRows
    costs : mapping
        ``false_positive`` and ``false_negative``, in any one unit.

    Returns
    -------
    polars.DataFrame
        ``threshold, flagged, precision, recall, cost``, highest threshold first: a row is flagged where its score is at least the
        threshold; ``flagged`` is the share of rows, ``cost`` the mean over all rows.
    """
    if scored.proba.shape[1] != 2:
        return pl.DataFrame(schema=THRESHOLDS)
    order = np.argsort(-scored.proba[:, 1])
    score, hits = scored.proba[order, 1], np.cumsum(scored.y[order] == 1)
    last = np.append(np.flatnonzero(score[1:] != score[:-1]), len(score) - 1)  # rows of one score are flagged together
    wanted = np.unique(np.searchsorted(last, np.linspace(0, len(score) - 1, _THRESHOLDS).astype(np.int64)))
    place = last[wanted]
    flagged, true = place + 1.0, hits[place].astype(np.float64)
    positives = float(hits[-1])
    cost = costs["false_positive"] * (flagged - true) + costs["false_negative"] * (positives - true)
    return pl.DataFrame(
        {
            "threshold": score[place].astype(np.float64),
            "flagged": flagged / len(score),
            "precision": true / flagged,
            "recall": true / positives if positives else np.full(len(place), np.nan),
            "cost": cost / len(score),
        }
    )


def confusion_table(scored: ScoredRows, classes: Sequence[Any]) -> pl.DataFrame:
    """``class, predicted, rows, share``: how many rows of each class are predicted as each, and their share of the class."""
    n_classes = len(classes)
    counts = np.bincount(scored.y * n_classes + scored.proba.argmax(axis=1), minlength=n_classes**2)
    counts = counts.reshape(n_classes, n_classes)
    true, predicted = np.nonzero(counts)
    names = [str(label) for label in classes]
    rows = counts[true, predicted]
    return pl.DataFrame(
        {
            "class": [names[i] for i in true],
            "predicted": [names[i] for i in predicted],
            "rows": rows.astype(np.int64),
            "share": rows / counts.sum(axis=1)[true],
        },
        schema_overrides={"class": pl.String, "predicted": pl.String},
    )


def gains_table(scored: ScoredRows) -> pl.DataFrame:
    """How much of the positive class the highest scores hold; empty for more than two classes, or without a positive row.

    Returns
    -------
    polars.DataFrame
        ``share, captured, low, high, lift``: of the ``share`` of rows with the highest scores (rows of one score count in part, as if
        drawn at random), the share of the positive class that they hold, its 95 % interval with the threshold held fixed, and
        ``captured / share``.
    """
    if scored.proba.shape[1] != 2 or not (scored.y == 1).any():
        return pl.DataFrame(schema=GAINS)
    score, hits = scored.proba[:, 1], np.flatnonzero(scored.y == 1)
    ordered, of_hits = np.sort(score)[::-1], score[hits]
    groups = None if scored.groups is None else scored.groups[hits]
    rows = []
    for share in _SHARES:
        wanted = share * len(score)
        edge = ordered[min(int(np.ceil(wanted)), len(score)) - 1]
        above, through = np.searchsorted(-ordered, -edge, "left"), np.searchsorted(-ordered, -edge, "right")
        inside = (of_hits > edge) + (of_hits == edge) * (wanted - above) / (through - above)
        captured = mean(inside)
        rows.append((share, captured.value, *captured.estimate(groups).interval(0.0, 1.0), captured.value / share))
    return pl.DataFrame(rows, schema=GAINS, orient="row")


def calibration_error(scored: ScoredRows, random_state: int) -> tuple[Interval, float]:
    """The expected calibration error with a 95 % interval, and what chance alone would show.

    The gaps of the bins are drawn from the normal distribution that the groups of rows give them, 2,000 times. Absolute values make every
    draw's error too large by the same token as the error itself; the interval is shifted back by that and cut at 0.

    Returns
    -------
    (Interval, float)
        The error of `hybrid.calibration.expected_calibration_error`, and the 95 % quantile of the errors that a model of perfect
        calibration would show on such rows.
    """
    if scored.proba.shape[1] == 2:
        said, hit = scored.proba[:, 1].astype(np.float64), scored.y == 1
    else:
        said, hit = scored.proba.max(axis=1).astype(np.float64), scored.proba.argmax(axis=1) == scored.y
    n, code = len(said), bin_codes(said, N_BINS)
    n_bins = int(code.max()) + 1
    gap = (said - hit) / n
    signed = np.bincount(code, weights=gap, minlength=n_bins)
    value = float(np.abs(signed).sum())
    groups = np.arange(n) if scored.groups is None else renumbered(scored.groups)
    n_groups = int(groups.max()) + 1
    if n_groups < 2:
        return Interval(value, np.nan, np.nan), np.nan
    sums = np.bincount(groups * n_bins + code, weights=gap, minlength=n_groups * n_bins).reshape(n_groups, n_bins)
    apart = sums - sums.mean(axis=0)
    covariance = apart.T @ apart * n_groups / (n_groups - 1)
    noise = np.random.default_rng(random_state).multivariate_normal(
        np.zeros(n_bins), covariance, size=_DRAWS, method="eigh"
    )
    drawn = np.abs(signed + noise).sum(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975]) - (drawn.mean() - value)
    return Interval(value, max(float(low), 0.0), float(high)), float(np.quantile(np.abs(noise).sum(axis=1), 0.95))


def mistakes_panels(report: ImportanceReport) -> list[Panel]:
    """Thresholds and gains of two classes, the confusions of more."""
    if report.thresholds.is_empty():
        return [(say("Confusions"), [_confusion_block(report)])]
    gains = [(say("Gains and lift"), _gains_blocks(report))] if report.gains.height else []
    return [(say("Thresholds"), _threshold_blocks(report)), *gains]


def _threshold_blocks(report: ImportanceReport) -> list[Block]:
    frame, positive = report.thresholds, str(report.classes[1])
    ascending = frame.sort("threshold")
    x = ascending["threshold"].to_list()
    onward = say("probability from which on")
    chart = line_chart(
        [
            Series(say("precision"), x, ascending["precision"].to_list(), mark="line"),
            Series(say("recall"), x, ascending["recall"].to_list(), mark="line"),
        ],
        title=say("Calling a row {label} from a probability on", label=quoted(positive)),
        x_label=onward,
        y_label=say("share"),
    )
    costs = report.basis.costs
    cost = line_chart(
        [Series(say("cost"), x, ascending["cost"].to_list(), mark="line")],
        title=say("Mean cost of a row"),
        x_label=onward,
        y_label=say("cost"),
    )
    best = frame.row(int(frame["cost"].arg_min() or 0), named=True)
    caption = say(
        "Precision: the share of flagged rows that are right. Recall: the share of right rows that are flagged. Cost: {false_positive} for "
        "each row that is flagged wrongly and {false_negative} for each that is missed. It is least, {cost} a row, from {threshold} on, "
        "where {flagged} of the rows are flagged; chosen and judged on the same rows, so a little too good.",
        false_positive=number(costs["false_positive"]),
        false_negative=number(costs["false_negative"]),
        cost=number(best["cost"]),
        threshold=number(best["threshold"], decimals=3),
        flagged=percent(best["flagged"], decimals=1),
    )
    rows: list[list[str | Cell]] = []
    for share in _THRESHOLDS_SHOWN:
        row = frame.row(int((frame["flagged"] - share).abs().arg_min() or 0), named=True)
        cells: list[str | Cell] = [
            number(row["threshold"], decimals=3),
            *(percent(row[name], decimals=1) for name in ("flagged", "precision", "recall")),
            number(row["cost"]),
        ]
        if cells not in rows:
            rows.append(cells)
    header = [say("probability from"), say("flagged"), say("precision"), say("recall"), say("mean cost")]
    return [Figure([chart, cost], caption), Table(say("Some thresholds in figures."), header, rows, words=())]


def _gains_blocks(report: ImportanceReport) -> list[Block]:
    positive = quoted(str(report.classes[1]))
    rows: list[list[str | Cell]] = [
        [
            percent(row["share"]),
            Cell(
                percent(row["captured"], decimals=1),
                "" if row["low"] != row["low"] else f"{span(100 * row['low'], 100 * row['high'], decimals=1)} %",
                share=row["captured"],
            ),
            number(row["lift"], decimals=2),
        ]
        for row in report.gains.filter(pl.col("share") <= 0.5).iter_rows(named=True)
    ]
    caption = say(
        "Gains and lift: of all rows that are {label}, how many the rows with the highest scores hold; lift is how many times more "
        "than as many rows drawn at random. Small print: 95 % intervals.",
        label=positive,
    )
    header = [say("rows with the highest scores"), say("{label} among them", label=positive), say("lift")]
    return [Table(caption, header, rows, words=())]


def _confusion_block(report: ImportanceReport) -> Matrix | Table:
    frame = report.confusion
    names = [str(label) for label in report.classes]
    if len(names) <= _CLASSES_SHOWN:
        share = {(row["class"], row["predicted"]): row["share"] for row in frame.iter_rows(named=True)}
        rows_of = dict(zip(names, report.basis.class_rows, strict=True))
        caption = say("Of the rows of each class (down), the share that is predicted as each (across).")
        return Matrix(
            caption,
            [say("{label}: {n} rows", label=name, n=count(rows_of[name])) for name in names],
            names,
            [[share.get((name, other), 0.0 if rows_of[name] else np.nan) for other in names] for name in names],
            corner=say("true class"),
            written=percent,
        )
    wrong = frame.filter(pl.col("class") != pl.col("predicted")).sort("rows", descending=True, maintain_order=True)
    top: list[list[str | Cell]] = [
        [row["class"], row["predicted"], count(row["rows"]), Cell(percent(row["share"]), share=row["share"])]
        for row in wrong.head(_CONFUSIONS_SHOWN).iter_rows(named=True)
    ]
    caption = say("The {n} most frequent confusions; all are in the report’s frame.", n=len(top))
    header = [say("class"), say("taken for"), say("rows"), say("share of the class")]
    return Table(caption, header, top, words=(0, 1))
