"""Pages of numbers: one self-contained HTML file from sections of text, charts, tables and facts.

A page is data, built from the classes below and turned into HTML by `render`; every report shares the one layout in `templates/`.
Whatever is given as text is escaped. Charts come from `hybrid.charts` as inline SVG: no script, no network, one file that prints and
follows the reader's colour scheme.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

Tone = Literal["", "good", "bad", "muted"]


@dataclass(frozen=True)
class Cell:
    """A table cell with more than a text.

    Parameters
    ----------
    text : str
    note : str, default ""
        A second, smaller line: an interval, a remark.
    share : float, optional
        0 .. 1, drawn as a thin bar under the text.
    tone : {"", "good", "bad", "muted"}
        Colour of the text; never the only carrier of a meaning.
    """

    text: str
    note: str = ""
    share: float | None = None
    tone: Tone = ""


@dataclass(frozen=True)
class Table:
    """A table; on a phone each row becomes a card with the header's words beside the values.

    Parameters
    ----------
    caption : str
        What the table shows, read out before it and shown above it.
    header : sequence of str
    rows : sequence of sequences of str or Cell
        The first cell names the row.
    words : sequence of int, default (0,)
        Positions of columns of words, set flush left; all others hold numbers, flush right.
    """

    kind: ClassVar[str] = "table"
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    words: Sequence[int] = (0,)

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows with every cell as a `Cell`."""
        return [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in self.rows]


@dataclass(frozen=True)
class Figure:
    """Charts side by side, below one another on a phone.

    Parameters
    ----------
    charts : sequence of markupsafe.Markup
        From `hybrid.charts`.
    caption : str
        How to read them.
    """

    kind: ClassVar[str] = "figure"
    charts: Sequence[Markup]
    caption: str


@dataclass(frozen=True)
class Text:
    """Paragraphs."""

    kind: ClassVar[str] = "text"
    paragraphs: Sequence[str]


@dataclass(frozen=True)
class Points:
    """A list of remarks, each with a few words in bold and what they mean."""

    kind: ClassVar[str] = "points"
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Facts:
    """Names and values, such as versions and parameters; a value that is a mapping becomes a list of its own."""

    kind: ClassVar[str] = "facts"
    entries: Mapping[str, Any]


@dataclass(frozen=True)
class KeyFigure:
    """One number worth a large print: what it is, its value, its interval or comparison."""

    label: str
    value: str
    note: str = ""


Block = Table | Figure | Text | Points | Facts


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """Name of the section in links to it."""
        return "-".join(self.title.lower().split())


@dataclass(frozen=True)
class Page:
    """A whole page.

    Parameters
    ----------
    kind : str
        What sort of report this is, in small print above the title.
    title : str
    summary : sequence of str
        The answer first: one to four paragraphs.
    key_figures : sequence of KeyFigure
    sections : sequence of Section
    lang : str, default "en"
    """

    kind: str
    title: str
    summary: Sequence[str]
    key_figures: Sequence[KeyFigure]
    sections: Sequence[Section]
    lang: str = "en"


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(page: Page) -> str:
    """Turn a page into one HTML document that needs nothing beside itself.

    Examples
    --------
    >>> html = render(Page("Note", "A < B", ["One paragraph."], [], [Section("More", [Text(["And another."])])]))
    >>> "<h1>A &lt; B</h1>" in html
    True
    """
    return _TEMPLATES.get_template("page.html").render(page=page)
