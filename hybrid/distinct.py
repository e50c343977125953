"""Texts in any container to the distinct ones among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from hybrid.errors import EncoderError


@dataclass(frozen=True)
class DistinctTexts:
    """Distinct texts, and where each row finds its own.

    Parameters
    ----------
    texts : polars.Series of String
        Each once, in order of first appearance; no nulls, no blanks.
    index : numpy.ndarray of int64, shape (n_rows,)
        Position in ``texts`` of each row's text; ``len(texts)`` for a null, an empty or a whitespace-only one.
    """

    texts: pl.Series
    index: np.ndarray

    @classmethod
    def of(cls, texts: Any) -> DistinctTexts:
        """Find the distinct texts of a list, tuple, NumPy array, Polars or pandas Series; ``None`` counts as blank."""
        coded = _strings(texts).to_arrow().dictionary_encode()
        values = pl.Series("text", coded.dictionary, dtype=pl.String)
        said = (values.str.strip_chars() != "").to_numpy()
        position = np.append(np.where(said, np.cumsum(said) - 1, said.sum()), said.sum()).astype(np.int64)
        codes = coded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
        return cls(texts=values.filter(said), index=position[codes])

    @property
    def has_blank(self) -> bool:
        """Whether a row has no text."""
        return bool((self.index == len(self.texts)).any())


def longest_first(texts: pl.Series, rows: np.ndarray) -> np.ndarray:
    """``rows`` of ``texts`` ordered so that texts of like length share a batch, whatever order they came in."""
    frame = pl.DataFrame({"row": rows, "text": texts.gather(rows)})
    by_length = frame.sort(pl.col("text").str.len_bytes(), "text", descending=[True, False])
    return by_length["row"].to_numpy()


def _strings(texts: Any) -> pl.Series:
    if isinstance(texts, pl.Series):
        return _from_polars(texts)
    if isinstance(texts, np.ndarray):
        if texts.ndim != 1:
            raise EncoderError(f"texts must have one dimension, not shape {texts.shape}")
        return _from_values(texts.tolist(), str(texts.dtype))
    if isinstance(texts, list | tuple):
        return _from_values(list(texts), None)
    if hasattr(texts, "to_numpy") and hasattr(texts, "isna") and getattr(texts, "ndim", 0) == 1:  # pandas
        return _from_values(texts.to_numpy(dtype=object, na_value=None).tolist(), str(texts.dtype))
    raise EncoderError(
        f"texts must be a list, a NumPy array, or a Polars or pandas Series of strings, not {type(texts).__name__}"
    )


def _from_polars(texts: pl.Series) -> pl.Series:
    if isinstance(texts.dtype, pl.String | pl.Categorical | pl.Enum | pl.Null):
        return texts.cast(pl.String)
    bad = texts.is_not_null().arg_max() or 0
    value = f": {texts[bad]!r} at position {bad}" if len(texts) else ""
    raise EncoderError(f"texts of dtype {texts.dtype} cannot be encoded{value}. Cast them to strings first")


def _from_values(values: list[Any], dtype: str | None) -> pl.Series:
    try:
        return pl.Series(values, dtype=pl.String, strict=True)
    except (TypeError, UnicodeEncodeError):
        pass
    values = [None if isinstance(value, float) and value != value else value for value in values]  # pandas' missing
    for position, value in enumerate(values):
        if value is not None and not isinstance(value, str):
            found = dtype or type(value).__name__
            raise EncoderError(
                f"texts of dtype {found} cannot be encoded: {value!r} at position {position}. Cast them to strings first"
            )
        try:
            (value or "").encode()
        except UnicodeEncodeError as error:
            raise EncoderError(f"the text at position {position} is no valid Unicode: {error}") from error
    return pl.Series(values, dtype=pl.String)
