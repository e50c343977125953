"""Parallel coordinates: an axis for each quantity, a line for each case, the best ones in front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from hybrid.charts import LABEL, WIDTH, _markup, _svg, _tag, _text, shorten
from hybrid.languages import say

_ROW, _TOP = 44, 40


@dataclass(frozen=True)
class Axis:
    """One quantity.

    Parameters
    ----------
    name : str
    places : sequence of float
        Where each case lies, 0 to 1; NaN where it has no value.
    low, high : str
        What stands at the ends.
    """

    name: str
    places: Sequence[float]
    low: str
    high: str


def parallel_chart(axes: Sequence[Axis], n_best: int, *, title: str) -> Markup:
    """Draw axes below one another, which a phone has room for, and the cases as lines that run down through them.

    Parameters
    ----------
    axes : sequence of Axis
        With the same cases in the same order, the best first.
    n_best : int
        So many lines are drawn strong, in front of the others.
    title : str

    Returns
    -------
    markupsafe.Markup
        One ``<svg>`` element.
    """
    n_cases = len(axes[0].places) if axes else 0
    best = "; ".join(f"{shorten(axis.name, LABEL)} {axis.low} – {axis.high}" for axis in axes)
    words = say(
        "{n} lines through {axes} axes, of which the best {best} are strong", n=n_cases, axes=len(axes), best=n_best
    )
    svg = _svg(_TOP + _ROW * len(axes), f"{title}. {words}: {best}")
    _text(svg, 0, 14, title, "chart-title")
    left, right = 6.0, WIDTH - 6.0

    def point(place: float, i: int) -> str:
        return f"{left + (right - left) * place:.1f},{_TOP + _ROW * i + 14:.1f}"

    for case in reversed(range(n_cases)):
        places = [(axis.places[case], i) for i, axis in enumerate(axes) if math.isfinite(axis.places[case])]
        if len(places) < 2:
            continue
        strong = case < n_best
        group = _tag(svg, "g", **{"class": "series s0" if strong else "series"})
        _tag(
            group,
            "polyline",
            points=" ".join(point(*one) for one in places),
            **{"class": "line" if strong else "grid", "fill": "none"},
        )
    for i, axis in enumerate(axes):
        y = _TOP + _ROW * i + 14
        _tag(svg, "line", **{"class": "zero"}, x1=left, x2=right, y1=y, y2=y)
        _text(svg, left, y - 5, shorten(axis.name, LABEL), "label")
        _text(svg, left, y + 13, axis.low, "tick")
        _text(svg, right, y + 13, axis.high, "tick", anchor="end")
    return _markup(svg)
