"""Where the model is better or worse: its metrics on parts of the rows, those that the user declared and those that a tree finds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from sklearn.tree import DecisionTreeRegressor

from hybrid.holdout import assign_folds
from hybrid.languages import gloss, message, paragraph, say
from hybrid.matrix import TEXT_HEAD, FeatureMatrix
from hybrid.metrics import row_losses
from hybrid.numerals import count, decimals_for, listed, number, span
from hybrid.pages import Cell, Panel, Section, Table, Tabs, Text, Tone
from hybrid.reports.importance import coordinate_runs
from hybrid.reports.inference import Ordering, Statistic, holm, mean

if TYPE_CHECKING:
    from hybrid.reports.report import ImportanceReport

ROWS = 200_000
"""Rows of the slices at most."""
MISSING, OTHER = "missing", "other values"
FOUND = "found"
"""Name of the slices that a tree found."""
FEWEST_ROWS = 50
"""A part of fewer rows is not shown on its own: its interval would say nothing, and it could name a person."""
MOST_PARTS = 20
_NUMERIC_PARTS = 5
_MOST_PERIODS = 12
_PERIODS = ("1h", "6h", "1d", "1w", "1mo", "3mo", "1y")
_LEAVES, _DEPTH = 6, 3
_RANGE = re.compile(r"(-?[\d.]+(?:e[+-]?\d+)?) to (-?[\d.]+(?:e[+-]?\d+)?)")

SCHEMA = {
    "slice": pl.String,
    "part": pl.String,
    "rows": pl.Int64,
    "metric": pl.String,
    **dict.fromkeys(("value", "low", "high"), pl.Float64),
    **dict.fromkeys(
        ("difference", "difference_low", "difference_high", "difference_p", "difference_p_adjusted"), pl.Float64
    ),
}


@dataclass(frozen=True)
class ScoredRows:
    """Labelled rows with the model's probabilities.

    Parameters
    ----------
    y : numpy.ndarray of int64, shape (n_rows,)
        Class codes.
    proba : numpy.ndarray of float32, shape (n_rows, n_classes)
    groups : numpy.ndarray of int64, shape (n_rows,), optional
        Codes of what counts as one.
    """

    y: np.ndarray
    proba: np.ndarray
    groups: np.ndarray | None

    def rows(self, index: np.ndarray) -> ScoredRows:
        """Those at ``index``."""
        return ScoredRows(self.y[index], self.proba[index], None if self.groups is None else self.groups[index])


def parts_of(column: pl.Series) -> pl.Series:
    """Cut a column into parts that can be named, an Enum in the order of reading.

    Numbers of more than 20 values fall into fifths, times into calendar periods, of other values the 20 most frequent stay. What has fewer
    than 50 rows is "other values", a null is "missing".
    """
    if column.dtype.is_float():
        column = column.fill_nan(None)
    if column.dtype.is_temporal():
        named = _periods(column)
        order = named.drop_nulls().unique().sort().to_list()
    elif column.dtype.is_numeric() and column.n_unique() > MOST_PARTS:
        named, order = _fifths(column)
    else:
        named = column.cast(pl.String)
        by_rows = named.rename("part").drop_nulls().value_counts(name="rows")
        order = by_rows.sort("rows", "part", descending=[True, False])["part"].head(MOST_PARTS).to_list()
        if column.dtype.is_numeric() or column.dtype == pl.Boolean:
            order.sort(key=lambda part: float(column[named.index_of(part) or 0]))
    rows = dict(named.rename("part").value_counts(name="rows").iter_rows())
    kept = [part for part in order if rows.get(part, 0) >= FEWEST_ROWS]
    ends = [end for end in (OTHER, MISSING) if end not in kept]
    part = pl.col("part")
    shown = pl.when(part.is_null()).then(pl.lit(MISSING)).when(part.is_in(kept)).then(part).otherwise(pl.lit(OTHER))
    return pl.DataFrame({"part": named}).select(shown.cast(pl.Enum([*kept, *ends])).alias(column.name))[column.name]


def categories_of(part: pl.Series) -> list[str]:
    """The parts of a slice in the order of reading."""
    assert isinstance(part.dtype, pl.Enum)
    return list(part.dtype.categories)


def _fifths(column: pl.Series) -> tuple[pl.Series, list[str]]:
    """Parts of about equally many rows, and their order: "3 to 5.5" holds what is above 3 and at most 5.5."""
    values = column.cast(pl.Float64).to_numpy()
    edges = np.unique(np.nanquantile(values, np.linspace(0, 1, _NUMERIC_PARTS + 1), method="inverted_cdf"))
    names = [f"{low:.6g} to {high:.6g}" for low, high in pairwise(edges)]
    names = list(dict.fromkeys(names or [f"{edges[0]:.6g}"]))
    code = np.minimum(np.searchsorted(edges[1:-1], values, side="left"), len(names) - 1)
    code = np.where(np.isnan(values), len(names), code)
    return pl.Series("part", [*names, None], dtype=pl.String).gather(code), names


def _periods(column: pl.Series) -> pl.Series:
    """The beginning of each row's calendar period, the shortest that makes 12 periods at most."""
    times = column.cast(pl.Datetime("us")) if column.dtype == pl.Date else column
    for period in _PERIODS:
        cut = times.dt.truncate(period)
        if cut.n_unique() <= _MOST_PERIODS:
            break
    written = cut.dt.strftime("%Y-%m-%d" if period.endswith(("d", "w", "mo", "y")) else "%Y-%m-%d %H:%M")
    return written.alias(column.name)


def part_name(slice_name: str, part: str) -> str:
    """What a reader sees of a part: ranges and the conditions of a found part are translated, names from the data are not.

    Examples
    --------
    >>> from hybrid.languages import speaking
    >>> with speaking("zh"):
    ...     part_name("price", "3 to 5.5"), part_name(FOUND, "price > 5 or missing, colour ≠ red")
    ('3 至 5.5', 'price > 5 或缺失, colour ≠ red')
    """
    if slice_name == FOUND:
        return ", ".join(_condition_said(condition) for condition in part.split(", "))
    return _value_name(part)


def _value_name(part: str) -> str:
    ends = _RANGE.fullmatch(part)
    return gloss(part) if ends is None else say("{low} to {high}", low=ends[1], high=ends[2])


def _condition_said(written: str) -> str:
    if found := re.fullmatch(r"(.+ [=≠]) (.+)", written):
        return f"{found[1]} {_value_name(found[2])}"
    if found := re.fullmatch(r"(.+ [≤>] \S+) or missing", written):
        return say("{condition} or missing", condition=found[1])
    if found := re.fullmatch(r"(.+) (missing|known)", written):
        return say("{name} missing", name=found[1]) if found[2] == "missing" else say("{name} known", name=found[1])
    return written


def slice_table(scored: ScoredRows, slices: Sequence[pl.Series]) -> pl.DataFrame:
    """The model's metrics on each part of each slice, beside all other rows.

    Parameters
    ----------
    scored : ScoredRows
    slices : sequence of polars.Series of n_rows parts
        Each from `parts_of`; parts of fewer than 50 rows are left out.

    Returns
    -------
    polars.DataFrame
        See ``ImportanceReport.slices``; without the correction of `corrected`.
    """
    measured = _Measured(scored)
    rows = []
    for column in slices:
        code, parts = column.to_physical().to_numpy(), categories_of(column)
        for place, name in enumerate(parts):
            inside = code == place
            if inside.sum() < FEWEST_ROWS:
                continue
            rows += [(column.name, name, *numbers) for numbers in measured.compare(inside)]
    return pl.DataFrame(
        rows, schema={name: kind for name, kind in SCHEMA.items() if name != "difference_p_adjusted"}, orient="row"
    )


def corrected(table: pl.DataFrame) -> pl.DataFrame:
    """The table with p-values corrected for the number of parts, each metric on its own."""
    parts = [
        part.with_columns(difference_p_adjusted=pl.Series(holm(part["difference_p"].to_numpy()), dtype=pl.Float64))
        for part in table.with_row_index().partition_by("metric", maintain_order=True)
    ]
    if not parts:
        return pl.DataFrame(schema=SCHEMA)
    return pl.concat(parts).sort("index").drop("index")


def weak_slices(
    scored: ScoredRows, matrix: FeatureMatrix, slices: Sequence[pl.Series], random_state: int
) -> pl.DataFrame:
    """The parts of the rows where the loss is highest, as a shallow tree on it finds them.

    The tree (depth 3, 6 leaves at most) learns from half of the rows, whole groups of them, and its leaves are measured on the other half,
    so that what chance made is not found. It reads numbers that a reader can name: no coordinates of embeddings, no logits of the head,
    no codes of categories, but the parts of the declared slices.

    Returns
    -------
    polars.DataFrame
        As `slice_table`, with the slice "found" and the conditions as the part; leaves of a higher loss than the rest.
    """
    values, names = _readable(matrix, slices)
    halves = assign_folds(scored.y, scored.groups, 2, random_state)
    learn, judge = np.flatnonzero(halves == 0), np.flatnonzero(halves == 1)
    least = max(FEWEST_ROWS, len(learn) // 50)
    none = slice_table(scored, [])
    if not names or len(learn) < 2 * least or len(judge) < 2 * least:
        return none
    tree = DecisionTreeRegressor(
        max_depth=_DEPTH, max_leaf_nodes=_LEAVES, min_samples_leaf=least, random_state=random_state
    )
    tree.fit(values[learn], row_losses(scored.y[learn], scored.proba[learn]))
    gaps = np.isnan(values).any(axis=0)
    conditions = dict(_conditions(tree, names, gaps))
    if len(conditions) < 2:
        return none
    leaf = pl.Series(FOUND, [conditions[node] for node in tree.apply(values[judge]).tolist()])
    leaf = leaf.cast(pl.Enum(list(conditions.values())))
    found = slice_table(scored.rows(judge), [leaf])
    worse = found.filter((pl.col("metric") == "log_loss") & (pl.col("difference") > 0)).sort(
        "difference", descending=True
    )
    order = worse.select("part").with_row_index("order")
    return (
        found.join(order, on="part", how="inner", maintain_order="left")
        .sort("order", maintain_order=True)
        .drop("order")
    )


def slices_section(report: ImportanceReport) -> Section:
    """Slice by slice, with what is clearly worse named first."""
    frame, title = report.slices, say("Where it is better or worse")
    if frame.is_empty():
        return Section(title, [Text([say("No slices were declared, and no weak one was found.")])])
    drawn = report.basis.slice_rows
    sample = [say("From {n} of {all} rows.", n=count(drawn), all=count(report.basis.rows))]
    how = say(
        "Small print: 95 % intervals. Worse, better: clearly so than all other rows, p < 0.05 after correction for the number of parts. "
        "Bias: mean prediction less what was observed."
    )
    panels: list[Panel] = [
        (_title(part["slice"][0]), [_slice_table(part)]) for part in frame.partition_by("slice", maintain_order=True)
    ]
    return Section(
        title, [Text([_worse(frame), paragraph([*(sample if drawn < report.basis.rows else []), how])]), Tabs(panels)]
    )


def _worse(frame: pl.DataFrame) -> str:
    losses = frame.filter(pl.col("metric") == "log_loss")
    clear = losses.filter((pl.col("difference_p_adjusted") < 0.05) & (pl.col("difference") > 0))
    parts = count(losses.select("slice", "part").unique().height)
    if clear.is_empty():
        return say("Of {n} parts, none has a log loss that is clearly above that of all other rows.", n=parts)
    worst = clear.sort("difference", descending=True, maintain_order=True).head(5)
    named = [
        say(
            "“{slice}: {part}” (by {value})",
            slice=_title(row["slice"]),
            part=part_name(row["slice"], row["part"]),
            value=number(row["difference"], decimals=3),
        )
        for row in worst.iter_rows(named=True)
    ]
    if clear.height > worst.height:
        named.append(say("{n} more", n=count(clear.height - worst.height)))
    return paragraph(
        [
            say(
                "Of {n} parts, the log loss is clearly above that of all other rows in {parts}.",
                n=parts,
                parts=listed(named),
            ),
            say(
                "A higher loss need not be a fault: where outcomes are less certain, any model’s is higher. A bias is one."
            ),
        ]
    )


_NAMES = {
    "log_loss": message("log loss"),
    "roc_auc": message("ROC AUC"),
    "accuracy": message("accuracy"),
    "bias": message("bias"),
}


def _slice_table(frame: pl.DataFrame) -> Table:
    name = frame["slice"][0]
    metrics = frame["metric"].unique(maintain_order=True).to_list()
    places = {
        metric: decimals_for(
            [high - low for high, low in frame.filter(metric=metric).select("high", "low").iter_rows()]
        )
        for metric in metrics
    }
    rows: list[list[str | Cell]] = []
    for part in frame.partition_by("part", maintain_order=True):
        cells: list[str | Cell] = [part_name(name, part["part"][0]), count(part["rows"][0])]
        for row in part.iter_rows(named=True):
            digits = places[row["metric"]]
            tone = _tone(row)
            notes = [] if row["low"] != row["low"] else [span(row["low"], row["high"], decimals=digits)]
            if tone:
                notes.append(
                    say("biased") if row["metric"] == "bias" else say("worse") if tone == "bad" else say("better")
                )
            cells.append(Cell(number(row["value"], decimals=digits), say(", ").join(notes), tone=tone))
        rows.append(cells)
    caption = (
        say("Found by a shallow tree on the loss of half of the rows; the numbers are of the other half.")
        if name == FOUND
        else say("By {slice}.", slice=gloss(name))
    )
    header = [say("part"), say("rows"), *(say(_NAMES[metric]) for metric in metrics)]
    return Table(caption, header, rows)


def _title(name: str) -> str:
    return say("Weak slices") if name == FOUND else gloss(name)


def _tone(row: dict[str, float]) -> Tone:
    if not row["difference_p_adjusted"] < 0.05:
        return ""
    if row["metric"] == "bias":
        return "bad" if row["low"] > 0 or row["high"] < 0 else ""
    worse = row["difference"] > 0 if row["metric"] == "log_loss" else row["difference"] < 0
    return "bad" if worse else "good"


class _Measured:
    """The metrics of any part of the rows, each with its error."""

    def __init__(self, scored: ScoredRows) -> None:
        self._scored = scored
        self._binary = scored.proba.shape[1] == 2
        loss = row_losses(scored.y, scored.proba)
        if self._binary:
            said, observed = scored.proba[:, 1].astype(np.float64), scored.y == 1
        else:
            said, observed = scored.proba.max(axis=1).astype(np.float64), scored.proba.argmax(axis=1) == scored.y
        self._ordering = Ordering(observed, said)
        self._means = {"log_loss": loss, "accuracy": observed.astype(np.float64), "bias": said - observed}

    def compare(self, inside: np.ndarray) -> Iterator[tuple[int | str | float, ...]]:
        """Rows, metric, value, low, high, difference to the rest, its ends and its p-value."""
        n, groups = int(inside.sum()), self._scored.groups
        bounds = {"log_loss": (0.0, np.inf), "roc_auc": (0.0, 1.0), "accuracy": (0.0, 1.0), "bias": (-1.0, 1.0)}
        for metric in ("log_loss", "roc_auc" if self._binary else "accuracy", "bias"):
            own, rest = self._statistic(metric, inside), self._statistic(metric, ~inside)
            value, gap = own.estimate(groups), (own - rest).estimate(groups)
            yield n, metric, value.value, *value.interval(*bounds[metric]), gap.value, *gap.interval(), gap.p_not_zero

    def _statistic(self, metric: str, inside: np.ndarray) -> Statistic:
        if metric == "roc_auc":
            return self._ordering.roc_auc(inside)
        return mean(self._means[metric], inside)


def _readable(matrix: FeatureMatrix, slices: Sequence[pl.Series]) -> tuple[np.ndarray, list[tuple[str, str | None]]]:
    """Columns that the tree may read, and for each its name and, of a slice, its part."""
    coordinates = {int(i) for _, run in coordinate_runs(matrix.columns) for i in run}
    kept = [
        i
        for i, column in enumerate(matrix.columns)
        if i not in coordinates and not column.categories and column.group != TEXT_HEAD
    ]
    values = matrix.numpy()[:, kept]
    names: list[tuple[str, str | None]] = [(matrix.columns[i].name, None) for i in kept]
    indicators = []
    for column in slices:
        for part in categories_of(column):
            indicators.append((column == part).to_numpy().astype(np.float32)[:, None])
            names.append((column.name, part))
    return np.hstack([values, *indicators]), names


@dataclass(frozen=True)
class _Step:
    """One turn on the way to a leaf."""

    feature: int
    left: bool
    threshold: float
    takes_missing: bool


def _conditions(
    tree: DecisionTreeRegressor, names: list[tuple[str, str | None]], gaps: np.ndarray
) -> Iterator[tuple[int, str]]:
    """Each leaf with its conditions, those of one column merged; ``gaps`` says which columns have missing values."""
    grown = tree.tree_
    paths: list[tuple[int, list[_Step]]] = [(0, [])]
    while paths:
        node, path = paths.pop()
        if grown.children_left[node] < 0:
            yield node, _written(path, names)
            continue
        feature, threshold = int(grown.feature[node]), float(grown.threshold[node])
        missing_left = bool(grown.missing_go_to_left[node])
        for left, child in ((True, grown.children_left[node]), (False, grown.children_right[node])):
            step = _Step(feature, left, threshold, bool(gaps[feature]) and left == missing_left)
            paths.append((int(child), [*path, step]))


def _written(path: list[_Step], names: list[tuple[str, str | None]]) -> str:
    said = []
    for feature in dict.fromkeys(step.feature for step in path):
        steps = [step for step in path if step.feature == feature]
        name, part = names[feature]
        below = [step.threshold for step in steps if step.left]
        above = [step.threshold for step in steps if not step.left]
        finite = [threshold for threshold in below if threshold < np.inf]
        missing = " or missing" if all(step.takes_missing for step in steps) else ""
        if part is not None:
            said.append(f"{name} {'≠' if below else '='} {part}")
        elif np.inf in above:  # so scikit-learn 1.9 parts what is missing, on the right, from what is known
            said.append(f"{name} missing")
        elif not above and not finite:
            said.append(f"{name} known")
        elif above and finite:
            said.append(f"{max(above):.4g} < {name} ≤ {min(finite):.4g}{missing}")
        else:
            said.append(f"{name} ≤ {min(finite):.4g}{missing}" if finite else f"{name} > {max(above):.4g}{missing}")
    return ", ".join(said)
