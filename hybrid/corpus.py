"""Corpus statistics of a role's texts: in how many of them each word is, which says how much it tells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

K1, B = 1.2, 0.75
"""Saturation and length normalisation of BM25, as Robertson and Zaragoza (2009) advise."""


@dataclass(frozen=True)
class Corpus:
    """Statistics of distinct texts, the documents.

    Parameters
    ----------
    words : polars.Series of String, shape (n_words,)
        Sorted.
    documents : numpy.ndarray of int64, shape (n_words,)
        How many documents have the word.
    n_documents : int
    n_words : int
        Words of all documents, repeated ones too.
    """

    words: pl.Series
    documents: np.ndarray
    n_documents: int
    n_words: int

    @classmethod
    def of(cls, vocabulary: pl.Series, documents: np.ndarray, n_documents: int, n_words: int) -> Corpus:
        """Keep the words of a vocabulary that any document has."""
        held = np.flatnonzero(documents)
        order = held[vocabulary.gather(held).arg_sort().to_numpy()]
        return cls(vocabulary.gather(order), documents[order], n_documents, n_words)

    @property
    def mean_length(self) -> float:
        """Words in a document; 1 where there are none."""
        return self.n_words / max(self.n_documents, 1) or 1.0

    def idf(self, vocabulary: pl.Series) -> np.ndarray:
        """log(1 + (N - n + 0.5) / (n + 0.5)) of words that n of N documents have, float64; single precision, so that sums are exact."""
        documents = np.zeros(len(vocabulary))
        if len(self.words):
            at = np.minimum(self.words.search_sorted(vocabulary).to_numpy(), len(self.words) - 1)
            known = (self.words.gather(at) == vocabulary).to_numpy()
            documents[known] = self.documents[at[known]]
        idf = np.log1p((self.n_documents - documents + 0.5) / (documents + 0.5))
        return idf.astype(np.float32).astype(np.float64)

    def table(self) -> pl.DataFrame:
        """The statistics as rows; those of all documents in the row without a word."""
        documents = np.concatenate([[self.n_documents], self.documents]).astype(np.int64)
        words = pl.concat([pl.Series("word", [None], dtype=pl.String), self.words.alias("word")])
        total = pl.Series("n_words", [self.n_words] + [None] * len(self.words), dtype=pl.Int64)
        return pl.DataFrame([words, pl.Series("documents", documents), total])

    @classmethod
    def from_table(cls, table: pl.DataFrame) -> Corpus:
        """Read what ``table`` wrote."""
        whole, each = table.filter(pl.col("word").is_null()), table.filter(pl.col("word").is_not_null())
        return cls(each["word"], each["documents"].to_numpy(), whole["documents"].item(), whole["n_words"].item())
