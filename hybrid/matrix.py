"""The joined matrix: float32 values, every column named and in one group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hybrid.errors import MatrixError


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
    """

    name: str
    group: str
    categories: int = 0
    family: str = ""


@dataclass(frozen=True)
class FeatureMatrix:
    """Float32 values with a ``Column`` for each.

    Parameters
    ----------
    values : numpy.ndarray or torch.Tensor of float32, shape (n_rows, n_columns)
        A NumPy array on the CPU; a tensor where the values already lie on a CUDA device.
    columns : tuple of Column
    """

    values: np.ndarray | torch.Tensor
    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.columns):
            raise MatrixError(f"values of shape {tuple(self.values.shape)} do not fit {len(self.columns)} columns")
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
        """The groups present, in the order of their first column."""
        return tuple(dict.fromkeys(column.group for column in self.columns))

    def positions(self, group: str) -> np.ndarray:
        """Indices of the group's columns, int64."""
        return np.array([i for i, column in enumerate(self.columns) if column.group == group], dtype=np.int64)

    def rows(self, index: np.ndarray) -> FeatureMatrix:
        """The rows at ``index``, in its order."""
        return FeatureMatrix(self.values[index], self.columns)

    def without(self, groups: Sequence[str]) -> FeatureMatrix:
        """The matrix less the columns of ``groups``."""
        if not set(groups) & set(self.groups):
            return self
        keep = [i for i, column in enumerate(self.columns) if column.group not in set(groups)]
        return FeatureMatrix(self.values[:, keep], tuple(self.columns[i] for i in keep))

    def numpy(self) -> np.ndarray:
        """The values on the host, float32."""
        return self.values.cpu().numpy() if isinstance(self.values, torch.Tensor) else self.values
