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
_TOKEN_BLOCK = 65_536


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
    """Jaccard, covered, covers, float32 of shape (n_rows, 3); each distinct text is cut into tokens once."""
    sets = [_token_sets(first, first_index), _token_sets(second, second_index)]
    measures = np.empty((len(first), 3), dtype=np.float32)
    for start in range(0, len(first), _TOKEN_BLOCK):
        block = slice(start, start + _TOKEN_BLOCK)
        left, right = (known.gather(rows[block]) for known, rows in sets)
        shared = left.list.set_intersection(right).list.len().to_numpy().astype(np.float32)
        n_left, n_right = (side.list.len().to_numpy().astype(np.float32) for side in (left, right))
        for i, size in enumerate((n_left + n_right - shared, n_left, n_right)):
            measures[block, i] = shared / np.maximum(size, 1)
    return measures


def _token_sets(texts: pl.Series, index: np.ndarray) -> tuple[pl.Series, np.ndarray]:
    """Token sets of the distinct texts, and each row's position among them."""
    row = np.full(int(index.max(initial=-1)) + 1, -1)
    row[index] = np.arange(len(index))  # any row of each distinct text
    present = row >= 0
    return tokens(texts.gather(row[present])), (np.cumsum(present) - 1)[index]
