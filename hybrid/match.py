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
_BLOCK = 256  # rows whose vectors stay in the processor's cache
_CUDA_BLOCK = 2_048  # rows whose vectors are gathered at once, a few MiB
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
    """One cosine a row, float32 of shape (n_rows, 1), where the vectors lie."""
    rows = len(first.index)
    if first.vectors.is_cuda:
        measured = torch.empty((rows, 1), dtype=torch.float32, device=first.vectors.device)
        for start in range(0, rows, _CUDA_BLOCK):
            block = slice(start, start + _CUDA_BLOCK)
            on_left = first.vectors[torch.from_numpy(first.index[block]).to(first.vectors.device)]
            on_right = second.vectors[torch.from_numpy(second.index[block]).to(second.vectors.device)]
            measured[block, 0] = (on_left * on_right).sum(dim=1)
        return measured
    # NumPy, not torch: torch 2.13 spreads each of these small steps over all threads, which costs more than the step when cores are busy.
    left, right = first.vectors.numpy(), second.vectors.numpy()
    cosine = np.empty((rows, 1), dtype=np.float32)
    for start in range(0, rows, _BLOCK):
        block = slice(start, start + _BLOCK)
        np.vecdot(left.take(first.index[block], axis=0), right.take(second.index[block], axis=0), out=cosine[block, 0])
    return torch.from_numpy(cosine)


def _overlap(first: pl.Series, second: pl.Series, first_index: np.ndarray, second_index: np.ndarray) -> np.ndarray:
    """Jaccard, covered, covers, float32 of shape (n_rows, 3); each distinct text is cut into tokens once."""
    left, left_rows = _token_sets(first, first_index)
    right, right_rows = _token_sets(second, second_index)
    n_left, n_right = (side.list.len().to_numpy().astype(np.int64) for side in (left, right))
    said = pl.concat([side.explode().drop_nulls() for side in (left, right)])
    code = said.to_arrow().dictionary_encode().indices.to_numpy().astype(np.int64)
    left_code, right_code = np.split(code, [n_left.sum()])
    right_pair = right_code * len(right) + np.repeat(np.arange(len(right)), n_right)  # (token, text) as one number
    starts = np.cumsum(n_left) - n_left
    measures = np.empty((len(first), 3), dtype=np.float32)
    for at in range(0, len(first), _TOKEN_BLOCK):
        block = slice(at, at + _TOKEN_BLOCK)
        lefts, rights = left_rows[block], right_rows[block]
        near = np.zeros(len(right), dtype=bool)
        near[rights] = True
        held = pl.Series(right_pair[np.repeat(near, n_right)])
        size = n_left[lefts]
        stops = np.cumsum(size)
        token = np.arange(size.sum()) + np.repeat(starts[lefts] - stops + size, size)
        asked = pl.Series(left_code[token] * len(right) + np.repeat(rights, size))
        counted = np.append(0, np.cumsum(asked.is_in(held.implode()).to_numpy()))
        shared = (counted[stops] - counted[stops - size]).astype(np.float32)
        sizes = size.astype(np.float32), n_right[rights].astype(np.float32)
        for i, of in enumerate((sizes[0] + sizes[1] - shared, *sizes)):
            measures[block, i] = shared / np.maximum(of, 1)
    return measures


def _token_sets(texts: pl.Series, index: np.ndarray) -> tuple[pl.Series, np.ndarray]:
    """Token sets of the distinct texts, and each row's position among them."""
    row = np.full(int(index.max(initial=-1)) + 1, -1)
    row[index] = np.arange(len(index))  # any row of each distinct text
    present = row >= 0
    return tokens(texts.gather(row[present])), (np.cumsum(present) - 1)[index]
