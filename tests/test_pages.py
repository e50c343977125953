"""Charts and pages: what a reader sees or hears, and that nothing of theirs is taken for markup."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from hybrid.charts import Bar, Series, bar_chart, line_chart
from hybrid.numerals import count, decimals_for, interval, number, percent
from hybrid.pages import Cell, Facts, Figure, KeyFigure, Page, Points, Section, Table, Text, render

EVIL = "</style><img src=x onerror=alert(1)>&\"'"


def marks(svg: str, tag: str, kind: str) -> list[dict[str, str]]:
    return [element.attrib for element in ElementTree.fromstring(svg).iter(tag) if element.get("class") == kind]


def test_bars_are_as_long_as_their_values() -> None:
    chart = bar_chart(
        [Bar("a", 2.0, 1.5, 2.5, "two"), Bar("b", -1.0, text="minus one", muted=True), Bar("c", math.nan)], title="Rise"
    )
    (long,), (short,) = marks(chart, "rect", "bar"), marks(chart, "rect", "bar muted")
    assert float(long["width"]) == pytest.approx(2 * float(short["width"]), rel=0.01)
    assert float(short["x"]) + float(short["width"]) == pytest.approx(float(long["x"]), abs=0.2)
    assert len(marks(chart, "path", "whisker")) == 1
    alternative = ElementTree.fromstring(chart).get("aria-label")
    assert alternative == "Rise. a two; b minus one; c n/a"


def test_points_lie_where_their_numbers_say() -> None:
    series = [Series("trials", [0.001, 0.01, 0.1, 0.0, math.nan], [1.0, 2.0, 3.0, 9.0, 9.0], mark="points")]
    dots = marks(line_chart(series, title="Rate", x_label="rate", y_label="loss", x_log=True), "circle", "dot")
    xs, ys = [float(d["cx"]) for d in dots], [float(d["cy"]) for d in dots]
    assert len(dots) == 3  # zero has no logarithm
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)
    assert ys[0] > ys[2]


def test_line_chart_describes_its_points() -> None:
    chart = line_chart(
        [Series("observed", [0.1, 0.2], [0.15, 0.25], [0.1, 0.2], [0.2, 0.3])], title="T", x_label="x", y_label="y"
    )
    alternative = ElementTree.fromstring(chart).get("aria-label") or ""
    assert "(0.1, 0.15 (0.1 to 0.2))" in alternative
    with pytest.raises(ValueError, match="4 series at most, not 5"):
        line_chart([Series("s", [1], [1])] * 5, title="T", x_label="x", y_label="y")


def test_charts_without_data_are_drawn() -> None:
    assert ElementTree.fromstring(bar_chart([], title="None")).tag == "svg"
    assert ElementTree.fromstring(line_chart([], title="None", x_label="x", y_label="y")).tag == "svg"


def test_every_text_of_a_page_is_escaped() -> None:
    chart = bar_chart([Bar(EVIL, 1.0, text=EVIL)], title=EVIL)
    line = line_chart([Series(EVIL, [1, 2], [1, 2])] * 2, title=EVIL, x_label=EVIL, y_label=EVIL)
    blocks = [
        Figure([chart, line], EVIL),
        Text([EVIL]),
        Points([(EVIL, EVIL)]),
        Facts({EVIL: {EVIL: EVIL}}),
        Table(EVIL, [EVIL, EVIL], [[EVIL, Cell(EVIL, EVIL, share=0.5, tone="bad")]]),
    ]
    html = render(Page(EVIL, EVIL, [EVIL], [KeyFigure(EVIL, EVIL, EVIL)], [Section(EVIL, blocks)] * 3))
    assert "<img" not in html
    assert html.count("</style>") == 1
    assert html.count("&lt;/style&gt;") >= 25


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (-2.5, "−2.5"),
        (1234567.0, "1\u202f234\u202f567"),
        (0.0, "0"),
        (math.nan, "n/a"),
        (-0.0, "0"),
        (2e-7, "2.00e−07"),
    ],
)
def test_numbers_read_well(value: float, text: str) -> None:
    assert number(value) == text


def test_digits_follow_the_interval() -> None:
    assert interval(0.21346, 0.2101, 0.2167, decimals=decimals_for([0.0066])) == "0.2135 (0.2101 to 0.2167)"
    assert interval(0.5, math.nan, math.nan, decimals=decimals_for([math.nan])) == "0.5000"
    assert number(-0.00001, decimals=2) == "0.00"
    assert count(12_345) == "12\u202f345"
    assert percent(0.0004) == "0.04\u202f%"
    assert percent(0.54) == "54\u202f%"
