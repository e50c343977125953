"""Segments of keys: k-means on how recent, how frequent and how valuable they are, with a name for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.cluster import KMeans

_DAY = 86_400
_FITTED = 200_000  # keys that the centres are fitted to at most, drawn at random
_WORDS = (
    ("recent", "quiet", "lapsed"),
    ("rare", "regular", "frequent"),
    ("low value", "middle value", "high value"),
)
_SPOKEN = (1, 0, 2)  # frequency first: "frequent, recent, high value"


@dataclass(frozen=True)
class Segments:
    """Centres of segments in standardised logarithms of recency, frequency and, where there is one, value.

    Parameters
    ----------
    mean, scale : sequence of float
        Of the logarithms over the keys that were fitted.
    centres : sequence of sequence of float
        A row a segment, that of the largest frequency times value first.
    """

    mean: Sequence[float] = field(default_factory=list)
    scale: Sequence[float] = field(default_factory=list)
    centres: Sequence[Sequence[float]] = field(default_factory=list)

    @classmethod
    def of(cls, declared: Segments | Mapping[str, Any]) -> Segments:
        """From a mapping of the three; segments are returned as they are."""
        return declared if isinstance(declared, Segments) else Segments(**declared)

    @classmethod
    def fit(cls, measures: Sequence[np.ndarray], n_segments: int, random_state: int) -> Segments:
        """Fit k-means (scikit-learn's ``KMeans``, k-means++, the best of four starts).

        Parameters
        ----------
        measures : sequence of arrays of shape (n_keys,)
            Recency in seconds, frequency, and value unless there is none; keys whose recency is NaN are left out.
        n_segments : int
            At most; fewer where fewer keys differ.
        random_state : int
        """
        points = _logarithms([values[~np.isnan(measures[0])] for values in measures])
        if not len(points):
            return cls()
        if len(points) > _FITTED:
            drawn = np.random.default_rng(random_state).choice(len(points), _FITTED, replace=False)
            points = points[np.sort(drawn)]
        mean, scale = points.mean(axis=0), points.std(axis=0)
        scale = np.where(scale > 1e-9, scale, 1.0)
        standard = (points - mean) / scale
        n_clusters = min(n_segments, len(np.unique(standard, axis=0)))
        means = KMeans(n_clusters, n_init=4, random_state=random_state).fit(standard).cluster_centers_
        raw = _inverse(means * scale + mean)
        worth = raw[:, 1] * raw[:, 2] if raw.shape[1] > 2 else raw[:, 1]
        order = np.lexsort((*means.T, -worth))
        return cls(mean.tolist(), scale.tolist(), means[order].tolist())

    def nearest(self, measures: Sequence[np.ndarray]) -> np.ndarray:
        """Code of each key's segment, Float64; NaN where its recency is."""
        if not self.centres:
            return np.full(len(measures[0]), np.nan)
        points = (_logarithms(measures) - np.asarray(self.mean)) / np.asarray(self.scale)
        distances = np.stack([((points - np.asarray(centre)) ** 2).sum(axis=1) for centre in self.centres])
        return np.where(np.isnan(measures[0]), np.nan, distances.argmin(axis=0))

    def names(self) -> list[str]:
        """A name for each segment, unique: words for coordinates half a deviation off the mean, and numbers where words do not do."""
        if not self.centres:
            return []
        centres = np.asarray(self.centres)
        level = 1 + (centres > 0.5).astype(int) - (centres < -0.5).astype(int)
        spoken = [place for place in _SPOKEN if place < centres.shape[1]]
        names = [", ".join(_WORDS[place][row[place]] for place in spoken) for row in level]
        raw = _inverse(centres * np.asarray(self.scale) + np.asarray(self.mean))
        numbers = [
            f"{row[1]:.2g} events in 30 days"
            + (f" of {row[2]:.3g}" if len(row) > 2 else f", {row[0] / _DAY:.2g} days ago")
            for row in raw
        ]
        names = [
            f"{name} ({said})" if names.count(name) > 1 else name for name, said in zip(names, numbers, strict=True)
        ]
        return [f"{name} #{code}" if names.count(name) > 1 else name for code, name in enumerate(names)]


def _logarithms(measures: Sequence[np.ndarray]) -> np.ndarray:
    """Points of shape (n_keys, 2 or 3); an unknown value counts as 0."""
    recency, *others = (np.nan_to_num(values) for values in measures)
    signed = [np.sign(values) * np.log1p(np.abs(values)) for values in others]
    return np.stack([np.log1p(recency / _DAY), *signed], axis=1)


def _inverse(points: np.ndarray) -> np.ndarray:
    """Recency in seconds, frequency and value of points."""
    raw = np.sign(points) * np.expm1(np.abs(points))
    return raw * np.array([_DAY, 1.0, 1.0])[: raw.shape[1]]
