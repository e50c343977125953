"""Statistics of labels as columns: of training rows from labels that each may know, of new rows from all that they may know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from sklearn.base import clone

from features import LabelStatistics
from features.label_statistics import LABEL
from hybrid.errors import ParameterError
from hybrid.matrix import Column, FeatureMatrix

GROUP = "label statistics"
MOST_CLASSES = 16


@dataclass(frozen=True, eq=False)
class LabelColumns:
    """Fitted statistics of labels: of two classes the mean of being the second, of more a mean a class.

    Parameters
    ----------
    statistics : mapping from class code to LabelStatistics
        Fitted to labels that are 1 for that class and 0 for all others.
    labels : tuple
        The labels of these classes, which name the columns where there are more than two.
    """

    statistics: dict[int, LabelStatistics]
    labels: tuple[Any, ...]

    @classmethod
    def fit(
        cls, declared: LabelStatistics, examples: pl.DataFrame, codes: np.ndarray, classes: np.ndarray
    ) -> tuple[Self, pl.DataFrame]:
        """Fit to training rows; returns the columns of these rows too, each from labels that the row may know.

        Parameters
        ----------
        declared : LabelStatistics
        examples : polars.DataFrame
        codes : numpy.ndarray of int64, shape (n_rows,)
            Positions of the labels in ``classes``; some may be absent.
        classes : numpy.ndarray

        Raises
        ------
        ParameterError
            More than 16 classes.
        ColumnError, TimestampError, DeclarationError
        """
        if len(classes) > MOST_CLASSES:
            raise ParameterError(
                f"label_statistics takes a mean of each class, of at most {MOST_CLASSES}; y has {len(classes)}: leave label_statistics "
                "out, or make the classes fewer"
            )
        fitted = cls({code: clone(declared) for code in _counted(classes)}, _labels(classes))
        of_rows = [one.fit_transform(examples, codes == code) for code, one in fitted.statistics.items()]
        return fitted, fitted._joined(of_rows)

    def transform(self, examples: pl.DataFrame) -> pl.DataFrame:
        """The columns of rows that were not trained on: by key a mean for each class, Float64, and one count, Int32."""
        return self._joined([one.transform(examples) for one in self.statistics.values()])

    def check_examples(self, examples: pl.DataFrame) -> None:
        """Raise for examples that ``transform`` could not use."""
        self._first.check_examples(examples)

    @property
    def declared(self) -> LabelStatistics:
        """The declaration, unfitted."""
        return clone(self._first)

    def declaration(self) -> dict[str, Any]:
        """Everything fitted but ``log``, as JSON can hold it."""
        return self._first.declaration()

    def log(self) -> pl.DataFrame:
        """What ``transform`` reads: ``LabelStatistics.log_`` with class codes as labels."""
        codes = sum((code * one.labels_ for code, one in self.statistics.items()), np.zeros(self._first.n_labels_))
        return self._first.log_.with_columns(pl.Series(LABEL, codes.astype(np.int32)))

    @classmethod
    def restore(cls, declaration: dict[str, Any], log: pl.DataFrame, classes: np.ndarray) -> Self:
        """Rebuild from ``declaration()`` and ``log()``."""
        of_class = {code: log.with_columns((pl.col(LABEL) == code).cast(pl.Float64)) for code in _counted(classes)}
        return cls(
            {code: LabelStatistics.restore(declaration, one) for code, one in of_class.items()}, _labels(classes)
        )

    @property
    def _first(self) -> LabelStatistics:
        return next(iter(self.statistics.values()))

    def _joined(self, of_classes: Sequence[pl.DataFrame]) -> pl.DataFrame:
        names = self._first.get_feature_names_out().tolist()
        found = []
        for mean, count in zip(names[::2], names[1::2], strict=True):
            for label, frame in zip(self.labels, of_classes, strict=True):
                found.append(frame[mean].alias(mean if len(self.labels) == 1 else f"{mean}__{label}"))
            found.append(of_classes[0][count])
        return pl.DataFrame(found)


def label_matrix(features: pl.DataFrame) -> FeatureMatrix:
    """Statistics of labels as a matrix, NaN where nothing is known."""
    values = np.stack([column.cast(pl.Float32).to_numpy() for column in features], axis=1)
    return FeatureMatrix(values, tuple(Column(name, GROUP) for name in features.columns))


def held_apart(
    declared: LabelStatistics,
    examples: pl.DataFrame,
    codes: np.ndarray,
    classes: np.ndarray,
    split: tuple[np.ndarray, np.ndarray],
) -> tuple[FeatureMatrix, FeatureMatrix]:
    """The columns of rows to train on and of rows held out, both from the labels of the former alone."""
    train, held = split
    fitted, of_train = LabelColumns.fit(declared, examples[train], codes[train], classes)
    return label_matrix(of_train), label_matrix(fitted.transform(examples[held]))


def _counted(classes: np.ndarray) -> range:
    """Codes of the classes whose mean is taken."""
    return range(1, 2) if len(classes) == 2 else range(len(classes))


def _labels(classes: np.ndarray) -> tuple[Any, ...]:
    return tuple(classes[list(_counted(classes))].tolist())
