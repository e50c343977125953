"""A timeline: a row for each worker, a bar for each piece of its work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from hybrid.charts import WIDTH, _axis_x, _markup, _svg, _tag, _text, _ticks
from hybrid.languages import say

_ROW, _TOP = 34, 30


@dataclass(frozen=True)
class Work:
    """One piece of work.

    Parameters
    ----------
    worker : str
    start, end : float
        On the axis.
    name : str
        Shown where the pointer rests.
    muted : bool
        Draw it pale: work that came to nothing.
    """

    worker: str
    start: float
    end: float
    name: str
    muted: bool = False


def timeline_chart(work: Sequence[Work], *, title: str, x_label: str) -> Markup:
    """Draw pieces of work along time, a row a worker in the order of their first piece.

    Returns
    -------
    markupsafe.Markup
        One ``<svg>`` element.
    """
    workers = list(dict.fromkeys(one.worker for one in work))
    ticks = _ticks(0.0, max((one.end for one in work), default=1.0), 5)
    height = _TOP + _ROW * len(workers) + 40

    def x(value: float) -> float:
        return 6 + (WIDTH - 12) * value / ticks[-1]

    each = "; ".join(f"{worker}: {sum(one.worker == worker for one in work)}" for worker in workers)
    svg = _svg(height, f"{title}. {say('Pieces of work by worker: {each}', each=each)}")
    _text(svg, 0, 14, title, "chart-title")
    floor = _TOP + _ROW * len(workers)
    _axis_x(svg, ticks, x, _TOP, floor)
    for i, worker in enumerate(workers):
        y = _TOP + _ROW * i
        _text(svg, 0, y + 12, worker, "label")
        for one in work:
            if one.worker == worker:
                group = _tag(svg, "g")
                _tag(group, "title").text = one.name
                width = max(x(one.end) - x(one.start) - 0.5, 0.5)
                kind = "bar muted" if one.muted else "bar"
                _tag(group, "rect", **{"class": kind}, x=x(one.start), y=y + 17, width=width, height=10)
    _text(svg, WIDTH, height - 4, x_label, "tick", anchor="end")
    return _markup(svg)
