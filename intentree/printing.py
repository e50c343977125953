"""Results on stdout: small tables and plain lines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "", texts: Sequence[str] | None = None
) -> None:
    """Print a table; its first column, or those of ``texts``, read from the left, all others from the right."""
    left = columns[:1] if texts is None else texts
    table = Table(title=title or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    print_lines(table)


def print_lines(*lines: object) -> None:
    """Print lines as they are: square brackets are no markup."""
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = 200  # a file or pipe has no edge to wrap at
    for line in lines:
        console.print(line, soft_wrap=isinstance(line, str))


def with_interval(value: float, low: float, high: float) -> str:
    """A number and, where there is one, its interval: "0.8213 (0.8150 to 0.8274)"."""
    if math.isnan(value):
        return "n/a"
    return f"{value:.4f}" if math.isnan(low) else f"{value:.4f} ({low:.4f} to {high:.4f})"


def toml(value: object) -> str:
    """A string, number, boolean or list of these as TOML writes it, which is as JSON does."""
    return json.dumps(value, ensure_ascii=False)
