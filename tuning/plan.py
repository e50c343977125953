"""What is built once for a study: the matrix of all examples, and its binned folds."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import joblib
import numpy as np

from hybrid import FeatureMatrix
from hybrid.boosters import OnRound, TreeParameters, booster_class
from hybrid.builder import Progress
from hybrid.coordinates import coordinate_columns
from hybrid.labels import row_weights
from tuning.binned import BYTES_PER_VALUE, BinnedStore, Pair
from tuning.space import SearchSpace
from tuning.task import Task, unfitted_copy

_TREE_FIELDS = {item.name for item in dataclasses.fields(TreeParameters)}


@dataclass(frozen=True)
class FoldScore:
    """One training: the metric at its best round, that round, and the seconds of its parts."""

    value: float
    rounds: int
    bin_seconds: float
    train_seconds: float


@dataclass(frozen=True, eq=False)
class Plan:
    """One matrix that holds what any trial may read, and how a trial reads and trains on it.

    Parameters
    ----------
    task : Task
    matrix : FeatureMatrix
        All groups, with the most coordinates of the space, rows as the examples.
    coordinates : int
        The most coordinates of the space.
    weight : numpy.ndarray or None
        Class weights of all rows.
    n_jobs : int
        Threads of one training.
    seconds : float
        What building took.
    binned : BinnedStore
    """

    task: Task
    matrix: FeatureMatrix
    coordinates: int
    weight: np.ndarray | None
    n_jobs: int
    seconds: float
    binned: BinnedStore = field(default_factory=BinnedStore)

    @classmethod
    def build(cls, task: Task, space: SearchSpace, *, n_workers: int = 1, progress: Progress | None = None) -> Plan:
        """Embed, compute behaviour and join: once for all folds and trials.

        One matrix serves every fold without leaking: as-of features read strictly earlier events only, and all else that the builder
        fits (principal axes, categories, priors of rates) never sees a label.
        """
        started = time.perf_counter()
        coordinates = space.most_coordinates(task.model)
        builder = unfitted_copy(task.model, coordinates=coordinates, without=()).builder()
        matrix = builder.fit(task.examples, task.events, progress)
        return cls(
            task=task,
            matrix=matrix,
            coordinates=coordinates,
            weight=row_weights(task.codes, task.classes, task.model.class_weight, None),
            n_jobs=max(1, (task.model.n_jobs or joblib.cpu_count()) // n_workers),
            seconds=time.perf_counter() - started,
        )

    def columns(self, settings: Mapping[str, Any]) -> np.ndarray:
        """Positions of the columns that a model with these settings reads, int64.

        Principal axes come in the order of their variance, so fewer coordinates are the first of more.
        """
        read = settings.get("coordinates", self.coordinates)
        beyond = {
            column.name
            for role in self.task.model.text or {}
            for column in coordinate_columns(role, self.coordinates)[read:]
        }
        off = set(settings["without"])
        return np.array(
            [i for i, column in enumerate(self.matrix.columns) if column.group not in off and column.name not in beyond]
        )

    def part(self, rows: np.ndarray, columns: np.ndarray) -> FeatureMatrix:
        """Rows and columns of the matrix."""
        values = self.matrix.values[rows]
        if len(columns) < len(self.matrix.columns):
            values = values[:, columns]
        return FeatureMatrix(values, tuple(self.matrix.columns[i] for i in columns))

    def train(self, fold_number: int, settings: Mapping[str, Any], on_round: OnRound) -> FoldScore:
        """Train on one fold with a trial's settings, stopping early on the study's metric.

        Parameters
        ----------
        fold_number : int
            From 0.
        settings : mapping
            As from ``SearchSpace.settings``.
        on_round : callable (round, value)
            Called after each round; may raise to stop.
        """
        model, task = self.task.model, self.task
        booster = booster_class(settings.get("booster", model.booster))
        started = time.perf_counter()
        train, valid = self._bin(fold_number, settings)
        binned = time.perf_counter()
        values: list[float] = []

        def follow(round_: int, value: float) -> None:
            values.append(value)
            on_round(round_, value)

        tuned = {name: value for name, value in settings.items() if name in _TREE_FIELDS}
        trained = booster.train(
            train,
            n_classes=len(task.classes),
            parameters=dataclasses.replace(model.tree_parameters(), **tuned),
            valid=valid,
            metric=task.metric.name,
            early_stopping_rounds=model.early_stopping_rounds,
            random_state=model.random_state,
            n_jobs=self.n_jobs,
            on_round=follow,
        )
        rounds = trained.best_iteration
        return FoldScore(values[rounds - 1], rounds, binned - started, time.perf_counter() - binned)

    def _bin(self, fold_number: int, settings: Mapping[str, Any]) -> Pair:
        name = settings.get("booster", self.task.model.booster)
        max_bin = settings.get("max_bin", self.task.model.max_bin)
        columns = self.columns(settings)
        fold = self.task.folds[fold_number]

        def make() -> Pair:
            booster, codes = booster_class(name), self.task.codes
            how: dict[str, Any] = {"max_bin": max_bin, "device": self.task.model.device, "n_jobs": self.n_jobs}
            weight = None if self.weight is None else self.weight[fold.train]
            train = booster.bin(self.part(fold.train, columns), codes[fold.train], weight=weight, **how)
            return train, booster.bin(self.part(fold.valid, columns), codes[fold.valid], reference=train, **how)

        size = (len(fold.train) + len(fold.valid)) * len(columns) * BYTES_PER_VALUE[name]
        return self.binned.get((fold_number, name, max_bin, columns.tobytes()), make, size)
