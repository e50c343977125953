"""Vectors by id: of queries, items or anything else that a column names."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import polars as pl

from features.errors import ColumnError, DeclarationError
from features.event_log import key_values
from features.family import Family
from features.frames import Frame, is_pandas, to_polars

TEXT = "text"
"""Stands for the text encoder of the model that the features are part of."""


class IdVectors(Protocol):
    """Anything that gives vectors for ids."""

    @abstractmethod
    def of(self, ids: pl.Series) -> np.ndarray:
        """Unit vectors, float32 of shape (n_ids, dimension), in the ids' order; the zero vector for an id that has none."""


@dataclass(frozen=True, eq=False)
class VectorTable:
    """A fixed table of vectors.

    Parameters
    ----------
    ids : polars.Series
        Each once, String or Int64.
    vectors : numpy.ndarray of float32, shape (n_ids, dimension)
        Of unit length, or zero.
    """

    ids: pl.Series
    vectors: np.ndarray

    @classmethod
    def read(cls, table: Frame) -> Self:
        """From a frame of two columns: the ids and, as lists or arrays of numbers, the vectors.

        Raises
        ------
        ColumnError
            For another shape, an id that is there twice, vectors of different lengths, or numbers that are not finite.
        """
        frame = to_polars(table, "vectors")
        if frame.width != 2:
            raise ColumnError(f"a table of vectors has two columns, ids and vectors, not {frame.columns}")
        ids = key_values(frame.to_series(0), "vectors")
        column = frame.to_series(1)
        if not isinstance(column.dtype, pl.List | pl.Array) or ids.null_count() or column.null_count():
            raise ColumnError(
                f"column {column.name!r} of vectors must hold lists of numbers and neither column nulls; they are {frame.dtypes}"
            )
        if ids.n_unique() < len(ids):
            raise ColumnError(f"column {ids.name!r} of vectors holds an id twice")
        lengths = column.list.len() if isinstance(column.dtype, pl.List) else pl.Series([column.dtype.shape[0]])
        if lengths.n_unique() != 1:
            raise ColumnError(f"the vectors in column {column.name!r} are of {lengths.n_unique()} different lengths")
        width = int(lengths[0])
        vectors = column.explode().cast(pl.Float32).to_numpy().reshape(len(ids), width)
        if not np.isfinite(vectors).all():
            raise ColumnError(f"the vectors in column {column.name!r} hold NaN or infinite numbers")
        return cls(ids, unit(vectors))

    def of(self, ids: pl.Series) -> np.ndarray:
        """Unit vectors of ids, zero for those that the table lacks."""
        if ids.dtype != self.ids.dtype and pl.Null not in (ids.dtype, self.ids.dtype):
            raise ColumnError(
                f"ids of vectors are {self.ids.dtype}, those of column {ids.name!r} {ids.dtype}; cast one"
            )
        places = pl.int_range(len(self.ids), eager=True)
        found = ids.replace_strict(self.ids, places, default=-1, return_dtype=pl.Int64).fill_null(-1).to_numpy()
        return np.where((found >= 0)[:, None], self.vectors[np.maximum(found, 0)], np.float32(0))

    def frame(self) -> pl.DataFrame:
        """The table as ``read`` takes it."""
        width = self.vectors.shape[1]
        return pl.DataFrame({"id": self.ids, "vector": pl.Series(self.vectors, dtype=pl.Array(pl.Float32, width))})


@dataclass(frozen=True, eq=False)
class EncodedIds:
    """Vectors of ids that are texts themselves, such as queries.

    Parameters
    ----------
    encoder : object with ``encode(list of str) -> array of shape (n_texts, dimension)``
    """

    encoder: Any

    def of(self, ids: pl.Series) -> np.ndarray:
        """Unit vectors of the ids as texts."""
        distinct = ids.drop_nulls().unique(maintain_order=True)
        encoded = np.asarray(self.encoder.encode(distinct.cast(pl.String).to_list()), dtype=np.float32)
        return VectorTable(distinct, unit(encoded)).of(ids)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors scaled to unit length; a zero vector stays zero, and what has unit length stays as it is, to the bit."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    kept = (lengths == 0) | (np.abs(lengths - 1) < 1e-6)
    return np.asarray(vectors / np.where(kept, 1.0, lengths), dtype=np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class VectorFamily(Family):
    """A family that reads vectors by id.

    Parameters
    ----------
    part : str
        The role or column whose values the vectors are of.
    vectors : frame, object with ``.encode`` or ``.of``, or "text"
        A frame of two columns, ids and vectors; an object whose ``encode`` takes the ids as texts (a ``TextEncoder``); or ``"text"``:
        the text encoder of the ``HybridClassifier`` that the features are part of.
    """

    part: str = "item"
    vectors: Any = TEXT

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.vectors
        if callable(getattr(given, "of", None)) or given is None:
            return
        if isinstance(given, str):
            if given != TEXT:
                raise DeclarationError(
                    f'{self.name}: vectors={given!r} must be a table, an object with encode, or "{TEXT}"'
                )
        elif callable(getattr(given, "encode", None)):
            self._set(vectors=EncodedIds(given))
        elif isinstance(given, pl.DataFrame) or is_pandas(given) or hasattr(given, "column_names"):
            self._set(vectors=VectorTable.read(given))
        else:
            raise DeclarationError(f"{self.name}: vectors must be a table or an object with encode, not {given!r}")

    def options(self) -> dict[str, Any]:
        # Tables are kept apart (BehaviorFeatures.tables), objects are given again by whoever restores the features.
        text = isinstance(self.vectors, str)
        return {**super().options(), "vectors": self.vectors if text else None}

    def with_vectors(self, vectors: IdVectors) -> Self:
        """The same family over other vectors."""
        return dataclasses.replace(self, vectors=vectors)

    def source(self, given: Mapping[str, IdVectors]) -> IdVectors:
        """The vectors; ``given`` are those that stand for "text", by part. DeclarationError where there are none."""
        source = given.get(self.part) if isinstance(self.vectors, str) else self.vectors
        if source is None:
            raise DeclarationError(
                f"{self.name}: vectors are missing: give a table or an object with encode; "
                f'"{TEXT}" works inside a HybridClassifier with the text role {self.part!r}'
            )
        return source
