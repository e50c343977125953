"""Charts and pages: what a reader sees or hears, and that nothing of theirs is taken for markup."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from hybrid.charts import Bar, Series, bar_chart, box, line_chart, spark
from hybrid.errors import PageError
from hybrid.numerals import count, decimals_for, interval, number, percent
from hybrid.pages import (
    LIMIT,
    Cell,
    Code,
    Details,
    Facts,
    Figure,
    KeyFigure,
    Matrix,
    Page,
    Points,
    Section,
    Table,
    Tabs,
    Text,
    render,
)

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
        Matrix(EVIL, [EVIL], [EVIL], [[1.0]], EVIL),
        Code(EVIL, EVIL),
        Details(EVIL, [Tabs([(EVIL, [Text([EVIL])])])]),
    ]
    html = render(Page(EVIL, EVIL, [EVIL], [KeyFigure(EVIL, EVIL, EVIL)], [Section(EVIL, blocks)] * 3))
    assert "<img" not in html
    assert html.count("</style>") == 1
    assert html.count("&lt;/style&gt;") >= 45
    anchors = re.findall(r'section id="([^"]*)"', html)
    assert len(anchors) == len(set(anchors)) == 3


def test_a_long_table_is_cut_to_keep_the_page_small() -> None:
    rows = [[f"item {i}", Cell(number(i / 7), "a long note " * 25, share=0.5)] for i in range(12_000)]
    short = Table("Short.", ["name"], [["one"]] * 19)
    blocks = [Details("More", [Table("Long.", ["item", "value"], rows)]), short]
    html = render(Page("Kind", "Title", [], [], [Section("All", blocks)]))
    assert 200_000 < len(html.encode()) <= LIMIT
    shown = html.count("item ")
    assert "item 0" in html
    assert f"Long. {count(12_000 - shown)} more rows were left out to keep the page small." in html
    assert html.count(">one<") == 19


def test_what_cannot_be_cut_is_refused_by_name() -> None:
    sections = [Section("Small", [Text(["a"])]), Section("Large", [Text(["long " * 20] * 60_000)])]
    with pytest.raises(PageError, match=r"may have 5,000,000; show less in its largest section, 'Large'"):
        render(Page("Kind", "Title", [], [], sections))


def test_endless_names_and_series_stay_short() -> None:
    endless = "name " * 100_000
    n = 50_000
    chart = line_chart([Series(endless, range(n), range(n), mark="points")], title="T", x_label="x", y_label="y")
    bars = bar_chart([Bar(endless, 1.0)], title="T")
    html = render(
        Page("K", "T", [], [], [Section("S", [Figure([chart, bars], ""), Table("", [endless], [[endless]])])])
    )
    assert len(html) < 500_000
    xs = [float(d["cx"]) for d in marks(chart, "circle", "dot")]
    assert xs[0] < 60
    assert xs[-1] > 300  # from the first point to the last


def test_shades_follow_size_and_sign() -> None:
    matrix = Matrix("M", ["a"], ["b", "c", "d", "e"], [[4.0, -2.0, 0.0, math.nan]])
    assert matrix.cells == [[("4", "shade-8"), ("−2", "shade-4 below"), ("0", "shade-0"), ("", "")]]
    assert "blue above zero, orange below" in render(Page("K", "T", [], [], [Section("S", [matrix])]))


def test_a_small_distribution_has_a_bar_a_bin_and_says_its_shares() -> None:
    picture = spark([1, 0, 3, math.nan])
    heights = [float(bar["height"]) for bar in marks(picture, "rect", "bar")]
    assert heights == [pytest.approx(19 / 3, abs=0.1), 0, 19, 0]
    alternative = ElementTree.fromstring(picture).get("aria-label") or ""
    assert alternative.endswith("25\u202f%, 0\u202f%, 75\u202f%, 0\u202f%")


def test_a_box_stands_where_its_quantiles_lie() -> None:
    picture = box(0, 2, 3, 5, 10)
    (middle,), (median,) = marks(picture, "rect", "middle"), marks(picture, "line", "median")
    (whole,) = marks(picture, "line", "zero")
    length = float(whole["x2"]) - float(whole["x1"])
    assert float(middle["width"]) == pytest.approx(0.3 * length, abs=0.1)
    assert float(median["x1"]) - float(whole["x1"]) == pytest.approx(0.3 * length, abs=0.1)
    assert not box(1, 1, 1, 1, 1)
    assert not box(*[math.nan] * 5)


@pytest.mark.parametrize(
    ("cell", "rank"),
    [
        (Cell(count(1200)), "1200"),
        (Cell(percent(0.25)), "0.25"),
        (Cell(interval(-2.5, -3, -2, decimals=1)), "-2.5"),
        (Cell(number(math.nan)), ""),
        (Cell("+0.3", value=0.3), "0.3"),
        (Cell("words"), ""),
    ],
)
def test_cells_carry_the_value_that_they_sort_by(cell: Cell, rank: str) -> None:
    html = render(Page("K", "T", [], [], [Section("S", [Table("C", ["a", "b"], [["row", cell]])])]))
    assert re.findall(r'data-value="([^"]*)"', html) == ([rank] if rank else [])


def test_series_differ_in_more_than_colour() -> None:
    series = [Series(f"s{i}", [1, 2], [1, 2], mark="points") for i in range(4)]
    tree = ElementTree.fromstring(line_chart(series, title="T", x_label="x", y_label="y"))
    shapes = {(e.tag, re.sub(r"^M\S+ [\d.]+", "", e.get("d", ""))) for e in tree.iter() if e.get("class") == "dot"}
    assert len(shapes) == 4


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
