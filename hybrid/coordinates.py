"""Coordinates: an embedding's leading dimensions, by PCA or by truncation."""

from __future__ import annotations

import torch

from hybrid.encoder import Embedded
from hybrid.errors import ParameterError
from hybrid.matrix import Column, FeatureMatrix

PCA, TRUNCATE = "pca", "truncate"
REDUCTIONS = (PCA, TRUNCATE)


class Projection:
    """A linear map from embeddings to their first ``n_coordinates``.

    Parameters
    ----------
    mean : torch.Tensor of float32, shape (dimension,)
    components : torch.Tensor of float32, shape (dimension, n_coordinates)
    """

    def __init__(self, mean: torch.Tensor, components: torch.Tensor) -> None:
        self.mean = mean
        self.components = components

    @classmethod
    def fit(cls, vectors: torch.Tensor, n_coordinates: int, reduction: str) -> Projection:
        """Fit to the distinct texts' vectors; fewer coordinates come out where the vectors span fewer.

        ``"pca"``: principal axes in the order of their variance, signs fixed by the largest entry; ``"truncate"``: the leading
        dimensions as they are, for encoders trained to nest them (Matryoshka).
        """
        if reduction not in REDUCTIONS:
            raise ParameterError(f"reduction must be one of {', '.join(map(repr, REDUCTIONS))}, not {reduction!r}")
        dimension = vectors.shape[1]
        if reduction == TRUNCATE:
            eye = torch.eye(dimension, min(n_coordinates, dimension), device=vectors.device)
            return cls(torch.zeros(dimension, device=vectors.device), eye)
        centred = vectors.double() - vectors.double().mean(dim=0)
        _, axes = torch.linalg.eigh(centred.T @ centred)
        axes = axes.flip(1)[:, : min(n_coordinates, dimension, vectors.shape[0])]
        signs = torch.sign(axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)))
        # In the layout that an artifact is loaded with: products of another one round otherwise, and trees split at such values.
        components = (axes * signs).float().contiguous()
        return cls(vectors.double().mean(dim=0).float(), components)

    def apply(self, embedded: Embedded, role: str) -> FeatureMatrix:
        """Coordinates of each row, in the group ``{role} text``."""
        device = embedded.vectors.device
        projected = (embedded.vectors - self.mean.to(device)) @ self.components.to(device)
        columns = coordinate_columns(role, projected.shape[1])
        if projected.is_cuda:
            return FeatureMatrix(projected[torch.from_numpy(embedded.index).to(device)], columns)
        return FeatureMatrix(projected.numpy().take(embedded.index, axis=0), columns)


def coordinate_columns(role: str, n_coordinates: int) -> tuple[Column, ...]:
    """Columns of a role's coordinates, numbered from 0."""
    return tuple(Column(f"{role}__text_{i}", f"{role} text") for i in range(n_coordinates))
