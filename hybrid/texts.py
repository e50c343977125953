"""Texts of a role: its columns joined into one text a row, and their tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from features.errors import ColumnError
from features.frames import require_columns

SEPARATOR = ". "
# A Chinese character is a token of its own, since words are not spaced; elsewhere a run of letters or digits is one.
TOKEN = r"\p{Han}|[\p{L}\p{N}--\p{Han}]+"


def role_columns(text: Mapping[str, str | Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Columns of each role; a single column may be given by its name."""
    return {role: (named,) if isinstance(named, str) else tuple(named) for role, named in text.items()}


def role_text(frame: pl.DataFrame, columns: Sequence[str], what: str) -> pl.Series:
    """One text a row: the columns' non-empty texts in order, joined with ". "; null where all are null or blank."""
    require_columns(frame, columns, what)
    for name in columns:
        if frame[name].dtype not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
            raise ColumnError(f"text column {name!r} of {what} must hold strings, not {frame[name].dtype}")
    parts = [pl.col(name).cast(pl.String).str.strip_chars() for name in columns]
    said = [pl.when(part != "").then(part) for part in parts]
    joined = said[0] if len(said) == 1 else pl.concat_str(said, separator=SEPARATOR, ignore_nulls=True)
    text = frame.select(joined.alias("text"))["text"]
    return text.set(text == "", None)


def tokens(texts: pl.Series) -> pl.Series:
    """Distinct lower-case tokens of each text, List(String); empty for null."""
    return texts.fill_null("").str.to_lowercase().str.extract_all(TOKEN).list.unique()
