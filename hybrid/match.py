"""Match features: how well the texts of two roles agree, by meaning and by words."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import polars as pl
import torch

from hybrid.encoder import Embedded
from hybrid.matrix import Column, FeatureMatrix
from hybrid.texts import tokens

GROUP = "text match"
_BLOCK = 2_048  # rows whose vectors stay in the processor's cache


def match_columns(roles: Sequence[str]) -> tuple[Column, ...]:
    """Columns for every pair of roles in their declared order."""
    return tuple(
        Column(f"{first}_x_{second}__{measure}", GROUP)
        for first, second in itertools.combinations(roles, 2)
        for measure in ("cosine", "jaccard", "covered", "covers")
    )


def match(roles: Sequence[str], embedded: dict[str, Embedded], texts: dict[str, pl.Series]) -> FeatureMatrix:
    """Match features of every pair of roles.

    For each pair: the cosine of the embeddings; Jaccard similarity of the token sets; the share of the first text's tokens that the
    second has (``covered``), and the other way round (``covers``). A pair with an empty text has 0 in all four.

    Parameters
    ----------
    roles : sequence of str
    embedded : dict from role to Embedded
        Vectors of the distinct texts, unit length or zero, and each row's index into them.
    texts : dict from role to polars.Series of String, shape (n_rows,)
    """
    values = []
    for first, second in itertools.combinations(roles, 2):
        values.append(_cosine(embedded[first], embedded[second]))
        values.append(
            torch.from_numpy(_overlap(texts[first], texts[second], embedded[first].index, embedded[second].index))
        )
    device = values[0].device
    joined = torch.cat([part.to(device) for part in values], dim=1)
    return FeatureMatrix(joined if joined.is_cuda else joined.numpy(), match_columns(roles))


def _cosine(first: Embedded, second: Embedded) -> torch.Tensor:
    rows = len(first.index)
    cosine = torch.empty((rows, 1), dtype=torch.float32, device=first.vectors.device)
    for start in range(0, rows, _BLOCK):
        block = slice(start, start + _BLOCK)
        left = first.vectors[torch.from_numpy(first.index[block]).to(first.vectors.device)]
        right = second.vectors[torch.from_numpy(second.index[block]).to(second.vectors.device)]
        cosine[block, 0] = (left * right).sum(dim=1)
    return cosine


def _overlap(first: pl.Series, second: pl.Series, first_index: np.ndarray, second_index: np.ndarray) -> np.ndarray:
    """Jaccard, covered, covers: computed once for each distinct pair of texts, float32 of shape (n_rows, 3)."""
    pair = first_index * (int(second_index.max(initial=0)) + 1) + second_index
    _, row, inverse = np.unique(pair, return_index=True, return_inverse=True)
    left, right = _token_sets(first, first_index, row), _token_sets(second, second_index, row)
    shared = left.list.set_intersection(right).list.len().to_numpy().astype(np.float32)
    n_left, n_right = (side.list.len().to_numpy().astype(np.float32) for side in (left, right))
    sizes = (n_left + n_right - shared, n_left, n_right)
    measures = np.stack([shared / np.maximum(size, 1) for size in sizes], axis=1)
    return measures[inverse]


def _token_sets(texts: pl.Series, index: np.ndarray, rows: np.ndarray) -> pl.Series:
    """Token sets of the texts at ``rows``; each distinct text is cut into tokens once."""
    distinct, row = np.unique(index, return_index=True)
    return tokens(texts.gather(row)).gather(np.searchsorted(distinct, index[rows]))
