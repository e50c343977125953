"""The tables of a report's page, read from its HTML, and what they must hold, from the report's frames."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import polars as pl
import pytest

from hybrid.reports import ImportanceReport

THIN = "\u202f"
NUMBER = re.compile(rf"n/a|−?\d[\d{THIN}]*(?:\.\d+)?(?:e−?\d+)?")
Expected = str | list[float] | None
"""Of a cell: its text, the numbers in it in their order, or nothing that a frame holds."""


class Tables(HTMLParser):
    """Caption (of a matrix: its label) and rows of each table; a row is the texts of its cells, that of the head left out."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, list[list[str]]]] = []
        self._caption, self._rows, self._text = "", [], []
        self._drawing = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._drawing += tag == "svg"
        if tag == "table":
            self._caption, self._rows = dict(attrs).get("aria-label") or "", []
        elif tag in ("thead", "tbody"):
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("caption", "th", "td"):
            self._text = []
        elif tag == "small":
            self._text.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._drawing:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._drawing -= tag == "svg"
        said = " ".join("".join(self._text).replace(THIN, "\0").split()).replace("\0", THIN)
        if tag == "caption":
            self._caption = said
        elif tag in ("th", "td"):
            self._rows[-1].append(said)
        elif tag == "table":
            self.found.append((self._caption, self._rows))


def check(html: str, report: ImportanceReport) -> set[str]:
    """Compare every table of the page with its frame, as far as digits are shown; the beginnings of the captions."""
    expected, seen = dict(tables(report)), set()
    for caption, rows in Tables(html).found:
        start = next((start for start in expected if caption.startswith(start)), None)
        assert start is not None, f"no frame is known of the table {caption!r}"
        seen.add(start)
        for shown, of_frame in zip(rows, expected[start], strict=True):
            for text, value in zip(shown, of_frame, strict=True):
                _compare(text, value, f"{start}: {shown}")
    assert seen == set(expected)
    return seen


def tables(report: ImportanceReport) -> Iterator[tuple[str, list[list[Expected]]]]:
    """How the caption of each table begins, and its cells."""
    many = len(report.classes) > 2
    yield f"On {_count(report.basis.rows)} rows.", _compared(report.metrics)
    left_out = dict(_compared_gaps(report.ablation))
    groups = [
        [
            row["group"],
            [
                100 * row["shap_share"],
                *(100 * end for end in (row["shap_share_low"], row["shap_share_high"])),
                row["shap"],
                1.96 * row["shap_error"],
            ],
            _with_ends(row["permutation"], row["permutation_low"], row["permutation_high"]),
            [max(row["permutation_p_adjusted"], 0.001)],
            left_out.get(row["group"], []),
            None,
            None,
        ]
        for row in report.groups.iter_rows(named=True)
    ]
    yield "The same in figures, and what to do.", groups
    names = report.groups["group"].to_list()
    strength = {
        frozenset((row["group"], row["other"])): row["interaction"] for row in report.interactions.iter_rows(named=True)
    }
    yield (
        "How strongly two groups work together",
        [[name, *([strength[frozenset((name, o))]] if o != name else [] for o in names)] for name in names],
    )
    if many:
        share = {(row["class"], row["group"]): 100 * row["shap_share"] for row in report.by_class.iter_rows(named=True)}
        ranked = sorted(zip(report.basis.class_rows, map(str, report.classes), strict=True), key=lambda one: -one[0])
        yield (
            "Share of SHAP in the margin of each class.",
            [[label, *([share[label, name]] for name in names)] for _, label in ranked],
        )
    if report.ablation.height:
        yield "Models like this one", _compared(report.ablation)
    yield from _columns(report, many)
    yield from _errors(report, many)
    for name in report.slices["slice"].unique(maintain_order=True):
        parts = report.slices.filter(slice=name).partition_by("part", maintain_order=True)
        yield (
            "Found by a shallow tree" if name == "found" else f"By {name}.",
            [
                [
                    part["part"][0],
                    [float(part["rows"][0])],
                    *(_with_ends(*ends) for ends in part.select("value", "low", "high").iter_rows()),
                ]
                for part in parts
            ],
        )
    yield from _trust(report)


def _columns(report: ImportanceReport, many: bool) -> Iterator[tuple[str, list[list[Expected]]]]:
    total = report.columns["gain"].sum()
    yield (
        "Columns that are computed alike",
        [
            [row["family"], row["group"], [row["columns"]], _shap(row), [100 * row["gain"] / total]]
            for row in report.families.iter_rows(named=True)
        ],
    )
    groups = report.columns["group"].is_in(report.coordinates["group"].to_list())
    in_runs = report.columns["column"].str.contains(r"__text_\d+$") & groups
    alone = report.columns.filter(~in_runs)
    spread = {row["column"]: row for row in report.distributions.iter_rows(named=True)}
    rows = [
        (row["shap"], [row["column"], row["group"], _shap(row), [100 * row["gain"] / total], _spread(spread, row)])
        for row in alone.head(30).iter_rows(named=True)
    ]
    for row in report.coordinates.iter_rows(named=True):
        name = f"{row['group']}: {row['columns']} coordinates"
        rows.append((row["shap"], [name, row["group"], _shap(row), [100 * row["gain"] / total], []]))
    yield f"The {min(alone.height, 30)} columns", [cells for _, cells in sorted(rows, key=lambda one: -one[0])]
    yield (
        "What the values of categorical columns do",
        [
            [row["value"], row["column"], [row["effect"]], [row["rows"]], *([row["class"]] if many else [])]
            for row in report.value_effects.iter_rows(named=True)
        ],
    )
    words: list[list[Expected]] = []
    for part in report.words.filter(pl.col("texts") >= 3).partition_by("role", maintain_order=True):
        part = part.sort("effect", descending=True, maintain_order=True)
        up, down = part.filter(pl.col("effect") > 0).head(10), part.filter(pl.col("effect") < 0).tail(10)
        words += [
            [row["word"], row["role"], [row["effect"]], [row["texts"]], *([row["class"]] if many else [])]
            for row in pl.concat([up, down]).iter_rows(named=True)
        ]
    yield "Words that push scores up, and down, most", words


def _errors(report: ImportanceReport, many: bool) -> Iterator[tuple[str, list[list[Expected]]]]:
    if report.ranking.height:
        yield "Order within a query", _compared(report.ranking)
    if many:
        labels = [str(label) for label in report.classes]
        share = {(row["class"], row["predicted"]): 100 * row["share"] for row in report.confusion.iter_rows(named=True)}
        rows_of = dict(zip(labels, report.basis.class_rows, strict=True))
        yield (
            "Of the rows of each class (down)",
            [
                [f"{true}: {_count(rows_of[true])} rows", *([share.get((true, o), 0.0)] for o in labels)]
                for true in labels
            ],
        )
    else:
        places = [
            int((report.thresholds["flagged"] - share).abs().arg_min() or 0)
            for share in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
        ]
        yield (
            "Some thresholds in figures.",
            [
                [[row["threshold"]], *([100 * row[name]] for name in ("flagged", "precision", "recall")), [row["cost"]]]
                for row in report.thresholds[list(dict.fromkeys(places))].iter_rows(named=True)
            ],
        )
        yield (
            "Gains and lift",
            [
                [[100 * row["share"]], [100 * row["captured"], 100 * row["low"], 100 * row["high"]], [row["lift"]]]
                for row in report.gains.filter(pl.col("share") <= 0.5).iter_rows(named=True)
            ],
        )
    if report.misses.height:
        yield (
            f"What the {report.examples.height} worst misses share",
            [
                [
                    f"{row['slice']}: {row['part']}",
                    [row["misses"]],
                    [100 * row["share"]],
                    [100 * row["share_of_rows"]],
                    [row["p_adjusted"]],
                ]
                for row in report.misses.head(10).iter_rows(named=True)
            ],
        )
    more = [name for name in report.examples.columns if name.startswith(("text: ", "slice: "))]
    yield (
        "The 20 worst of these misses",
        [
            [row["label"], row["predicted"], [100 * row["probability"]], *(row[name] or "–" for name in more)]
            for row in report.examples.head(20).iter_rows(named=True)
        ],
    )
    yield (
        "The probability of",
        [
            [[100 * row["mean_predicted"]], [100 * row[name] for name in ("observed", "low", "high")], [row["rows"]]]
            for row in report.calibration.filter(pl.col("class") == pl.col("class").first()).iter_rows(named=True)
        ],
    )


def _trust(report: ImportanceReport) -> Iterator[tuple[str, list[list[Expected]]]]:
    yield (
        "How well single columns order the label",
        [[row["column"], row["group"], [row["auc"]], None] for row in report.strength.head(15).iter_rows(named=True)],
    )
    yield (
        "Columns whose values have moved most",
        [
            [
                row["column"],
                row["group"],
                [row["psi"]],
                [100 * row["missing_then"], 100 * row["missing_now"]],
                None,
            ]
            for row in report.drift.head(15).iter_rows(named=True)
        ],
    )
    yield (
        "Can these rows be told from training rows?",
        [[row["group"], [row["auc"], row["low"], row["high"]]] for row in report.domains.iter_rows(named=True)],
    )
    if report.stability.height:
        yield (
            "Does the order of the groups depend on the rows?",
            [
                [
                    name,
                    *(
                        [100 * share, rank]
                        for share, rank in report.stability.filter(group=name).select("shap_share", "rank").iter_rows()
                    ),
                ]
                for name in report.stability.filter(fold=0)["group"]
            ],
        )


def _compared(frame: pl.DataFrame) -> list[list[Expected]]:
    """A row for each model, a value for each metric, and beside it the difference to the first model."""
    kind, first = frame.columns[0], frame[0, 0]
    rows: list[list[Expected]] = []
    for part in frame.partition_by(kind, maintain_order=True):
        cells: list[Expected] = ["nothing (all groups)" if part[0, 0] == "none" else part[0, 0]]
        for row in part.iter_rows(named=True):
            gap = _with_ends(row["difference"], row["difference_low"], row["difference_high"])
            cells += [_with_ends(row["value"], row["low"], row["high"]), [] if row[kind] == first else gap]
        rows.append(cells)
    return rows


def _compared_gaps(ablation: pl.DataFrame) -> Iterator[tuple[str, list[float]]]:
    for row in ablation.filter(metric="log_loss").iter_rows(named=True):
        yield row["dropped"], _with_ends(row["difference"], row["difference_low"], row["difference_high"])


def _with_ends(value: float, low: float, high: float) -> list[float]:
    return [value] if low != low else [value, low, high]


def _shap(row: dict[str, Any]) -> list[float]:
    return [row["shap"], 1.96 * row["shap_error"]]


def _spread(spread: dict[str, dict[str, Any]], row: dict[str, Any]) -> list[float]:
    found = spread.get(row["column"])
    if found is None:
        return []
    missing = [100 * found["missing"]] if found["missing"] else []
    known = [] if found["median"] != found["median"] else [found[name] for name in ("median", "q05", "q95")]
    return [*known, *missing]


def _count(n: int) -> str:
    return f"{n:,}".replace(",", THIN)


def _compare(text: str, expected: Expected, where: str) -> None:
    if isinstance(expected, str):
        assert text == expected, where
    elif expected is not None:
        shown = NUMBER.findall(text)
        assert len(shown) == len(expected), where
        for digits, value in zip(shown, expected, strict=True):
            _compare_number(digits.replace(THIN, "").replace("−", "-"), value, where)


def _compare_number(digits: str, value: float, where: str) -> None:
    """The value rounded to the digits that are shown."""
    if digits == "n/a":
        assert value != value, where
        return
    mantissa, _, power = digits.partition("e")
    unit = 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))
    assert float(digits) == pytest.approx(value, abs=0.5001 * unit), f"{where}: {digits} for {value}"
