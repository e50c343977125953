"""A page as Markdown: its texts, tables and facts, without the charts, whose numbers the tables hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hybrid.pages import Block, Cell, Code, Details, Facts, Matrix, Page, Points, Table, Tabs, Text


def markdown(page: Page) -> str:
    """Write a page as Markdown (CommonMark with tables).

    Examples
    --------
    >>> from hybrid.pages import Section
    >>> print(markdown(Page("Note", "A | B", ["One."], [], [Section("More", [Table("T.", ["a", "b"], [["x", "1"]])])])))
    # A \\| B
    <BLANKLINE>
    One.
    <BLANKLINE>
    ## More
    <BLANKLINE>
    T.
    <BLANKLINE>
    | a | b |
    | --- | ---: |
    | x | 1 |
    <BLANKLINE>
    """
    parts = [f"# {_plain(page.title)}", *map(_plain, page.summary)]
    if page.key_figures:
        figures = (
            f"- {_plain(f.label)}: {_plain(f.value)}" + (f" ({_plain(f.note)})" if f.note else "")
            for f in page.key_figures
        )
        parts.append("\n".join(figures))
    for section in page.sections:
        parts.append(f"## {_plain(section.title)}")
        for block in section.blocks:
            parts += _block(block)
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Text):
        yield from map(_plain, block.paragraphs)
    elif isinstance(block, Points):
        yield "\n".join(f"- **{_plain(lead)}** {_plain(meaning)}" for lead, meaning in block.items)
    elif isinstance(block, Facts):
        yield "\n".join(_facts(block.entries, ""))
    elif isinstance(block, Details):
        yield f"### {_plain(block.title)}"
        for inner in block.blocks:
            yield from _block(inner)
    elif isinstance(block, Tabs):
        for title, blocks in block.panels:
            inside = [part for inner in blocks for part in _block(inner)]
            yield from [f"### {_plain(title)}", *inside] if inside else []
    elif isinstance(block, Code):
        yield _plain(block.caption)
        yield "\n".join(f"    {line}" for line in block.lines.splitlines())
    elif isinstance(block, Matrix):
        yield _plain(block.caption)
        header = [block.corner, *block.columns]
        cells = [[name, *(text for text, _ in row)] for name, row in zip(block.rows, block.cells, strict=True)]
        yield _table(header, ["---", *["---:"] * len(block.columns)], cells)
    elif isinstance(block, Table):
        yield _plain(block.caption)
        rule = ["---" if i in block.words else "---:" for i in range(len(block.header))]
        yield _table(block.header, rule, [[_written(cell) for cell in row] for row in block.cells])


def _table(header: Sequence[str], rule: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [[_plain(name) for name in header], rule, *([_plain(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _written(cell: Cell) -> str:
    return f"{cell.text} ({cell.note})" if cell.note else cell.text


def _facts(entries: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in entries.items():
        if isinstance(value, Mapping):
            yield f"{indent}- {_plain(name)}:"
            yield from _facts(value, f"{indent}  ")
        else:
            yield f"{indent}- {_plain(name)}: {_plain(str(value))}"


def _plain(text: str) -> str:
    """Text that Markdown takes for nothing else, on one line."""
    text = " ".join(text.splitlines()).replace("&", "&amp;").replace("<", "&lt;")
    for sign in "\\`*_[]|#":
        text = text.replace(sign, f"\\{sign}")
    return text
