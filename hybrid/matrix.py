"""The joined matrix: float32 values, every column named and in one group."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hybrid.errors import MatrixError

TEXT_HEAD = "text head"


@dataclass(frozen=True)
class Column:
    """One column of a feature matrix.

    Parameters
    ----------
    name : str
        Unique within the matrix.
    group : str
        The evidence that the column belongs to; groups are explained, tuned and switched as one.
    categories : int, default 0
        Number of categories for a column of category codes (0 .. categories - 1, NaN for missing or unseen); 0 for a number.
    family : str, default ""
        The family of a behaviour feature.
    weight : float, default 1.0
        How often the column is drawn where a tree reads a share of the columns, next to the others.
    """

    name: str
    group: str
    categories: int = 0
    family: str = ""
    weight: float = 1.0


NOTHING = Column("text_head__nothing", TEXT_HEAD)
"""Stands where a head is all that a model reads."""


@dataclass(frozen=True)
class BaseMargin:
    """What trees start from: scores of the text head, which sit in no column.

    Parameters
    ----------
    values : numpy.ndarray of float32, shape (n_rows, n_margins)
    mean : numpy.ndarray of float32, shape (n_margins,)
        The training rows' mean, which an explanation counts to the bias.
    """

    values: np.ndarray
    mean: np.ndarray

    def rows(self, index: np.ndarray) -> BaseMargin:
        """The rows at ``index``, in its order."""
        return BaseMargin(self.values[index], self.mean)

    @property
    def contributions(self) -> np.ndarray:
        """What the head adds to each row's margins, float32 of shape (n_rows, n_margins)."""
        return self.values - self.mean


@dataclass(frozen=True)
class FeatureMatrix:
    """Float32 values with a ``Column`` for each, and the margin that trees start from, if there is one.

    Parameters
    ----------
    values : numpy.ndarray or torch.Tensor of float32, shape (n_rows, n_columns)
        A NumPy array on the CPU; a tensor where the values already lie on a CUDA device.
    columns : tuple of Column
    margin : BaseMargin, optional
        Belongs to the group "text head".
    """

    values: np.ndarray | torch.Tensor
    columns: tuple[Column, ...]
    margin: BaseMargin | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.columns):
            raise MatrixError(f"values of shape {tuple(self.values.shape)} do not fit {len(self.columns)} columns")
        if self.margin is not None and len(self.margin.values) != len(self.values):
            raise MatrixError(f"a margin of {len(self.margin.values)} rows does not fit {len(self.values)} rows")
        if self.values.dtype not in (np.float32, torch.float32):
            raise MatrixError(f"a feature matrix holds float32, not {self.values.dtype}")
        seen: set[str] = set()
        for column in self.columns:
            if column.name in seen:
                raise MatrixError(f"two columns are named {column.name!r}")
            seen.add(column.name)

    @classmethod
    def join(cls, parts: Sequence[FeatureMatrix]) -> FeatureMatrix:
        """Put matrices over the same rows side by side; on the device of the first part that lies on one."""
        columns = tuple(column for part in parts for column in part.columns)
        device = next((part.values.device for part in parts if isinstance(part.values, torch.Tensor)), None)
        if device is None:
            return cls(np.concatenate([part.values for part in parts], axis=1), columns)
        return cls(torch.cat([torch.as_tensor(part.values, device=device) for part in parts], dim=1), columns)

    def __len__(self) -> int:
        return int(self.values.shape[0])

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups present, in the order of their first column; a margin comes last."""
        named = [column.group for column in self.columns]
        return tuple(dict.fromkeys(named if self.margin is None else [*named, TEXT_HEAD]))

    def positions(self, group: str) -> np.ndarray:
        """Indices of the group's columns, int64."""
        return np.array([i for i, column in enumerate(self.columns) if column.group == group], dtype=np.int64)

    def rows(self, index: np.ndarray) -> FeatureMatrix:
        """The rows at ``index``, in its order."""
        return FeatureMatrix(self.values[index], self.columns, None if self.margin is None else self.margin.rows(index))

    def replacing(self, other: FeatureMatrix) -> FeatureMatrix:
        """The matrix with the columns that it shares with another of the same rows taken from that one."""
        places = {column.name: i for i, column in enumerate(other.columns)}
        shared = [i for i, column in enumerate(self.columns) if column.name in places]
        values: Any = self.values.clone() if isinstance(self.values, torch.Tensor) else self.values.copy()
        own = other.values[:, [places[self.columns[i].name] for i in shared]]
        values[:, shared] = torch.as_tensor(own, device=values.device) if isinstance(values, torch.Tensor) else own
        return FeatureMatrix(values, self.columns, self.margin)

    def without(self, groups: Sequence[str]) -> FeatureMatrix:
        """The matrix less the columns of ``groups``, and less the margin where "text head" is one of them."""
        if not set(groups) & set(self.groups):
            return self
        keep = [i for i, column in enumerate(self.columns) if column.group not in set(groups)]
        left = FeatureMatrix(self.values[:, keep], tuple(self.columns[i] for i in keep))
        return left if self.margin is None or TEXT_HEAD in groups else left.starting_from(self.margin)

    def starting_from(self, margin: BaseMargin) -> FeatureMatrix:
        """The matrix with a margin; where it has no columns it gets one of zeros, since no booster takes a matrix without any."""
        if self.columns:
            return FeatureMatrix(self.values, self.columns, margin)
        return FeatureMatrix(np.zeros((len(self), 1), dtype=np.float32), (NOTHING,), margin)

    def weighted(self, weights: Mapping[str, float]) -> FeatureMatrix:
        """The matrix with columns weighted in column sampling, by their group."""
        columns = (
            dataclasses.replace(column, weight=weights.get(column.group, column.weight)) for column in self.columns
        )
        return FeatureMatrix(self.values, tuple(columns), self.margin)

    def numpy(self) -> np.ndarray:
        """The values on the host, float32."""
        return self.values.cpu().numpy() if isinstance(self.values, torch.Tensor) else self.values
