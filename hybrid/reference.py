"""A few rows of the training matrix, kept with the model, so that a report can tell how other rows differ from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from hybrid.matrix import FeatureMatrix

ROWS = 2_000


@dataclass(frozen=True, eq=False)
class Reference:
    """Rows drawn from the training matrix, in no order: numbers alone, neither ids nor texts.

    Parameters
    ----------
    values : numpy.ndarray of float32, shape (n_drawn, n_columns)
        At most 2,000 rows, with the columns of the model.
    rows : int
        Training rows in all.
    """

    values: np.ndarray
    rows: int

    @classmethod
    def draw(cls, matrix: FeatureMatrix, random_state: int) -> Reference:
        """Draw from a training matrix."""
        order = np.random.default_rng(random_state).permutation(len(matrix))[:ROWS]
        return cls(matrix.rows(order).numpy(), len(matrix))

    def save(self, file: Path) -> None:
        """Write the values as Parquet, columns named by their positions."""
        pl.DataFrame(self.values, schema=[str(i) for i in range(self.values.shape[1])]).write_parquet(file)

    @classmethod
    def restore(cls, file: Path, rows: int) -> Reference:
        """The inverse of ``save``."""
        return cls(pl.read_parquet(file).to_numpy().astype(np.float32, copy=False), rows)
