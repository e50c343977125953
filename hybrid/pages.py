"""Pages of numbers: one self-contained HTML file from sections of text, charts, tables and facts.

A page is data, built from the classes below and turned into HTML by `render`; every report shares the one layout in `templates/`.
Whatever is given as text is escaped. Charts come from `hybrid.charts` as inline SVG: no network, one file that prints and follows the
reader's colour scheme. The page's one script sorts and filters tables, turns panels into tabs and marks the reader's place in the menu;
without it the page is complete. A content security policy lets that script and the one style sheet in, by their hashes, and nothing else.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from hybrid.charts import shorten
from hybrid.errors import PageError
from hybrid.languages import LANGUAGES, language, languages, say, speaking
from hybrid.numerals import Numeral, count, number

LIMIT = 5_000_000
"""Most bytes of a page."""
FEWEST_ROWS = 20
"""Tables are not cut below this many rows to keep a page within its limit."""
SORTED_FROM = 4
"""Rows from which on a table can be sorted."""
FILTERED_FROM = 13
"""Rows from which on a table has a box to filter by."""
LONGEST_TEXT = 400
"""Longest text of a cell, a heading of a column or a name, in Latin characters."""
SHADES = 8
_TAGS = {"zh": "zh-Hans"}
"""Languages as a browser names them, where that is not what a user writes."""

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
    value : float, optional
        What the table sorts by. By default the value of a text that `hybrid.numerals` wrote, else the text itself.
    picture : markupsafe.Markup, default ""
        Beside the text, from `hybrid.charts.spark` or `box`.
    """

    text: str
    note: str = ""
    share: float | None = None
    tone: Tone = ""
    value: float | None = None
    picture: Markup | str = ""

    @property
    def rank(self) -> str:
        """The value to sort by, written in full; empty where there is none."""
        value = self.text.value if self.value is None and isinstance(self.text, Numeral) else self.value
        return "" if value is None or math.isnan(value) else f"{value:.9g}"


@dataclass(frozen=True)
class Table:
    """A table; on a phone each row becomes a card with the header's words beside the values.

    A click on a heading sorts it, and a box above it filters the rows where there are many.

    Parameters
    ----------
    caption : str
        What the table shows, read out before it and shown above it.
    header : sequence of str
    rows : sequence of sequences of str or Cell
        The first cell names the row.
    words : sequence of int, default (0,)
        Positions of columns of words, set flush left; all others hold numbers, flush right.
    sort : bool, default True
        False for a table whose columns do not hold one kind of thing each.
    left_out : int, default 0
        Rows that the table would have and does not show; said below the caption.
    """

    kind: ClassVar[str] = "table"
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    words: Sequence[int] = (0,)
    sort: bool = True
    left_out: int = 0

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows with every cell as a `Cell`."""
        return [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in self.rows]

    @property
    def sorts(self) -> bool:
        """Whether a click on a heading sorts."""
        return self.sort and len(self.rows) >= SORTED_FROM

    @property
    def filters(self) -> bool:
        """Whether there is a box to filter by."""
        return self.sorts and len(self.rows) >= FILTERED_FROM


@dataclass(frozen=True)
class Matrix:
    """Numbers by row and column, such as a confusion matrix, each shaded by its size; it keeps its shape on a phone and scrolls there.

    Above zero the shades are of one colour, below zero of another that the colour-blind can tell from it; the numbers stand in the cells.

    Parameters
    ----------
    caption : str
    rows, columns : sequence of str
        Names of the rows and of the columns.
    values : sequence of sequences of float
        One sequence a row; NaN leaves the cell empty.
    corner : str, default ""
        What the rows and the columns are, such as "true class, down; predicted, across".
    written : callable, default `hybrid.numerals.number`
        Writes a value.
    """

    kind: ClassVar[str] = "matrix"
    caption: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float]]
    corner: str = ""
    written: Callable[[float], str] = number

    @property
    def cells(self) -> list[list[tuple[str, str]]]:
        """Each value as text, and the name of its shade."""
        sizes = [abs(value) for row in self.values for value in row if math.isfinite(value)]
        top = max(sizes, default=0.0) or 1.0
        return [[self._cell(value, top) for value in row] for row in self.values]

    def _cell(self, value: float, top: float) -> tuple[str, str]:
        if math.isnan(value):
            return "", ""
        level = min(SHADES, round(SHADES * abs(value) / top))
        return self.written(value), f"shade-{level}{' below' if value < 0 and level else ''}"

    @property
    def signed(self) -> bool:
        """Whether any value is below zero."""
        return any(value < 0 for row in self.values for value in row)


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
class Code:
    """Lines to copy into a file, and what to do with them."""

    kind: ClassVar[str] = "code"
    lines: str
    caption: str


@dataclass(frozen=True)
class Details:
    """Blocks behind a line that opens them; open on paper."""

    kind: ClassVar[str] = "details"
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Tabs:
    """Several views of one thing under a row of tabs; one below the other, each under its name, on paper and where no script runs."""

    kind: ClassVar[str] = "tabs"
    panels: Sequence[Panel]


@dataclass(frozen=True)
class KeyFigure:
    """One number worth a large print: what it is, its value, its interval or comparison."""

    label: str
    value: str
    note: str = ""


Panel = tuple[str, "Sequence[Block]"]
"""The name of a tab, and what stands under it."""
Block = Table | Matrix | Figure | Text | Points | Facts | Code | Details | Tabs


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Block]


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
    """

    kind: str
    title: str
    summary: Sequence[str]
    key_figures: Sequence[KeyFigure]
    sections: Sequence[Section]

    @property
    def anchors(self) -> list[str]:
        """Names of the sections in links to them: their titles, numbered where two are the same."""
        names: list[str] = []
        for section in self.sections:
            name = "-".join(section.title.lower().split())
            names.append(name if name not in names else f"{name}-{len(names) + 1}")
        return names


_FOLDER = Path(__file__).parent / "templates"
_TEMPLATES = Environment(
    loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_TEMPLATES.globals |= {"say": say, "count": count}
_TEMPLATES.filters["shorten"] = lambda text: shorten(str(text), LONGEST_TEXT)


def _inline(name: str) -> Markup:
    """A file of the templates that stands in the page as it is."""
    return Markup((_FOLDER / name).read_text(encoding="utf-8"))


def _policy(style: str, script: str) -> str:
    """A content security policy that lets these two in and nothing else."""
    style, script = (b64encode(sha256(text.encode()).digest()).decode() for text in (style, script))
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


_STYLE, _SCRIPT = _inline("page.css"), _inline("page.js")
_TEMPLATES.globals |= {"style": _STYLE, "script": _SCRIPT, "policy": _policy(_STYLE, _SCRIPT)}


def render(page: Page) -> str:
    """Turn a page into one HTML document that needs nothing beside itself.

    A page above the limit of 5 MB has its longest tables cut, which their captions then say.

    Parameters
    ----------
    page : Page

    Returns
    -------
    str
        At most 5,000,000 bytes in UTF-8, in the language of `hybrid.languages.speaking`.

    Raises
    ------
    PageError
        What is not in tables is too much; names the largest section.

    Examples
    --------
    >>> html = render(Page("Note", "A < B", ["One paragraph."], [], [Section("More", [Text(["And another."])])]))
    >>> "<h1>A &lt; B</h1>" in html
    True
    """
    return _document({language(): page})


def render_in(lang: str, make: Callable[[], Page]) -> str:
    """Make a page in one language, or in each, and turn it into one HTML document, as `render` does.

    Parameters
    ----------
    lang : {"en", "zh", "both"}
        "both": all editions are in the document, under a switch.
    make : callable
        Makes the page in the language that is spoken.
    """
    pages = {}
    for spoken in languages(lang):
        with speaking(spoken):
            pages[spoken] = make()
    return _document(pages)


def _document(pages: Mapping[str, Page]) -> str:
    """The editions of one page, by language, as one document within the limit."""
    html, most = _html(pages), max((_longest(block) for page in pages.values() for block in _blocks(page)), default=0)
    while (size := len(html.encode())) > LIMIT and most > FEWEST_ROWS:
        most = max(int(0.9 * most * LIMIT / size), FEWEST_ROWS)
        pages = {
            lang: replace(page, sections=[_cut(section, most) for section in page.sections])
            for lang, page in pages.items()
        }
        html = _html(pages)
    if size > LIMIT:
        lang, page = next(iter(pages.items()))
        largest = max(page.sections, key=lambda section: len(_html({lang: replace(page, sections=[section])})))
        raise PageError(
            f"the page has {size:,} bytes and may have {LIMIT:,}; show less in its largest section, {largest.title!r}"
        )
    return html


def _html(pages: Mapping[str, Page]) -> str:
    editions = []
    for lang, page in pages.items():
        prefix = f"{lang}-" if len(pages) > 1 else ""
        with speaking(lang):
            body = _TEMPLATES.get_template("edition.html").render(page=page, prefix=prefix)
        editions.append((_TAGS.get(lang, lang), LANGUAGES[lang], Markup(body)))
    title = next(iter(pages.values())).title
    return _TEMPLATES.get_template("page.html").render(title=title, editions=editions)


def _blocks(page: Page) -> Iterator[Block]:
    """Every block, those within others too."""
    waiting = [block for section in page.sections for block in section.blocks]
    while waiting:
        block = waiting.pop()
        yield block
        if isinstance(block, Details):
            waiting += block.blocks
        elif isinstance(block, Tabs):
            waiting += [inner for _, blocks in block.panels for inner in blocks]


def _longest(block: Block) -> int:
    return len(block.rows) if isinstance(block, Table) else 0


def _cut(section: Section, most: int) -> Section:
    return replace(section, blocks=[_cut_block(block, most) for block in section.blocks])


def _cut_block(block: Block, most: int) -> Block:
    """The block with tables of at most so many rows."""
    if isinstance(block, Table) and len(block.rows) > most:
        return replace(block, rows=block.rows[:most], left_out=block.left_out + len(block.rows) - most)
    if isinstance(block, Details):
        return replace(block, blocks=[_cut_block(inner, most) for inner in block.blocks])
    if isinstance(block, Tabs):
        panels = [(title, [_cut_block(inner, most) for inner in blocks]) for title, blocks in block.panels]
        return replace(block, panels=panels)
    return block
