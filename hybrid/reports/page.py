"""The importance report as a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl
from markupsafe import Markup

from hybrid.calibration import PREDICTED_CLASS
from hybrid.charts import Bar, Series, bar_chart, box, line_chart
from hybrid.languages import Sentence, gloss, message, paragraph, quoted, say, translated
from hybrid.matrix import Column
from hybrid.metrics import metric
from hybrid.numerals import count, decimals_for, decimals_to_scale, interval, number, percent, span
from hybrid.pages import (
    Block,
    Cell,
    Facts,
    Figure,
    KeyFigure,
    Page,
    Panel,
    Points,
    Section,
    Table,
    Tabs,
    Text,
    Tone,
)
from hybrid.reports.cautions import cautions
from hybrid.reports.effects import effects_blocks
from hybrid.reports.findings import answer
from hybrid.reports.importance import NOTHING_DROPPED, coordinate_runs
from hybrid.reports.interactions import interactions_block
from hybrid.reports.misses import misses_blocks
from hybrid.reports.mistakes import mistakes_panels
from hybrid.reports.ranking import ranking_block
from hybrid.reports.slices import slices_section
from hybrid.reports.tables import BASE_RATE, MODEL
from hybrid.reports.trust import trust_section
from hybrid.reports.verdicts import VERDICTS, Gap, GroupFinding, group_findings
from hybrid.reports.words import words_blocks

if TYPE_CHECKING:
    from hybrid.reports.report import ImportanceReport

METRIC_NAMES = {
    "log_loss": message("log loss"),
    "roc_auc": message("ROC AUC"),
    "average_precision": message("average precision"),
    "accuracy": message("accuracy"),
}
DIRECTION = message("Log loss: lower is better; all others: higher.")
TOP_COLUMNS = 30
TOP_CLASSES = 30
CLASSES_DRAWN = 6


def importance_page(report: ImportanceReport) -> Page:
    """The report as a page."""
    families = [Section(say("Families of behaviour features"), [_families_table(report)])]
    sections = [
        _metrics_section(report),
        Section(say("What to distrust"), [Points(cautions(report))]),
        _groups_section(report),
        _ablation_section(report),
        *(families if report.families.height else []),
        Section(say("Columns"), [_columns_table(report), *effects_blocks(report), *words_blocks(report)]),
        _errors_section(report),
        _calibration_section(report),
        slices_section(report),
        trust_section(report),
        Section(say("Where these numbers come from"), [Facts(_basis(report)), Facts(_provenance(report.provenance))]),
    ]
    return Page(say("Importance report"), translated(report.title), answer(report), _key_figures(report), sections)


def _key_figures(report: ImportanceReport) -> list[KeyFigure]:
    figures = []
    base = dict(report.metrics.filter(pl.col("model") == BASE_RATE).select("metric", "value").iter_rows())
    for row in report.metrics.filter(pl.col("model") == MODEL).iter_rows(named=True):
        digits = decimals_for([row["high"] - row["low"]])
        note = say("base rate {value}", value=number(base[row["metric"]], decimals=digits))
        if row["low"] == row["low"]:
            note = say("; ").join([span(row["low"], row["high"], decimals=digits), note])
        figures.append(KeyFigure(say(METRIC_NAMES[row["metric"]]), number(row["value"], decimals=digits), note))
    basis = report.basis
    note = (
        say("{n} classes", n=len(report.classes))
        if basis.row_groups is None
        else say("in {n} groups", n=count(basis.row_groups))
    )
    return [*figures, KeyFigure(say("rows"), count(basis.rows), note)]


def _comparison_table(frame: pl.DataFrame, caption: str, change: str) -> Table:
    """A frame of `report_tables.comparison`: values with intervals, and beside them the paired difference to the first row."""
    kind = frame.columns[0]
    metrics = frame["metric"].unique(maintain_order=True).to_list()
    reference = frame[kind].first()
    alone = frame.height == len(metrics)
    places = {}
    for name in metrics:
        of_metric = frame.filter(pl.col("metric") == name)
        places[name] = decimals_for(of_metric["high"] - of_metric["low"])
        places[name, "difference"] = decimals_for(of_metric["difference_high"] - of_metric["difference_low"])
    rows = []
    for (name,), part in frame.group_by(kind, maintain_order=True):
        cells: list[str | Cell] = [say("nothing (all groups)") if name == NOTHING_DROPPED else _row_name(str(name))]
        for row in part.iter_rows(named=True):
            value = Gap(row["value"], row["low"], row["high"])
            cells.append(_gap_cell(value, places[row["metric"]]))
            if not alone:
                own = places[row["metric"], "difference"]
                cells.append(_difference(row, own) if name != reference else Cell("–", tone="muted"))
        rows.append(cells)
    header = [say("left out") if kind == "dropped" else say("model")]
    for name in metrics:
        header += [say(METRIC_NAMES[name])] if alone else [say(METRIC_NAMES[name]), change]
    return Table(caption, header, rows)


def _row_name(name: str) -> str:
    """A model or a group; the report's own rows have their names translated whole."""
    return translated(name) if name in (MODEL, BASE_RATE) else gloss(name)


def _difference(row: Mapping[str, Any], places: int) -> Cell:
    gap = Gap(row["difference"], row["difference_low"], row["difference_high"])
    better = 1 if metric(row["metric"]).greater_is_better else -1
    tones: dict[int | None, Tone] = {better: "good", -better: "bad"}
    cell = _gap_cell(gap, places)
    text = f"+{cell.text}" if gap.value > 0 else cell.text
    return Cell(text, cell.note, tone=tones.get(gap.sign, "muted"), value=gap.value)


def _gap_cell(gap: Gap, places: int) -> Cell:
    return Cell(
        number(gap.value, decimals=places), "" if gap.sign is None else span(gap.low, gap.high, decimals=places)
    )


def _metrics_section(report: ImportanceReport) -> Section:
    sure = (
        say("Small print: 95 % intervals, over rows.")
        if report.basis.row_groups is None
        else say("Small print: 95 % intervals, over groups of rows.")
    )
    caption = [
        say("On {n} rows.", n=count(report.basis.rows)),
        sure,
        say("Differences: each model less the first, paired row by row."),
        say(DIRECTION),
        say("The base rate knows how frequent each class is in these rows, and nothing else."),
    ]
    return Section(say("How good it is"), [_comparison_table(report.metrics, paragraph(caption), say("difference"))])


def _ablation_section(report: ImportanceReport) -> Section:
    basis, title = report.basis, say("Without each group")
    if basis.no_ablation:
        return Section(title, [Text([say("No models were refitted: {why}.", why=say(basis.no_ablation))])])
    caption = [
        say(
            "Models like this one, {rounds} rounds each, trained and tested by cross-fitting in {folds} folds on {rows} of the report’s "
            "rows.",
            rounds=basis.rounds,
            folds=basis.ablation_folds,
            rows=count(basis.sampled_rows),
        ),
        say("Small print: 95 % intervals. Changes: less the model with all groups, paired row by row."),
        say(DIRECTION),
    ]
    return Section(title, [_comparison_table(report.ablation, paragraph(caption), say("change"))])


def _groups_section(report: ImportanceReport) -> Section:
    groups = group_findings(report)
    permuted = decimals_for(g.permutation.high - g.permutation.low for g in groups)
    ablated = decimals_for(g.ablation.high - g.ablation.low for g in groups if g.ablation)
    margin = decimals_to_scale(max(g.shap for g in groups))
    of_shap = {row["group"]: row for row in report.groups.iter_rows(named=True)}
    shares = [
        Bar(
            gloss(g.name),
            g.share,
            of_shap[g.name]["shap_share_low"],
            of_shap[g.name]["shap_share_high"],
            percent(g.share),
        )
        for g in groups
    ]
    charts = [
        bar_chart(shares, title=say("Moves the scores: share of SHAP")),
        bar_chart([_gap_bar(g.name, g.permutation, permuted) for g in groups], title=say("Shuffled: rise of log loss")),
    ]
    if any(g.ablation for g in groups):
        bars = [_gap_bar(g.name, g.ablation, ablated) for g in groups if g.ablation]
        charts.append(bar_chart(bars, title=say("Left out: rise of log loss")))
    basis = report.basis
    caption = say(
        "Three questions to the same groups. How much does it move the scores (SHAP, {shap_rows} rows)? What does the "
        "trained model lose when the group’s values come from other rows ({rows} rows, shuffles of each: {n})? What do models lose "
        "that never see it? Whiskers are 95 % intervals; a pale bar’s interval holds zero. About one interval in twenty misses the truth.",
        shap_rows=count(basis.shap_rows),
        rows=count(basis.sampled_rows),
        n=basis.n_repeats,
    )
    rows: list[list[str | Cell]] = [
        [
            gloss(group.name),
            Cell(
                percent(group.share),
                _share_note(of_shap[group.name], margin),
                share=group.share,
            ),
            _gap_cell(group.permutation, permuted),
            _p_value(of_shap[group.name]["permutation_p_adjusted"]),
            _gap_cell(group.ablation, ablated) if group.ablation else Cell(say("not tested"), tone="muted"),
            Cell(say(VERDICTS[group.verdict][0]), tone=_verdict_tone(group)),
            say(VERDICTS[group.verdict][1]),
        ]
        for group in groups
    ]
    header = [
        say("group"),
        say("share of SHAP"),
        say("shuffled"),
        "p",
        say("left out"),
        say("verdict"),
        say("what it means"),
    ]
    heading = say(
        "The same in figures, and what to do. Shuffled and left out: rise of the log loss. p: how often shuffling a group that the scores "
        "do not need would raise the loss as much, corrected for the number of groups (Holm). “Adds nothing” leaves room for no more than "
        "a twentieth of the model’s gain over the base rate."
    )
    blocks: list[Block] = [Figure(charts, caption), Table(heading, header, rows, words=(0, 5, 6))]
    if len(report.classes) > 2:
        blocks.append(_classes_table(report))
    if report.interactions.height:
        blocks.append(interactions_block(report))
    return Section(say("Which evidence carries it"), blocks)


def _classes_table(report: ImportanceReport) -> Table:
    """Shares of SHAP by class, the classes with the most rows first."""
    names = dict(zip(map(str, report.classes), report.basis.class_rows, strict=True))
    shown = sorted(names, key=lambda name: -names[name])[:TOP_CLASSES]
    groups = report.groups["group"].to_list()
    shares = {(row["class"], row["group"]): row["shap_share"] for row in report.by_class.iter_rows(named=True)}
    rows: list[list[str | Cell]] = [
        [name, *(Cell(percent(shares[name, group]), share=shares[name, group]) for group in groups)] for name in shown
    ]
    caption = [say("Share of SHAP in the margin of each class.")]
    if len(names) > TOP_CLASSES:
        caption.append(say("The {n} with the most rows; all are in the report’s frame.", n=TOP_CLASSES))
    return Table(paragraph(caption), [say("class"), *map(gloss, groups)], rows)


def _share_note(row: Mapping[str, Any], places: int) -> str:
    """The interval of a group's share of SHAP, and its SHAP in margin units."""
    size = say("{value} margin", value=f"{number(row['shap'], decimals=places)} {_error(row, places)}".strip())
    low, high = row["shap_share_low"], row["shap_share_high"]
    return size if low != low else say("; ").join([f"{span(100 * low, 100 * high, decimals=1)} %", size])


def _error(row: Mapping[str, Any], places: int) -> str:
    """Half the width of the 95 % interval of a mean |SHAP|; empty where there is none."""
    error = row["shap_error"]
    return "" if error != error else f"± {number(1.96 * error, decimals=places)}"


def _gap_bar(name: str, gap: Gap, places: int) -> Bar:
    text = interval(gap.value, gap.low, gap.high, decimals=places)
    return Bar(gloss(name), gap.value, gap.low, gap.high, text, muted=gap.sign == 0)


def _p_value(p: float) -> Cell:
    if p != p:
        return Cell(say("n/a"), tone="muted")
    text = "< 0.001" if p < 0.001 else number(p, decimals=3)
    return Cell(text, tone="" if p < 0.05 else "muted", value=p)


def _verdict_tone(group: GroupFinding) -> Tone:
    if group.verdict in ("keep", "used"):
        return "good"
    return "bad" if group.verdict in ("harmful", "misused") else "muted"


def _families_table(report: ImportanceReport) -> Table:
    """What each kind of behaviour feature adds, within its group."""
    total, top = max(float(report.columns["gain"].sum()), 1e-300), max([*report.families["shap"], 1e-300])
    places = decimals_to_scale(top)
    rows: list[list[str | Cell]] = [
        [
            row["family"],
            gloss(row["group"]),
            count(row["columns"]),
            Cell(number(row["shap"], decimals=places), _error(row, places), share=row["shap"] / top),
            percent(row["gain"] / total, decimals=1),
        ]
        for row in report.families.iter_rows(named=True)
    ]
    caption = say(
        "Columns that are computed alike stand together. SHAP: mean size of the sum of their contributions to the margin, over {rows} rows "
        "(±: 95 %); gain: share of all loss reduction in training.",
        rows=count(report.basis.shap_rows),
    )
    header = [say("family"), say("group"), say("columns"), say("mean |SHAP|"), say("gain")]
    return Table(caption, header, rows, words=(0, 1))


def _columns_table(report: ImportanceReport) -> Table:
    """The strongest columns; runs of coordinates stand as one row."""
    runs = report.coordinates.rename({"coordinates": "column"})
    alone = runs.group_by("group").agg(n=pl.len())
    runs = runs.join(alone, on="group", how="left").with_columns(
        column=pl.when(pl.col("n") == 1).then(pl.col("group")).otherwise(pl.col("column"))
    )
    runs_of = coordinate_runs(
        [Column(name, group) for name, group in report.columns.select("column", "group").iter_rows()]
    )
    single = (
        report.columns.with_row_index()
        .filter(~pl.col("index").is_in([i for _, run in runs_of for i in run]))
        .drop("index")
    )
    total = max(float(report.columns["gain"].sum()), 1e-300)
    spread = {row["column"]: _spread(row) for row in report.distributions.iter_rows(named=True)}
    shown = pl.concat(
        [single.head(TOP_COLUMNS).with_columns(columns=pl.lit(1, pl.Int64)), runs.drop("n")], how="diagonal"
    )
    shown = shown.sort("shap", descending=True, maintain_order=True)
    top = max([*shown["shap"], 1e-300])
    places = decimals_to_scale(top)
    rows: list[list[str | Cell]] = [
        [
            row["column"]
            if row["columns"] == 1
            else say("{name}: {n} coordinates", name=gloss(row["column"]), n=row["columns"]),
            gloss(row["group"]),
            Cell(number(row["shap"], decimals=places), _error(row, places), share=row["shap"] / top),
            percent(row["gain"] / total, decimals=1),
            spread.get(row["column"], Cell("–", tone="muted")),
        ]
        for row in shown.iter_rows(named=True)
    ]
    left = max(single.height - TOP_COLUMNS, 0)
    caption = [
        say("The {n} columns that move the scores most.", n=count(min(single.height, TOP_COLUMNS))),
        *([say("{n} weaker ones are not shown; all are in the report’s frame.", n=count(left))] if left else []),
        say(
            "SHAP: mean size of the contribution to the margin, over {rows} rows (±: 95 %); gain: share of all loss reduction in training.",
            rows=count(report.basis.shap_rows),
        ),
        say("Coordinates of an embedding mean nothing one by one and stand as one, with the SHAP of their sum."),
        say("Values: the median, and where nine tenths of them lie; the box is their middle half."),
    ]
    header = [say("column"), say("group"), say("mean |SHAP|"), say("gain"), say("values")]
    return Table(paragraph(caption), header, rows, words=(0, 1))


def _spread(row: Mapping[str, Any]) -> Cell:
    """The median of a column, and where nine tenths of its values lie."""
    missing = say("{share} missing", share=percent(row["missing"])) if row["missing"] else ""
    if row["median"] != row["median"]:
        return Cell("–", missing, tone="muted")
    nine_tenths = say("{low} to {high}", low=number(row["q05"]), high=number(row["q95"]))
    note = say(", ").join([nine_tenths, missing]) if missing else nine_tenths
    picture = box(row["q05"], row["q25"], row["median"], row["q75"], row["q95"])
    return Cell(number(row["median"]), note, picture=picture)


def _errors_section(report: ImportanceReport) -> Section:
    ranked: list[Panel] = [(say("Order within a query"), [ranking_block(report)])] if report.ranking.height else []
    worst: Panel = (say("Worst misses"), misses_blocks(report))
    return Section(say("Where it errs"), [Tabs([*ranked, *mistakes_panels(report), worst])])


def _calibration_section(report: ImportanceReport) -> Section:
    parts = report.calibration.partition_by("class", maintain_order=True)
    drawn = parts if len(parts) <= CLASSES_DRAWN + 1 else parts[:1]
    charts = [_calibration_chart(part) for part in drawn]
    first = parts[0]["class"][0]
    of = say("the class that each row is predicted as") if first == PREDICTED_CLASS else quoted(first)
    text = [
        say("When the model says 30 %, is it right 30 % of the time?"),
        say(
            "The probability of {label} is off by {points} percentage points on average (expected calibration error{interval}).",
            label=of,
            points=_in_points(report.expected_calibration_error),
            interval=_error_interval(report),
        ),
        say(
            "A perfectly calibrated model would show up to {points} on such rows, by chance.",
            points=_in_points(report.calibration_error_by_chance),
        ),
    ]
    caption = say(
        "Points: bins of equally many rows. On the dashed line, predicted and observed agree; above it, the model says too little, "
        "below it too much. Whiskers: 95 % Wilson intervals, rows taken as independent."
    )
    rows: list[list[str | Cell]] = [
        [
            percent(row["mean_predicted"], decimals=1),
            Cell(percent(row["observed"], decimals=1), f"{span(100 * row['low'], 100 * row['high'], decimals=1)} %"),
            count(row["rows"]),
        ]
        for row in parts[0].iter_rows(named=True)
    ]
    header = [say("mean predicted"), say("observed"), say("rows")]
    table = Table(say("The probability of {label}, in figures.", label=of), header, rows, words=())
    title = say("Can the probabilities be taken at their word?")
    return Section(
        title, [Text([paragraph(text)]), Tabs([(say("Chart"), [Figure(charts, caption)]), (say("Figures"), [table])])]
    )


def _in_points(share: float) -> str:
    return number(100 * share, decimals=1)


def _error_interval(report: ImportanceReport) -> str:
    low, high = report.expected_calibration_error_low, report.expected_calibration_error_high
    return "" if low != low else say(", 95 % interval {interval}", interval=span(100 * low, 100 * high, decimals=1))


def _calibration_chart(part: pl.DataFrame) -> Markup:
    series = Series(
        say("observed"),
        part["mean_predicted"].to_list(),
        part["observed"].to_list(),
        part["low"].to_list(),
        part["high"].to_list(),
    )
    name = part["class"][0]
    title = say("Right when sure?") if name == PREDICTED_CLASS else say("Observed share of {label}", label=quoted(name))
    return line_chart(
        [series],
        title=title,
        x_label=say("mean predicted probability"),
        y_label=say("observed share"),
        diagonal=True,
        height=320,
    )


def _basis(report: ImportanceReport) -> dict[str, str]:
    """What the numbers rest on, as facts."""
    basis = report.basis
    facts = {say("rows"): count(basis.rows)}
    if len(report.classes) <= 12:
        facts[say("rows of each class")] = ", ".join(
            f"{label}: {count(rows)}" for label, rows in zip(report.classes, basis.class_rows, strict=True)
        )
    else:
        facts[say("classes")] = count(len(report.classes))
    if basis.row_groups is None:
        facts[say("intervals go by")] = say("row")
        facts[say("rows of permutation and ablation")] = count(basis.sampled_rows)
    else:
        facts[say("intervals go by")] = say("group, {n} of them", n=count(basis.row_groups))
        facts[say("rows of permutation and ablation")] = say(
            "{rows}, of {n} groups", rows=count(basis.sampled_rows), n=count(basis.sampled_row_groups or 0)
        )
    facts[say("rows of SHAP")] = count(basis.shap_rows)
    facts[say("SHAP values sum to the scores")] = say(
        "within {gap}, the text head included", gap=number(basis.shap_gap)
    )
    facts[say("shuffles of each group")] = count(basis.n_repeats)
    facts[say("folds of the ablation")] = (
        count(basis.ablation_folds) if basis.ablation_folds else say("none: {why}", why=say(basis.no_ablation))
    )
    facts[say("boosting rounds")] = count(basis.rounds)
    return facts


def _provenance(entries: Mapping[str, Any]) -> dict[str, Any]:
    """What the report is told of its origin, in the page's language as far as the catalogue knows it."""
    return {translated(name): _told(value) for name, value in entries.items()}


def _told(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _provenance(value)
    return translated(value) if isinstance(value, str) else str(value) if isinstance(value, Sentence) else value
