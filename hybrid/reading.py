"""The reading of a batch: every distinct text of its roles cut once into words, neighbours, runs of characters and quantities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from hybrid.corpus import Corpus
from hybrid.encoder import Embedded
from hybrid.quantities import Quantities
from hybrid.terms import HASHED, Terms, hashed
from hybrid.texts import coded, normalised, spaced, words

_RUN = 3  # characters
_BETWEEN = ord("\n")  # stands between texts, and is in no word


@dataclass(frozen=True)
class Reading:
    """Distinct texts of all roles, one after the other, as terms; each kind of terms is made when it is first asked for.

    Parameters
    ----------
    rows : dict from role to numpy.ndarray of int64, shape (n_rows,)
        Each row's text.
    texts : polars.Series of String, shape (n_texts,)
        Normalised.
    cut : polars.Series of List(String), shape (n_texts,)
        Their words in order.
    vocabulary : polars.Series of String, shape (n_words,)
        Distinct words, plurals folded.
    code : numpy.ndarray of int64
        Words of all texts one after the other, as positions in ``vocabulary``.
    """

    rows: dict[str, np.ndarray]
    texts: pl.Series
    cut: pl.Series
    vocabulary: pl.Series
    code: np.ndarray

    @classmethod
    def of(cls, texts: Mapping[str, pl.Series], embedded: Mapping[str, Embedded]) -> Reading:
        """Read the texts of roles, whose distinct ones ``embedded`` tells."""
        rows: dict[str, np.ndarray] = {}
        distinct: list[pl.Series] = []
        for role, text in texts.items():
            index = embedded[role].index
            row = np.full(int(index.max(initial=-1)) + 1, -1)
            row[index] = np.arange(len(index))  # any row of each distinct text
            present = row >= 0
            rows[role] = (np.cumsum(present) - 1)[index] + sum(map(len, distinct))
            distinct.append(text.gather(row[present]).cast(pl.String))
        said = normalised(pl.concat(distinct))
        cut = words(said)
        return cls(rows, said, cut, *coded(cut))

    @cached_property
    def lengths(self) -> np.ndarray:
        """Words of each text, repeated ones too, int64."""
        return self.cut.list.len().to_numpy().astype(np.int64)

    @cached_property
    def words(self) -> Terms:
        """Words of each text."""
        return Terms.of(self.code, self.lengths, len(self.vocabulary))

    @cached_property
    def neighbours(self) -> Terms:
        """Pairs of adjacent words, in their order."""
        adjacent = self._text[1:] == self._text[:-1]
        pair = self.code[:-1][adjacent] * len(self.vocabulary) + self.code[1:][adjacent]
        return Terms.of(hashed(pair), np.maximum(self.lengths - 1, 0), HASHED)

    @cached_property
    def runs(self) -> Terms:
        """Runs of three characters, signs and spaces left out: "x box 360" has those of "xbox360"."""
        glued = self.cut.list.join("")
        whole = "\n".join([*glued, "\n" * _RUN])
        character = np.frombuffer(whole.encode("utf-32-le"), dtype=np.uint32).astype(np.int64)
        n = len(character) - _RUN + 1
        key = np.zeros(n, dtype=np.int64)
        inside = np.ones(n, dtype=bool)
        for i in range(_RUN):
            inside &= character[i : i + n] != _BETWEEN
            key = (key << 21) | character[i : i + n]
        size = np.maximum(glued.str.len_chars().to_numpy().astype(np.int64) - _RUN + 1, 0)
        return Terms.of(hashed(key[inside]), size, HASHED)

    @cached_property
    def quantities(self) -> Quantities:
        """Numbers and measured quantities."""
        return Quantities.of(self.texts)

    @cached_property
    def first_at(self) -> np.ndarray:
        """For each distinct word of each text, in the order of ``words``: how many words come before it, int64."""
        starts = np.concatenate([[0], np.cumsum(self.lengths)])
        at = np.arange(len(self.code)) - starts[self._text]
        # A copy, since sorting is in place.
        placed = csr_array((at, self.code.copy(), starts), shape=self.words.counts.shape)
        placed.sort_indices()
        repeated = (placed.indices[1:] == placed.indices[:-1]) & (self._text[1:] == self._text[:-1])
        return np.minimum.reduceat(placed.data, np.flatnonzero(~np.append(False, repeated))) if len(at) else at

    @cached_property
    def spaced(self) -> pl.Series:
        """Each text as its words, each between spaces of its own."""
        return spaced(self.vocabulary, self.code, self.cut.list.len())

    def corpus(self, role: str) -> Corpus:
        """Statistics of the role's distinct texts that are not blank."""
        text = np.unique(self.rows[role])
        text = text[self.lengths[text] > 0]
        documents = np.bincount(self.words.counts[text].indices, minlength=len(self.vocabulary))
        return Corpus.of(self.vocabulary, documents, len(text), int(self.lengths[text].sum()))

    @cached_property
    def _text(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.lengths)), self.lengths)
