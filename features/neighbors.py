"""Nearest neighbours by cosine: exact up to a number of keys, by an approximate index beyond."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_FLOATS = 2**25  # numbers in one block of similarities: 128 MiB
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
    similarity : numpy.ndarray of float32
        Their cosines to the target.
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
            kept = found >= min_similarity
            rows.append(start + np.nonzero(kept)[0])
            places.append(near[kept])
            similarity.append(found[kept])
        if not rows:
            return NeighborLists(np.zeros(len(targets) + 1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
        counts = np.bincount(np.concatenate(rows), minlength=len(targets))
        starts = np.concatenate([[0], np.cumsum(counts)])
        return NeighborLists(starts, np.concatenate(places), np.concatenate(similarity))

    def _nearest(self, targets: np.ndarray, at_most: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions and cosines, most similar first, both of shape (n_targets, at_most)."""
        if self._index is not None:
            matches = self._index.search(targets, at_most)
            keys, distances = (np.asarray(part).reshape(len(targets), -1) for part in (matches.keys, matches.distances))
            return keys.astype(np.int64), 1 - distances
        cosines = targets @ self._vectors.T
        near = np.argpartition(-cosines, at_most - 1, axis=1)[:, :at_most]
        found = np.take_along_axis(cosines, near, axis=1)
        # Ties by position, so that the same log gives the same neighbours whatever the batch.
        order = np.lexsort((near, -found), axis=1)
        return np.take_along_axis(near, order, axis=1), np.take_along_axis(found, order, axis=1)
