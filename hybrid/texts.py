"""Texts of a role: its columns joined into one text a row, and their words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from features.errors import ColumnError
from features.frames import require_columns

SEPARATOR = ". "
# A Chinese character is a word of its own, since words are not spaced; elsewhere a run of letters (with their marks) or digits is one.
WORD = r"\p{Han}|[\p{L}\p{M}\p{N}--\p{Han}]+"
_FRACTION_SIGN = r"(\d?)([¼-¾⅐-⅞])"


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


def normalised(texts: pl.Series) -> pl.Series:
    """Lower case, full-width and other compatible forms as their plain ones (NFKC), "3½" as "3 1/2"; null as ""."""
    said = texts.fill_null("")
    plain = said.str.to_lowercase()
    other = (said.str.len_bytes() != said.str.len_chars()).arg_true()  # ASCII is its own normal form
    apart = said.gather(other).str.replace_all(_FRACTION_SIGN, "$1 $2")  # NFKC alone reads "3½" as 31/2
    unified = apart.str.normalize("NFKC").str.to_lowercase().str.replace_all("\u2044", "/", literal=True)
    return plain.scatter(other, unified)


def words(texts: pl.Series) -> pl.Series:
    """Words of each normalised text in their order, List(String)."""
    return texts.str.extract_all(WORD)


def singular(words: pl.Series) -> pl.Series:
    """English plurals and singulars as one form, by rule: "boxes" and "box", "movies" and "movie", "batteries" and "battery"."""
    folded = words.str.replace("^([a-z]{2,})ies?$", "${1}y").str.replace("^([a-z]+(?:ch|sh|ss|x|zz))es$", "$1")
    return folded.str.replace("^([a-z]+[a-hj-rtv-z])s$", "$1")  # not "glass", "bus", "basis"


def coded(words: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """The vocabulary of lists of words, plurals folded, and where each word of each list stands in it, int64."""
    spelt = words.explode(empty_as_null=False).to_arrow().dictionary_encode()
    folded = singular(pl.Series(spelt.dictionary, dtype=pl.String)).to_arrow().dictionary_encode()
    code = folded.indices.to_numpy()[spelt.indices.to_numpy()]
    return pl.Series(folded.dictionary, dtype=pl.String), code.astype(np.int64)


def spaced(vocabulary: pl.Series, code: np.ndarray, length: pl.Series) -> pl.Series:
    """Words back as texts, each between spaces of its own: " red  running  shoe "; "" without words."""
    starts = pa.array(np.concatenate([[0], np.cumsum(length.to_numpy())]).astype(np.int64))
    each = (" " + vocabulary + " ").gather(code).to_arrow()
    return pl.Series(pa.LargeListArray.from_arrays(starts, each)).list.join("")
