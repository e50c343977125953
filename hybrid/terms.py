"""Terms of texts: which of them each text holds and how often, and which of them two texts share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

_CELLS = 1 << 21  # terms that are compared at once, a few tens of MiB
HASHED = 1 << 30
"""Number of terms where terms are hash values."""


def hashed(key: np.ndarray) -> np.ndarray:
    """30-bit hash values of int64 keys (Fibonacci hashing): of 50 and 40 terms, two that differ meet about twice in a million."""
    return (key.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(34)).astype(np.int32)


@dataclass(frozen=True)
class Terms:
    """Distinct terms of texts, as rows of a sparse matrix.

    Parameters
    ----------
    counts : scipy.sparse.csr_array of int32, shape (n_texts, n_terms)
        How often a text has a term; sorted within each text.
    """

    counts: csr_array

    @classmethod
    def of(cls, code: np.ndarray, size: np.ndarray, n_terms: int) -> Terms:
        """Terms from the codes of all texts one after the other, ``size`` of them in each text."""
        starts = np.concatenate([[0], np.cumsum(size)])
        # Made with the index type that scipy would choose later: else each selection of rows converts it.
        index = np.int32 if max(len(code), n_terms) <= np.iinfo(np.int32).max else np.int64
        ones = np.ones(len(code), dtype=np.int32)
        counts = csr_array((ones, code.astype(index), starts.astype(index)), shape=(len(size), n_terms))
        counts.sum_duplicates()
        return cls(counts)

    def through(self, meaning: Terms) -> Terms:
        """Terms of the same texts where each of these terms stands for those that ``meaning`` has in its place."""
        counts = csr_array(self.counts @ meaning.counts)
        counts.sum_duplicates()
        return Terms(counts)

    @property
    def sizes(self) -> np.ndarray:
        """Distinct terms of each text."""
        return np.diff(self.counts.indptr)

    def totals(self, weight: np.ndarray) -> np.ndarray:
        """Sum of ``weight`` of each term over the distinct terms of each text, float64."""
        text = np.repeat(np.arange(len(self.sizes)), self.sizes)
        return np.bincount(text, weight[self.counts.indices], minlength=len(self.sizes))

    def shared(self, left: np.ndarray, right: np.ndarray) -> Iterator[Shared]:
        """Shared terms of the pairs (``left[i]``, ``right[i]``) of texts, a block of pairs at a time, in order."""
        asked = self._with_data(np.ones(len(self.counts.data), dtype=np.int32))
        held = self._with_data(np.arange(1, len(self.counts.data) + 1, dtype=np.int32))
        cells = np.cumsum(self.sizes[left].astype(np.int64) + self.sizes[right] + 1)
        start = 0
        while start < len(left):
            spent = cells[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(cells, spent + _CELLS, side="right")))
            both = asked[left[start:stop]] * held[right[start:stop]]
            pair = np.repeat(np.arange(stop - start), np.diff(both.indptr))
            yield Shared(slice(start, stop), pair, both.indices, both.data - 1)
            start = stop

    def n_shared(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Number of distinct terms that the two texts of each pair share, float64."""
        counted = [shared.count() for shared in self.shared(left, right)]
        return np.concatenate([*counted, np.zeros(0)])

    def _with_data(self, data: np.ndarray) -> csr_array:
        made = csr_array((data, self.counts.indices, self.counts.indptr), shape=self.counts.shape)
        made.has_canonical_format = True
        return made


@dataclass(frozen=True)
class Shared:
    """Terms that both texts of a pair have, for consecutive pairs.

    Parameters
    ----------
    block : slice
        The pairs.
    pair : numpy.ndarray of int64
        For each shared term, its pair's position in the block; ascending.
    term : numpy.ndarray of int32
    at : numpy.ndarray of int32
        Where ``Terms.counts.data`` tells of this term in the second text.
    """

    block: slice
    pair: np.ndarray
    term: np.ndarray
    at: np.ndarray

    def count(self) -> np.ndarray:
        """Shared terms of each pair, float64."""
        return np.bincount(self.pair, minlength=self.block.stop - self.block.start).astype(np.float64)

    def sum(self, weight: np.ndarray) -> np.ndarray:
        """Sum of a weight of each shared term by pair, float64."""
        return np.bincount(self.pair, weight, minlength=self.block.stop - self.block.start)
