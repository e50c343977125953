"""Nearest neighbours by cosine: exact up to a number of keys, by an approximate index beyond."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_FLOATS = 2**25  # numbers in one block of similarities: 128 MiB
ROUNDING = 1e-6  # cosines of float32 vectors from products of whole matrices are exact to about this
_EXPANSION = 512  # candidates that a search of the approximate index keeps: recall for time


@dataclass(frozen=True, eq=False)
class NeighborLists:
    """The neighbours of some targets, most similar first.

    Parameters
    ----------
    starts : numpy.ndarray of int64, shape (n_targets + 1,)
        Where each target's neighbours begin in the other two arrays.
    places : numpy.ndarray of int64
        Positions of the neighbours among the known vectors.
    similarity : numpy.ndarray of float64
        Their cosines to the target, the same to the last digits whatever else is searched for or known.
    """

    starts: np.ndarray
    places: np.ndarray
    similarity: np.ndarray


class NeighborIndex:
    """Known unit vectors, searched by cosine.

    Parameters
    ----------
    vectors : numpy.ndarray of float32, shape (n_known, dimension)
        Zero vectors are nobody's neighbours.
    exact_up_to : int
        With more known vectors than this an HNSW index of the package usearch is asked.

    Raises
    ------
    ModuleNotFoundError
        Where the index is needed and usearch is not installed.
    """

    def __init__(self, vectors: np.ndarray, exact_up_to: int) -> None:
        self._vectors = vectors
        self._index = None
        if len(vectors) > exact_up_to:
            try:
                from usearch.index import Index
            except ModuleNotFoundError as error:
                raise ModuleNotFoundError(
                    f"{len(vectors):,} keys are more than exact_up_to={exact_up_to:,}, and the approximate index needs the package "
                    "usearch: pip install 'intentree[neighbors]', or raise exact_up_to",
                    name="usearch",
                ) from error
            self._index = Index(
                ndim=vectors.shape[1], metric="ip", dtype="f32", expansion_add=128, expansion_search=_EXPANSION
            )
            # One thread: with several the graph, and so the neighbours, would differ from run to run.
            self._index.add(np.arange(len(vectors)), vectors, threads=1)

    def search(self, targets: np.ndarray, at_most: int, min_similarity: float) -> NeighborLists:
        """For each target the known vectors with a cosine of at least ``min_similarity`` (above 0), ``at_most`` of them."""
        at_most = min(at_most, len(self._vectors))
        rows, places, similarity = [], [], []
        step = max(1, _FLOATS // max(1, len(self._vectors)))
        for start in range(0, len(targets) if at_most else 0, step):
            block = targets[start : start + step]
            near, found = self._nearest(block, at_most)
            row, column = np.nonzero(found >= min_similarity - ROUNDING)
            row, place, exact = self._ordered(block, row, near[row, column])
            kept = exact >= min_similarity
            rows.append(start + row[kept])
            places.append(place[kept])
            similarity.append(exact[kept])
        return _lists(len(targets), rows, places, similarity)

    def search_first(
        self, targets: np.ndarray, first: np.ndarray, at_most: int, min_similarity: float
    ) -> NeighborLists:
        """As ``search``, but for each target exactly, and among so many of the known vectors, the first, as ``first`` says."""
        order = np.argsort(first, kind="stable")  # so that early targets are multiplied with few vectors
        rows, places, similarity = [], [], []
        step = max(1, _FLOATS // max(1, int(first.max(initial=1))))
        for start in range(0, len(order), step):
            mine = order[start : start + step]
            width = int(first[mine].max())
            if not width:
                continue
            cosines = targets[mine] @ self._vectors[:width].T
            cosines[np.arange(width) >= first[mine][:, None]] = -2
            last = width - min(at_most, width)
            bound = np.maximum(np.partition(cosines, last, axis=1)[:, last], min_similarity) - ROUNDING
            row, place, exact = self._ordered(targets[mine], *np.nonzero(cosines >= bound[:, None]))
            rank = np.arange(len(row)) - np.searchsorted(row, row)
            kept = (rank < at_most) & (exact >= min_similarity)
            rows.append(mine[row[kept]])
            places.append(place[kept])
            similarity.append(exact[kept])
        return _lists(len(targets), rows, places, similarity)

    def _ordered(
        self, targets: np.ndarray, rows: np.ndarray, places: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pairs of a target and a known vector with their cosines: by target, the most similar first, ties by position.

        A product of whole matrices rounds differently with their shapes; these cosines do not, so that the same log gives the same
        neighbours whatever the batch, and so does a log that ends earlier.
        """
        exact = np.empty(len(rows))
        step = max(1, _FLOATS // (4 * self._vectors.shape[1]))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            one, other = targets[rows[part]].astype(np.float64), self._vectors[places[part]].astype(np.float64)
            exact[part] = np.einsum("ij,ij->i", one, other)
        order = np.lexsort((places, -exact, rows))
        return rows[order], places[order], exact[order]

    def _nearest(self, targets: np.ndarray, at_most: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions and rounded cosines, in any order, both of shape (n_targets, at_most)."""
        if self._index is not None:
            matches = self._index.search(targets, at_most)
            keys, distances = (np.asarray(part).reshape(len(targets), -1) for part in (matches.keys, matches.distances))
            return keys.astype(np.int64), 1 - distances
        cosines = targets @ self._vectors.T
        near = np.argpartition(-cosines, at_most - 1, axis=1)[:, :at_most]
        return near, np.take_along_axis(cosines, near, axis=1)


def _lists(
    n_targets: int, rows: list[np.ndarray], places: list[np.ndarray], similarity: list[np.ndarray]
) -> NeighborLists:
    """Parts of neighbours, those of one target within one part, as lists by target."""
    none = np.zeros(0, np.int64)
    row = np.concatenate([none, *rows])
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n_targets))])
    order = np.argsort(row, kind="stable")
    return NeighborLists(
        starts, np.concatenate([none, *places])[order], np.concatenate([np.zeros(0), *similarity])[order]
    )
