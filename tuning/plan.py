"""What is built once for a study: the matrix of all examples, and its binned folds."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import joblib
import numpy as np

from hybrid import Coordinates, FeatureMatrix
from hybrid.boosters import OnRound, TreeParameters, booster_class
from hybrid.builder import Progress
from hybrid.channels import TextChannels
from hybrid.coordinates import coordinate_columns
from hybrid.encoded_texts import EncodedTexts
from hybrid.head import FittedHead, fit_head
from hybrid.head.choice import with_head
from hybrid.head.folds import head_folds
from hybrid.labels import row_weights
from hybrid.matrix import TEXT_HEAD
from tuning.binned import BYTES_PER_VALUE, BinnedStore, Pair, budget
from tuning.folds import Fold
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
class FoldHead:
    """The text head of a fold: trained on its training rows, whose logits are out of fold."""

    fitted: FittedHead
    train: np.ndarray
    valid: np.ndarray


@dataclass(frozen=True, eq=False)
class Plan:
    """One matrix that holds what any trial may read, and how a trial reads and trains on it.

    Parameters
    ----------
    task : Task
    matrix : FeatureMatrix
        All groups, with the most coordinates of the space, rows as the examples.
    encoded : EncodedTexts
    coordinates : Coordinates
        Of the matrix: the most of the space.
    weight : numpy.ndarray or None
        Class weights of all rows.
    n_jobs : int
        Threads of one training.
    seconds : float
        What building took.
    binned : BinnedStore
    heads : dict from fold to FoldHead
    share_head : callable (fold, train), optional
        Trains the head of a fold, or gives the one that another process trained.
    """

    task: Task
    matrix: FeatureMatrix
    encoded: EncodedTexts
    coordinates: Coordinates
    weight: np.ndarray | None
    n_jobs: int
    seconds: float
    binned: BinnedStore
    heads: dict[int, FoldHead] = field(default_factory=dict)
    share_head: Callable[[int, Callable[[], FoldHead]], FoldHead] | None = None

    @classmethod
    def build(
        cls,
        task: Task,
        space: SearchSpace,
        *,
        n_workers: int = 1,
        memory: int | None = None,
        progress: Progress | None = None,
    ) -> Plan:
        """Embed, compute behaviour and join: once for all folds and trials.

        One matrix serves every fold without leaking: as-of features read strictly earlier events only, and all else that the builder
        fits (principal axes, categories, priors of rates) never sees a label. The text head does, and is trained fold by fold.
        """
        started = time.perf_counter()
        channels = dict(task.model.text_channels or {})
        if "coordinates" in space:
            reduction = task.model.channels().coordinates.reduction
            channels["coordinates"] = Coordinates(n=space.most_coordinates(task.model), reduction=reduction)
        widest = unfitted_copy(task.model, text_channels=channels, without=())
        builder = widest.builder()
        encoded = builder.encode(task.examples, progress)
        matrix = builder.fit(task.examples, encoded, task.events)
        return cls(
            task=task,
            matrix=matrix,
            encoded=encoded,
            coordinates=widest.channels().coordinates,
            weight=row_weights(task.codes, task.classes, task.model.class_weight, None),
            n_jobs=max(1, (task.model.n_jobs or joblib.cpu_count()) // n_workers),
            seconds=time.perf_counter() - started,
            binned=BinnedStore(budget(memory, matrix, n_workers)),
        )

    def columns(self, settings: Mapping[str, Any]) -> np.ndarray:
        """Positions of the columns that a model with these settings reads, int64.

        Principal axes come in the order of their variance, so fewer coordinates are the first of more.
        """
        model = self.task.model
        roles = list(model.text or {})
        channels = TextChannels.of(settings.get("text_channels", model.text_channels), None, roles)
        beyond = {
            column.name
            for role in roles
            for column in coordinate_columns(role, self.coordinates.of(role))[channels.coordinates.of(role) :]
        }
        off = set(settings["without"])
        return np.array(
            [
                i
                for i, column in enumerate(self.matrix.columns)
                if column.group not in off and column.name not in beyond
            ],
            dtype=np.int64,
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
        mode = None if TEXT_HEAD in settings["without"] else settings.get("head")

        def make() -> Pair:
            booster, codes = booster_class(name), self.task.codes
            how: dict[str, Any] = {"max_bin": max_bin, "device": self.task.model.device, "n_jobs": self.n_jobs}
            weight = None if self.weight is None else self.weight[fold.train]
            parts = [self.part(rows, columns) for rows in (fold.train, fold.valid)]
            if mode is not None:
                head = self.head(fold_number)
                parts = [
                    with_head(part, logits, head.fitted, mode, self.task.classes)
                    for part, logits in zip(parts, (head.train, head.valid), strict=True)
                ]
            if weights := self.task.model.feature_weights:
                parts = [part.weighted(weights) for part in parts]
            train = booster.bin(parts[0], codes[fold.train], weight=weight, **how)
            return train, booster.bin(parts[1], codes[fold.valid], reference=train, **how)

        size = (len(fold.train) + len(fold.valid)) * len(columns) * BYTES_PER_VALUE[name]
        return self.binned.get((fold_number, name, max_bin, columns.tobytes(), mode), make, size)

    def head(self, fold_number: int) -> FoldHead:
        """The head of a fold, trained when a trial first asks for it."""
        if fold_number not in self.heads:
            train = partial(self._train_head, self.task.folds[fold_number])
            self.heads[fold_number] = train() if self.share_head is None else self.share_head(fold_number, train)
        return self.heads[fold_number]

    def _train_head(self, fold: Fold) -> FoldHead:
        task, declared = self.task, self.task.model.channels().head
        assert declared is not None
        groups, times = (None if values is None else values[fold.train] for values in (task.row_groups, task.times))
        codes, random_state = task.codes[fold.train], task.model.random_state
        fit = fit_head(
            declared,
            self.encoded.rows(fold.train),
            codes,
            n_classes=len(task.classes),
            folds=head_folds(codes, groups, times, declared.folds, random_state),
            weight=None if self.weight is None else self.weight[fold.train],
            random_state=random_state,
        )
        return FoldHead(fit.head, fit.logits, fit.head.logits(self.encoded.rows(fold.valid)))
