"""The wide side of a text head: a linear model over hashed n-grams as they are, beside the network over dense vectors.

A network over reduced vectors blurs rare n-grams; a linear model reads each by itself and knows nothing of meaning. Their errors differ
(Cheng et al., "Wide & Deep Learning for Recommender Systems", 2016).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import scipy.sparse as sp
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from hybrid.head.words import NGrams

_C = 10.0  # inverse strength of the L2 penalty, on the sum of losses
_MOST_NGRAMS, _FEWEST_NGRAMS = 20_000, 4_096
_MOST_WEIGHTS = 1_000_000  # n-grams times classes, which bound the n-grams down to the fewest
_ITERATIONS, _TOLERANCE = 50, 1e-3


@dataclass(frozen=True)
class WideModel:
    """Logits that are linear in weighted n-grams.

    Parameters
    ----------
    ngrams : NGrams
        Those that are read.
    weights : numpy.ndarray of float32, shape (n_ngrams, n_classes)
    bias : numpy.ndarray of float32, shape (n_classes,)
    """

    ngrams: NGrams
    weights: np.ndarray
    bias: np.ndarray

    def logits(self, texts: pl.Series) -> np.ndarray:
        """Logits of texts, float32 of shape (n_texts, n_classes)."""
        found = [block @ self.weights + self.bias for block in self.ngrams.blocks(texts)]
        return np.concatenate(found) if found else np.zeros((0, len(self.bias)), dtype=np.float32)

    def of_weighted(self, weighted: sp.csr_array, ngrams: NGrams) -> np.ndarray:
        """Logits of texts by their weights of n-grams among which are those of this model."""
        found: np.ndarray = weighted[:, np.searchsorted(ngrams.buckets, self.ngrams.buckets)] @ self.weights + self.bias
        return found

    def tensors(self) -> dict[str, torch.Tensor]:
        """The state, for an artifact."""
        arrays = {"weights": self.weights, "bias": self.bias}
        return self.ngrams.tensors() | {name: torch.from_numpy(array) for name, array in arrays.items()}

    @classmethod
    def restore(cls, tensors: Mapping[str, torch.Tensor]) -> WideModel:
        """The inverse of ``tensors``."""
        return cls(NGrams.restore(tensors), tensors["weights"].numpy(), tensors["bias"].numpy())

    def scaled(self, scale: float) -> WideModel:
        """The model with its logits multiplied."""
        return WideModel(self.ngrams, self.weights * np.float32(scale), self.bias * np.float32(scale))

    @classmethod
    def mean(cls, models: Sequence[WideModel]) -> WideModel:
        """The model whose logits are the mean of those of models that read the same n-grams."""
        weights, bias = (np.mean([getattr(one, name) for one in models], axis=0) for name in ("weights", "bias"))
        return cls(models[0].ngrams, weights, bias)


class WideRows:
    """The rows of wide models: their distinct texts, and the weighted n-grams of those that models learn from.

    Parameters
    ----------
    ngrams : NGrams
        Those that a model reads.
    texts : polars.Series of distinct texts
    index : numpy.ndarray of int64, shape (n_rows,)
        The distinct text of each row.
    learned : numpy.ndarray of int64
        Rows that models may learn from.
    n_classes : int
    weighted : scipy.sparse.csr_array of float32, shape (n_distinct, n_ngrams), optional
        Weights of all n-grams of ``ngrams`` before the most frequent were taken, where they are known.
    """

    def __init__(
        self,
        ngrams: NGrams,
        texts: pl.Series,
        index: np.ndarray,
        learned: np.ndarray,
        n_classes: int,
        weighted: sp.csr_array | None = None,
    ) -> None:
        self.n_classes = n_classes
        self.ngrams = ngrams.most_frequent(min(_MOST_NGRAMS, max(_MOST_WEIGHTS // n_classes, _FEWEST_NGRAMS)))
        self.index = index
        self._texts = texts
        self._read = np.unique(index[learned])
        if weighted is None:
            self._inputs = self.ngrams.weigh_all(texts.gather(self._read))
        else:
            self._inputs = weighted[self._read][:, np.searchsorted(ngrams.buckets, self.ngrams.buckets)]

    def inputs(self, rows: np.ndarray) -> sp.csr_array:
        """Weighted n-grams of rows that models may learn from."""
        return self._inputs[np.searchsorted(self._read, self.index[rows])]

    def logits(self, model: WideModel, rows: np.ndarray) -> np.ndarray:
        """Logits of any rows, float32 of shape (n, n_classes)."""
        if len(self._read) == len(self._texts):
            found: np.ndarray = self.inputs(rows) @ model.weights + model.bias
            return found
        read, index = np.unique(self.index[rows], return_inverse=True)
        return model.logits(self._texts.gather(read))[index]


def fit_wide(rows: WideRows, learned: np.ndarray, codes: np.ndarray, weight: np.ndarray | None) -> WideModel:
    """Multinomial logistic regression on weighted n-grams.

    A class that no row has is as improbable as one row in all of them.

    Parameters
    ----------
    rows : WideRows
    learned : numpy.ndarray of int64, shape (n_learned,)
        Those to learn from.
    codes : numpy.ndarray of int64, shape (n_learned,)
    weight : numpy.ndarray of shape (n_learned,), optional
    """
    n_classes = rows.n_classes
    present = np.unique(codes)
    weights = np.zeros((len(rows.ngrams.buckets), n_classes), dtype=np.float32)
    bias = np.full(n_classes, -np.log(len(codes) + n_classes), dtype=np.float32)
    if len(present) == 1:
        bias[present] = 0
        return WideModel(rows.ngrams, weights, bias)
    model = LogisticRegression(C=_C, max_iter=_ITERATIONS, tol=_TOLERANCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last steps change no digit that counts
        model.fit(rows.inputs(learned), codes, sample_weight=None if weight is None else weight / weight.mean())
    signs = np.array([[-0.5], [0.5]]) if len(present) == 2 else np.ones((len(present), 1))
    weights[:, present] = (signs * model.coef_).T
    bias[present] = signs[:, 0] * model.intercept_
    return WideModel(rows.ngrams, weights, bias)
