"""Mentions: which of a column's known values a text names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from hybrid.texts import coded, normalised, spaced, words


class Mentions:
    """Known values of a column, found in texts as whole words, whatever their case, signs and plurals.

    Where values overlap, the first and longest is meant: "Black & Decker drill" does not name "Black".

    Parameters
    ----------
    values : sequence of str
        Distinct.
    """

    def __init__(self, values: Sequence[str]) -> None:
        cut = words(normalised(pl.Series(values, dtype=pl.String)))
        spelt = spaced(*coded(cut), cut.list.len())
        said = spelt.filter(spelt != "").unique()
        self._spelt = said.gather(said.str.len_chars().arg_sort(descending=True))
        self._code = spelt.replace_strict(
            self._spelt, np.arange(len(said)), default=-1, return_dtype=pl.Int64
        ).to_numpy()
        """Of each value, where it stands in ``_spelt``; -1 for one without words."""

    def compare(self, texts: pl.Series, row: np.ndarray, own: np.ndarray) -> np.ndarray:
        """What the rows' texts say of the rows' own values.

        Parameters
        ----------
        texts : polars.Series of String
            As ``spaced`` writes them.
        row : numpy.ndarray of int64, shape (n_rows,)
            Each row's text.
        own : numpy.ndarray of int64, shape (n_rows,)
            Each row's value, as a position in ``values``; -1 for none and for one that is not known.

        Returns
        -------
        numpy.ndarray of float32, shape (n_rows, 2)
            1 where the text names the row's own value, else 0; 1 where it names another known value instead, else 0. Both NaN
            where the row's value is not known or has no words.
        """
        compared = np.full((len(row), 2), np.nan, dtype=np.float32)
        if not len(self._spelt):
            return compared
        own = np.where(own < 0, -1, self._code[own])
        found = texts.str.extract_many(self._spelt.implode(), leftmost=True)
        text = np.repeat(np.arange(len(texts)), found.list.len().to_numpy())
        value = found.explode(empty_as_null=False).replace_strict(
            self._spelt, np.arange(len(self._spelt)), return_dtype=pl.Int64
        )
        named = np.isin(row * len(self._spelt) + own, text * len(self._spelt) + value.to_numpy())
        other = np.isin(row, text) & ~named
        known = own >= 0
        compared[known] = np.stack([named, other], axis=1)[known]
        return compared
