"""Hashed n-grams of words and characters, weighted by rarity, and word vectors: the same reduced to a few hundred dimensions.

An encoder blurs words that it never saw: product codes, sizes, brands, names of a shop's own. These keep them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

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


class NGrams:
    """Hashed n-grams of texts, one or two words and three to five characters of a word, weighted by rarity.

    Counts enter as 1 + ln(count), times ln((1 + n) / (1 + document frequency)) + 1, words and characters each at unit length.

    Parameters
    ----------
    idf : numpy.ndarray of float32, shape (2 * 32_768,)
        Words, then characters.
    buckets : numpy.ndarray of int64, shape (n_buckets,)
        Those that are read.
    """

    def __init__(self, idf: np.ndarray, buckets: np.ndarray) -> None:
        self.idf = idf
        self.buckets = buckets

    @classmethod
    def fit(cls, texts: pl.Series) -> tuple[NGrams, sp.csr_array]:
        """Fit to distinct texts, whose weights come too; an n-gram that one text alone has is left out."""
        counts = _counts(texts.to_list())
        present = np.bincount(counts.indices, minlength=2 * _BUCKETS)
        idf = (np.log((1 + len(texts)) / (1 + present)) + 1).astype(np.float32)
        buckets = np.flatnonzero(present >= 2)
        return cls(idf, buckets), _weighted(counts, idf)[:, buckets]

    def weigh(self, texts: Sequence[str]) -> sp.csr_array:
        """Weights of texts, float32 of shape (n_texts, n_buckets)."""
        return _weighted(_counts(texts), self.idf)[:, self.buckets]

    def blocks(self, texts: pl.Series) -> Iterator[sp.csr_array]:
        """Weights of 8,192 texts at a time; a text that is missing has none."""
        said = texts.fill_null("").to_list()
        return (self.weigh(said[start : start + _BLOCK]) for start in range(0, len(said), _BLOCK))

    def weigh_all(self, texts: pl.Series) -> sp.csr_array:
        """Weights of texts, float32 of shape (n_texts, n_buckets)."""
        blocks = list(self.blocks(texts)) or [self.weigh([""])[:0]]
        return sp.csr_array(sp.vstack(blocks, format="csr")) if len(blocks) > 1 else blocks[0]

    def most_frequent(self, n: int) -> NGrams:
        """The ``n`` n-grams that most of the fitted texts have."""
        return NGrams(self.idf, np.sort(self.buckets[np.argsort(self.idf[self.buckets], kind="stable")[:n]]))

    def tensors(self) -> dict[str, torch.Tensor]:
        """The state, for an artifact."""
        return {"idf": torch.from_numpy(self.idf), "buckets": torch.from_numpy(self.buckets)}

    @classmethod
    def restore(cls, tensors: Mapping[str, torch.Tensor]) -> NGrams:
        """The inverse of ``tensors``."""
        return cls(tensors["idf"].numpy(), tensors["buckets"].numpy())


class WordVectors:
    """Latent semantic analysis of n-grams (Deerwester et al., 1990): their leading right singular vectors.

    Vectors have unit length; a text without a known n-gram has the zero vector.

    Parameters
    ----------
    ngrams : NGrams
    axes : numpy.ndarray of float32, shape (n_buckets, dimension)
    """

    def __init__(self, ngrams: NGrams, axes: np.ndarray) -> None:
        self.ngrams = ngrams
        self.axes = axes

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return int(self.axes.shape[1])

    @classmethod
    def fit(cls, texts: pl.Series, dimension: int, random_state: int) -> WordVectors:
        """Fit to distinct texts, 30,000 of them at most."""
        return cls.reduce(*NGrams.fit(sample(texts, random_state)), dimension, random_state)

    @classmethod
    def reduce(cls, ngrams: NGrams, weighted: sp.csr_array, dimension: int, random_state: int) -> WordVectors:
        """From the weighted n-grams of the texts to fit to."""
        dimension = min(dimension, len(ngrams.buckets) - 1, weighted.shape[0] - 1)
        if dimension < 1:
            return cls(ngrams, np.zeros((len(ngrams.buckets), 1), dtype=np.float32))
        _, _, axes = randomized_svd(weighted, dimension, n_iter=2, random_state=random_state)
        return cls(ngrams, np.ascontiguousarray(axes.T, dtype=np.float32))

    def vectors(self, texts: pl.Series) -> np.ndarray:
        """Unit vectors of texts, float32 of shape (n_texts, dimension)."""
        found = [self.of_weighted(block) for block in self.ngrams.blocks(texts)]
        return np.concatenate(found) if found else np.zeros((0, self.dimension), dtype=np.float32)

    def of_weighted(self, weighted: sp.csr_array) -> np.ndarray:
        """Unit vectors of texts by their weighted n-grams."""
        found: np.ndarray = weighted @ self.axes
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        return found / np.where(lengths > 0, lengths, 1)

    def beside(self, embedded: Embedded, texts: pl.Series, vectors: np.ndarray | None = None) -> Embedded:
        """The embedding of each distinct text with its word vector beside it; ``vectors``, if known, as `of_distinct` orders the texts."""
        distinct, index, present = of_distinct(embedded, texts)
        words = torch.from_numpy(self.vectors(distinct) if vectors is None else vectors).to(embedded.vectors.device)
        return Embedded(torch.cat([embedded.vectors[torch.from_numpy(present)], words], dim=1), index)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The state, for an artifact."""
        return self.ngrams.tensors() | {"axes": torch.from_numpy(self.axes)}

    @classmethod
    def restore(cls, tensors: Mapping[str, torch.Tensor]) -> WordVectors:
        """The inverse of ``tensors``."""
        return cls(NGrams.restore(tensors), tensors["axes"].numpy())


def sample(texts: pl.Series, random_state: int) -> pl.Series:
    """The distinct texts that n-grams are fitted to: 30,000 at most, a missing one being empty."""
    texts = texts.fill_null("")
    return texts if len(texts) <= _MOST_TEXTS else texts.sample(_MOST_TEXTS, seed=random_state)


def of_distinct(embedded: Embedded, texts: pl.Series) -> tuple[pl.Series, np.ndarray, np.ndarray]:
    """The distinct texts of the rows, each row's index into them, and theirs into the embedded vectors."""
    present, index = np.unique(embedded.index, return_inverse=True)
    row = np.empty(len(present), dtype=np.int64)
    row[index] = np.arange(len(index))  # any row of each distinct text
    return texts.gather(row), index, present


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
