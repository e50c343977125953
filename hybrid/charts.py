"""Charts as inline SVG: bars with whiskers, lines or points on two axes, and small distributions for the cells of a table.

Each function returns markup for `hybrid.pages`. A chart takes the page's colours, prints, and needs no script. It is 360 units wide, so
that text keeps its size on a phone; put several in one figure to have them side by side on a wide screen. Hovering a mark shows its
numbers, and each chart carries a text alternative. Series differ in colour and in the shape of their marks or the dashes of their lines.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from markupsafe import Markup

from hybrid.languages import say
from hybrid.numerals import count, number, percent

WIDTH = 360
SERIES_CLASSES = 4
POINTS_DRAWN = 1_500
LABEL = 160
"""Longest label, in Latin characters, in a chart's text alternative."""


@dataclass(frozen=True)
class Bar:
    """One bar.

    Parameters
    ----------
    label : str
    value : float
        NaN draws no bar.
    low, high : float, optional
        Ends of a whisker.
    text : str
        The value as words, at the right of the label.
    muted : bool, default False
        Draw it pale: a value that cannot be told from zero.
    """

    label: str
    value: float
    low: float = math.nan
    high: float = math.nan
    text: str = ""
    muted: bool = False


@dataclass(frozen=True)
class Series:
    """One series of a line chart.

    Parameters
    ----------
    name : str
        Shown in the legend when there are several.
    x, y : sequences of float, same length
        Entries that are not finite are left out.
    low, high : sequences of float, default empty
        Ends of the whiskers on y.
    mark : {"line", "points", "both", "step"}, default "both"
        ``step`` holds each value until the next one.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    mark: Literal["line", "points", "both", "step"] = "both"


def bar_chart(bars: Sequence[Bar], *, title: str) -> Markup:
    """Draw horizontal bars from zero, in the given order, each with its label and text above it.

    Parameters
    ----------
    bars : sequence of Bar
    title : str
        Heading of the chart, and the start of its text alternative.

    Returns
    -------
    markupsafe.Markup
        One ``<svg>`` element.
    """
    row, top = 42, 34
    height = top + row * len(bars) + 24
    values = [v for bar in bars for v in (bar.value, bar.low, bar.high) if math.isfinite(v)]
    ticks = _ticks(min([0.0, *values]), max([0.0, *values]), 4)
    low, high = min([ticks[0], *values]), max([ticks[-1], *values])

    def x(value: float) -> float:
        return 6 + (WIDTH - 12) * (value - low) / ((high - low) or 1.0)

    described = "; ".join(f"{shorten(bar.label, LABEL)} {bar.text or number(bar.value)}" for bar in bars)
    svg = _svg(height, f"{title}. {described}")
    _text(svg, 0, 14, title, "chart-title")
    floor = top + row * len(bars)
    _axis_x(svg, ticks, x, top, floor)
    _tag(svg, "line", **{"class": "zero"}, x1=x(0), x2=x(0), y1=top, y2=floor)
    for i, bar in enumerate(bars):
        y = top + row * i
        group = _tag(svg, "g")
        _tag(group, "title").text = f"{shorten(bar.label, LABEL)}: {bar.text or number(bar.value)}"
        room = WIDTH - 8 - 6.4 * _width(bar.text)
        _text(group, 0, y + 14, shorten(bar.label, int(room / 7)), "label")
        _text(group, WIDTH, y + 14, bar.text, "value", anchor="end")
        _tag(group, "rect", x=0, y=y, width=WIDTH, height=row, fill="transparent")
        if math.isfinite(bar.value):
            left, right = sorted((x(0.0), x(bar.value)))
            kind = "bar muted" if bar.muted else "bar"
            _tag(group, "rect", **{"class": kind}, x=left, y=y + 20, width=max(right - left, 0.5), height=12, rx=1.5)
        if math.isfinite(bar.low) and math.isfinite(bar.high):
            _whisker(group, (x(bar.low), y + 26), (x(bar.high), y + 26))
    return _markup(svg)


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    diagonal: bool = False,
    x_log: bool = False,
    height: int = 300,
) -> Markup:
    """Draw lines or points on two axes.

    Parameters
    ----------
    series : sequence of Series
        At most four; the first has the page's accent colour.
    title : str
        Heading of the chart, and the start of its text alternative.
    x_label, y_label : str
    diagonal : bool, default False
        Draw the line y = x, for calibration.
    x_log : bool, default False
        A logarithmic x axis; entries of zero and below are left out.
    height : int, default 300
        In units of the chart's width of 360.

    Returns
    -------
    markupsafe.Markup
        One ``<svg>`` element.
    """
    if len(series) > SERIES_CLASSES:
        raise ValueError(f"a line chart holds {SERIES_CLASSES} series at most, not {len(series)}")
    points = [_thinned(_finite(s, x_log)) for s in series]
    xs = [p[0] for part in points for p in part]
    ys = [v for part in points for p in part for v in p[1:] if math.isfinite(v)]
    x_ticks = _ticks(min(xs, default=0.0), max(xs, default=1.0), 5)
    y_ticks = _ticks(min(ys, default=0.0), max(ys, default=1.0), 5)
    if diagonal:
        x_ticks = y_ticks = _ticks(min([*xs, *ys], default=0.0), max([*xs, *ys], default=1.0), 5)
    legend = len(series) > 1
    keys = _legend(series) if legend else []
    left = 14 + 6.4 * max(len(_tick_text(t, y_ticks)) for t in y_ticks)
    right, top, floor = WIDTH - 10, 46 + 16 * (1 + keys[-1][1] if keys else 0), height - 38

    def x(value: float) -> float:
        return left + (right - left) * (value - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])

    def y(value: float) -> float:
        return floor - (floor - top) * (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])

    described = "; ".join(_describe(s, part, x_log) for s, part in zip(series, points, strict=True))
    axes = say("Horizontal: {x}; vertical: {y}.", x=x_label, y=y_label)
    svg = _svg(height, f"{title}. {axes} {described}")
    _text(svg, 0, 14, title, "chart-title")
    _text(svg, 0, top - 12, y_label, "tick")
    _text(svg, right, height - 4, x_label, "tick", anchor="end")
    _axis_x(svg, x_ticks, x, top, floor, log=x_log)
    for tick in y_ticks:
        _tag(svg, "line", **{"class": "grid"}, x1=left, x2=right, y1=y(tick), y2=y(tick))
        _text(svg, left - 6, y(tick) + 4, _tick_text(tick, y_ticks), "tick", anchor="end")
    if diagonal:
        ends = x_ticks[0], x_ticks[-1]
        _tag(svg, "line", **{"class": "diagonal"}, x1=x(ends[0]), y1=y(ends[0]), x2=x(ends[1]), y2=y(ends[1]))
    for i, (s, part) in enumerate(zip(series, points, strict=True)):
        group = _tag(svg, "g", **{"class": f"series s{i}"})
        if keys:
            at, row, name = keys[i]
            _key(group, i, s, at, 29 + 16 * row)
            _text(svg, at + 24, 33 + 16 * row, name, "tick")
        placed = [(x(px), y(py), y(low), y(high)) for px, py, low, high in part]
        _draw(group, i, s, placed, [_point(p, x_log) for p in part])
    return _markup(svg)


def spark(heights: Sequence[float]) -> Markup:
    """Draw a small distribution for the cell of a table: one bar a bin, without axes.

    Parameters
    ----------
    heights : sequence of float
        Counts or shares of bins of equal width, in order; NaN counts as zero.

    Returns
    -------
    markupsafe.Markup
        One ``<svg>`` element, 6 units wide a bar and 20 high.
    """
    finite = [max(height, 0.0) if math.isfinite(height) else 0.0 for height in heights]
    whole, top = sum(finite) or 1.0, max(finite, default=0.0) or 1.0
    shares = ", ".join(percent(height / whole) for height in finite)
    svg = _picture(6 * len(finite), say("Share of rows in bins of equal width: {shares}", shares=shares))
    for i, height in enumerate(finite):
        tall = max(19 * height / top, 0.8) if height else 0.0
        _tag(svg, "rect", **{"class": "bar"}, x=6 * i, y=19 - tall, width=5, height=tall)
    _tag(svg, "line", **{"class": "zero"}, x1=0, x2=6 * len(finite), y1=19.5, y2=19.5)
    return _markup(svg)


def box(low: float, lower: float, median: float, upper: float, high: float) -> Markup:
    """Draw where the values of a column lie, for the cell of a table: a line from ``low`` to ``high``, a box for the middle half.

    Parameters
    ----------
    low, lower, median, upper, high : float
        Quantiles in order, such as the 5th, 25th, 50th, 75th and 95th of a hundred.

    Returns
    -------
    markupsafe.Markup
        One ``<svg>`` element, 72 units wide and 20 high; nothing where the quantiles are no numbers or all the same.
    """
    if not high > low:
        return Markup()
    svg = _picture(
        72,
        say(
            "Middle half {lower} to {upper}, median {median}",
            lower=number(lower),
            upper=number(upper),
            median=number(median),
        ),
    )

    def x(value: float) -> float:
        return 1 + 70 * (value - low) / (high - low)

    _tag(svg, "line", **{"class": "zero"}, x1=x(low), x2=x(high), y1=11, y2=11)
    _tag(svg, "rect", **{"class": "middle"}, x=x(lower), y=6, width=max(x(upper) - x(lower), 1.0), height=10)
    _tag(svg, "line", **{"class": "median"}, x1=x(median), x2=x(median), y1=4, y2=18)
    return _markup(svg)


def _picture(width: int, alternative: str) -> ElementTree.Element:
    """A picture of 20 units' height that stands in a line of text."""
    return ElementTree.Element(
        "svg",
        {
            "class": "spark",
            "viewBox": f"0 0 {width} 20",
            "width": f"{width}",
            "height": "20",
            "role": "img",
            "aria-label": alternative,
        },
    )


def shorten(text: str, room: int) -> str:
    """Cut a text to a width in Latin characters, with an ellipsis where something was cut."""
    if len(text) <= room and _width(text) <= room:
        return text
    text = text[:room]
    while text and _width(text) > room - 1:
        text = text[:-1]
    return text + "…"


def _legend(series: Sequence[Series]) -> list[tuple[float, int, str]]:
    """Place, row and text of each key, in rows that the chart has room for."""
    keys: list[tuple[float, int, str]] = []
    at, row = 0.0, 0
    for one in series:
        name = shorten(one.name, 48)
        wide = 24 + 6.4 * _width(name)
        if keys and at + wide > WIDTH:
            at, row = 0.0, row + 1
        keys.append((at, row, name))
        at += wide + 14
    return keys


def _key(group: ElementTree.Element, place: int, series: Series, x: float, y: float) -> None:
    """A short piece of a series, as it is drawn."""
    if series.mark != "points":
        _tag(group, "path", **{"class": "line"}, d=f"M{x:.1f} {y:.1f}H{x + 18:.1f}")
    if series.mark in ("points", "both"):
        _mark(group, place, x + 9, y)


def _mark(parent: ElementTree.Element, place: int, x: float, y: float) -> None:
    """A point: a disc, a square, a triangle or a diamond, by the place of its series."""
    if place == 0:
        _tag(parent, "circle", **{"class": "dot"}, cx=x, cy=y, r=3)
        return
    shape = ("m-2.8-2.8h5.6v5.6h-5.6z", "m0-3.6 3.6 6.2h-7.2z", "m0-4 4 4-4 4-4-4z")[place - 1]
    _tag(parent, "path", **{"class": "dot"}, d=f"M{x:.1f} {y:.1f}{shape}")


def _draw(
    group: ElementTree.Element,
    place: int,
    series: Series,
    points: list[tuple[float, float, float, float]],
    notes: list[str],
) -> None:
    """Put one series, already in chart units, into its group."""
    if series.mark != "points" and points:
        path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
        for px, py, _, _ in points[1:]:
            path += f"H{px:.1f}V{py:.1f}" if series.mark == "step" else f"L{px:.1f} {py:.1f}"
        _tag(group, "path", **{"class": "line"}, d=path)
    if series.mark in ("points", "both"):
        for (px, py, low, high), note in zip(points, notes, strict=True):
            mark = _tag(group, "g")
            _tag(mark, "title").text = f"{shorten(series.name, LABEL)}: {note}"
            if math.isfinite(low) and math.isfinite(high):
                _whisker(mark, (px, low), (px, high))
            _mark(mark, place, px, py)


def _thinned(points: list[tuple[float, float, float, float]]) -> list[tuple[float, float, float, float]]:
    """As many points as a chart can show, taken at even steps."""
    step = -(-len(points) // POINTS_DRAWN)
    return points if step <= 1 else [*points[:-1:step], points[-1]]


def _finite(series: Series, x_log: bool) -> list[tuple[float, float, float, float]]:
    """The series as (x, y, low, high), with x as its logarithm where the axis is one."""
    lows = series.low or [math.nan] * len(series.x)
    highs = series.high or [math.nan] * len(series.x)
    found: list[tuple[float, float, float, float]] = []
    for x, y, low, high in zip(series.x, series.y, lows, highs, strict=True):
        if math.isfinite(x) and math.isfinite(y) and (x > 0 or not x_log):
            found.append((math.log10(x) if x_log else x, y, low, high))
    return found


def _point(point: tuple[float, float, float, float], x_log: bool) -> str:
    px = 10 ** point[0] if x_log else point[0]
    text = f"{number(px)}, {number(point[1])}"
    if not math.isfinite(point[2]):
        return text
    return f"{text} ({say('{low} to {high}', low=number(point[2]), high=number(point[3]))})"


def _describe(series: Series, points: list[tuple[float, float, float, float]], x_log: bool) -> str:
    """A series in words: its points where they are few, else its ends and range."""
    name = shorten(series.name, LABEL)
    if not points:
        return say("{name}: no points", name=name)
    if len(points) <= 12:
        return f"{name}: " + ", ".join(f"({_point(p, x_log)})" for p in points)
    ys = [p[1] for p in points]
    return say(
        "{name}: {n} points from ({first}) to ({last}), vertical {low} to {high}",
        name=name,
        n=count(len(points)),
        first=_point(points[0], x_log),
        last=_point(points[-1], x_log),
        low=number(min(ys)),
        high=number(max(ys)),
    )


def _ticks(low: float, high: float, n: int) -> list[float]:
    """About ``n`` round numbers that enclose low .. high."""
    if high - low < 1e-12 * max(1.0, abs(low), abs(high)):
        pad = abs(low) * 0.1 or 1.0
        low, high = (low, high + pad) if low == 0 else (low - pad, high + pad)
    rough = (high - low) / n
    base = 10.0 ** math.floor(math.log10(rough))
    step = next(base * m for m in (1, 2, 2.5, 5, 10) if base * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * k for k in range(first, last + 1)]


def _tick_text(tick: float, ticks: Sequence[float], log: bool = False) -> str:
    if log:
        return number(10**tick)
    step = ticks[1] - ticks[0]
    decimals = max(0, -math.floor(math.log10(step)))
    if abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6:
        decimals += 1
    return number(tick, decimals=decimals)


def _axis_x(
    svg: ElementTree.Element,
    ticks: Sequence[float],
    x: Callable[[float], float],
    top: float,
    floor: float,
    log: bool = False,
) -> None:
    """Grid lines with their numbers underneath."""
    for tick in ticks:
        _tag(svg, "line", **{"class": "grid"}, x1=x(tick), x2=x(tick), y1=top, y2=floor)
        anchor = "start" if x(tick) < 12 else "end" if x(tick) > WIDTH - 14 else "middle"
        edge = {"start": 0.0, "end": float(WIDTH), "middle": x(tick)}[anchor]
        _text(svg, edge, floor + 15, _tick_text(tick, ticks, log), "tick", anchor=anchor)


def _whisker(parent: ElementTree.Element, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A line with a short bar at both ends."""
    across = (0.0, 4.0) if start[1] == end[1] else (4.0, 0.0)
    path = f"M{start[0]:.1f} {start[1]:.1f}L{end[0]:.1f} {end[1]:.1f}"
    for px, py in (start, end):
        path += f"M{px - across[0]:.1f} {py - across[1]:.1f}L{px + across[0]:.1f} {py + across[1]:.1f}"
    _tag(parent, "path", **{"class": "whisker"}, d=path)


def _width(text: str) -> int:
    """Width in Latin characters; Chinese, Japanese and Korean ones count two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _svg(height: float, alternative: str) -> ElementTree.Element:
    return ElementTree.Element("svg", {"viewBox": f"0 0 {WIDTH} {height:g}", "role": "img", "aria-label": alternative})


def _tag(parent: ElementTree.Element, name: str, **attributes: str | float) -> ElementTree.Element:
    written = {k: v if isinstance(v, str) else f"{v:.1f}".removesuffix(".0") for k, v in attributes.items()}
    return ElementTree.SubElement(parent, name, written)


def _text(parent: ElementTree.Element, x: float, y: float, text: str, kind: str, anchor: str = "start") -> None:
    _tag(parent, "text", x=x, y=y, **{"class": kind, "text-anchor": anchor}).text = text


def _markup(svg: ElementTree.Element) -> Markup:
    # ElementTree escapes every text and attribute.
    return Markup(ElementTree.tostring(svg, encoding="unicode"))
