"""Word vectors: hashed n-grams of words and characters, weighted by rarity and reduced to a few hundred dimensions.

An encoder blurs words that it never saw: product codes, sizes, brands, names of a shop's own. These vectors keep them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import scipy.sparse as sp
import torch
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.utils.extmath import randomized_svd

from hybrid.encoder import Embedded

_BUCKETS = 2**15
_MOST_TEXTS = 30_000  # that the axes are fitted to
_BLOCK = 8_192
# A Chinese character is a word of its own, so that pairs of words are the usual character bigrams.
_WORD = r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+"
_COUNTS = (
    HashingVectorizer(
        n_features=_BUCKETS,
        ngram_range=(1, 2),
        token_pattern=_WORD,
        norm=None,
        alternate_sign=False,
        dtype=np.float32,
    ),
    HashingVectorizer(
        n_features=_BUCKETS,
        analyzer="char_wb",
        ngram_range=(3, 5),
        norm=None,
        alternate_sign=False,
        dtype=np.float32,
    ),
)
_LONGEST = 2_000  # characters of a text that are read


class WordVectors:
    """Latent semantic analysis of hashed n-grams (Deerwester et al., 1990): one or two words, and three to five characters of a word.

    Counts enter as 1 + ln(count), times ln((1 + n) / (1 + document frequency)) + 1, words and characters each at unit length; then the
    leading right singular vectors. Vectors have unit length; a text without a known n-gram has the zero vector.

    Parameters
    ----------
    idf : numpy.ndarray of float32, shape (2 * 32_768,)
        Words, then characters.
    buckets : numpy.ndarray of int64, shape (n_buckets,)
        The buckets that the axes read.
    axes : numpy.ndarray of float32, shape (n_buckets, dimension)
    """

    def __init__(self, idf: np.ndarray, buckets: np.ndarray, axes: np.ndarray) -> None:
        self.idf = idf
        self.buckets = buckets
        self.axes = axes

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return int(self.axes.shape[1])

    @classmethod
    def fit(cls, texts: pl.Series, dimension: int, random_state: int) -> WordVectors:
        """Fit to distinct texts, 30,000 of them at most; an n-gram that one text alone has is left out."""
        if len(texts) > _MOST_TEXTS:
            texts = texts.sample(_MOST_TEXTS, seed=random_state)
        counts = _counts(texts.to_list())
        present = np.bincount(counts.indices, minlength=2 * _BUCKETS)
        idf = (np.log((1 + len(texts)) / (1 + present)) + 1).astype(np.float32)
        buckets = np.flatnonzero(present >= 2)
        dimension = min(dimension, len(buckets) - 1, len(texts) - 1)
        if dimension < 1:
            return cls(idf, buckets[:0], np.zeros((0, 1), dtype=np.float32))
        weighted = _weighted(counts, idf)[:, buckets]
        _, _, axes = randomized_svd(weighted, dimension, n_iter=2, random_state=random_state)
        return cls(idf, buckets, np.ascontiguousarray(axes.T, dtype=np.float32))

    def vectors(self, texts: pl.Series) -> np.ndarray:
        """Unit vectors of texts, float32 of shape (n_texts, dimension)."""
        said = texts.fill_null("").to_list()
        found = np.zeros((len(said), self.dimension), dtype=np.float32)
        for start in range(0, len(said), _BLOCK):
            block = said[start : start + _BLOCK]
            found[start : start + _BLOCK] = _weighted(_counts(block), self.idf)[:, self.buckets] @ self.axes
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        return found / np.where(lengths > 0, lengths, 1)

    def beside(self, embedded: Embedded, texts: pl.Series) -> Embedded:
        """The embedding of each distinct text with its word vector beside it."""
        present, index = np.unique(embedded.index, return_inverse=True)
        row = np.empty(len(present), dtype=np.int64)
        row[index] = np.arange(len(index))  # any row of each distinct text
        words = torch.from_numpy(self.vectors(texts.gather(row))).to(embedded.vectors.device)
        return Embedded(torch.cat([embedded.vectors[torch.from_numpy(present)], words], dim=1), index)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The state, for an artifact."""
        arrays = {"idf": self.idf, "buckets": self.buckets, "axes": self.axes}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    @classmethod
    def restore(cls, tensors: Mapping[str, torch.Tensor]) -> WordVectors:
        """The inverse of ``tensors``."""
        return cls(*(tensors[name].numpy() for name in ("idf", "buckets", "axes")))


def _counts(texts: Sequence[str]) -> sp.csr_array:
    shortened = [text[:_LONGEST] for text in texts]
    return sp.csr_array(sp.hstack([vectorizer.transform(shortened) for vectorizer in _COUNTS], format="csr"))


def _weighted(counts: sp.csr_array, idf: np.ndarray) -> sp.csr_array:
    """1 + ln(count) times idf; words and characters each at unit length."""
    weighted = counts.astype(np.float32)
    weighted.data = (1 + np.log(weighted.data)) * idf[weighted.indices]
    row = np.repeat(np.arange(weighted.shape[0]), np.diff(weighted.indptr))
    of_half = row * 2 + (weighted.indices >= _BUCKETS)
    squares = np.bincount(of_half, weights=weighted.data**2, minlength=2 * weighted.shape[0])
    weighted.data /= np.sqrt(squares[of_half], dtype=np.float32)
    return weighted
