"""What is built once for a study: the matrix of all examples, and its binned folds."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from hybrid import Coordinates, FeatureMatrix
from hybrid.boosters import BinnedData, Booster, OnRound, TreeParameters, booster_class
from hybrid.builder import Progress, behavior_matrix
from hybrid.channels import TextChannels
from hybrid.coordinates import Projection, coordinate_columns
from hybrid.encoded_texts import EncodedTexts
from hybrid.head import FittedHead, fit_head, require_tunable
from hybrid.head.choice import with_head
from hybrid.head.folds import head_folds
from hybrid.label_columns import held_apart
from hybrid.labels import row_weights
from hybrid.matrix import TEXT_HEAD
from tuning.behavior_options import BehaviorColumns, in_variant, is_variant, variants, without_variant
from tuning.binned import BYTES_PER_VALUE, BinnedStore, Pair, budget
from tuning.calibrated import cross_calibrated
from tuning.distributions import REDUCTION, choices_of
from tuning.folds import Fold
from tuning.space import SearchSpace
from tuning.task import Task, unfitted_copy

TIMED_ROWS = 4_000
"""Validation rows that trees are timed on."""
DECLARED = "declared"
"""The model's own way to weigh classes."""
_TREE_FIELDS = {item.name for item in dataclasses.fields(TreeParameters)}


@dataclass(frozen=True)
class FoldScore:
    """One training: the metric at its best round, that round, the seconds of its parts, and what the trees cost to use.

    ``predict_ms_per_1k`` are milliseconds in which the trees score a thousand rows whose matrix is ready; ``artifact_mb`` is the size of
    their file and of the head, without the log of behaviour.
    """

    value: float
    rounds: int
    bin_seconds: float
    train_seconds: float
    predict_ms_per_1k: float
    artifact_mb: float


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
        Of the matrix: the most of the space, and the ways of reduction whose columns have their plain names.
    behavior : BehaviorColumns or None
        Which columns behaviour has with which options.
    weights : mapping from name to numpy.ndarray or None
        Weights of all rows, for each way to weigh classes that a trial may have.
    n_jobs : int
        Threads of one training.
    seconds : float
        What building took.
    binned : BinnedStore
    label_columns : tuple of (FeatureMatrix, FeatureMatrix)
        Statistics of labels of each fold's training and validation rows, both from the former's labels; the matrix has NaN in their
        place. Empty where none are declared.
    heads : dict from (fold, weights) to FoldHead
    share_head : callable (name, train), optional
        Trains the head of a fold, or gives the one that another process trained.
    """

    task: Task
    matrix: FeatureMatrix
    encoded: EncodedTexts
    coordinates: Coordinates
    behavior: BehaviorColumns | None
    weights: Mapping[str, np.ndarray | None]
    n_jobs: int
    seconds: float
    binned: BinnedStore
    label_columns: tuple[tuple[FeatureMatrix, FeatureMatrix], ...] = ()
    heads: dict[tuple[int, str], FoldHead] = field(default_factory=dict)
    share_head: Callable[[str, Callable[[], FoldHead]], FoldHead] | None = None

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
        fits (principal axes, categories, priors of rates) never sees a label. Statistics of labels and the text head do, and are made
        fold by fold.
        """
        started = time.perf_counter()
        label_columns = _label_columns(task)
        channels = dict(task.model.text_channels or {})
        reductions = space.reductions(task.model)
        if task.model.text:
            first = {role: ways[0] for role, ways in reductions.items()}
            channels["coordinates"] = Coordinates(n=0, by_role=space.most_coordinates(task.model), reduction=first)
        widest = unfitted_copy(task.model, text_channels=channels, without=())
        builder = widest.builder()
        head = builder.evidence.channels.head
        if head is not None and builder.encoder is not None:
            require_tunable(head, builder.encoder, list(task.model.text or {}))  # else each trial would fail by itself
        encoded = builder.encode(task.examples, progress)
        parts = [builder.fit(task.examples, encoded, task.events)]
        parts += _other_coordinates(encoded, builder.evidence.channels.coordinates, reductions)
        declared, behavior, others = (
            task.model.behavior,
            builder.evidence.behavior,
            dict(variants(space, task.model.behavior)),
        )
        for name, family in others.items():
            assert behavior is not None
            parts.append(_as_variant(behavior_matrix(behavior.described_by([family]), task.examples, None), name))
        balances = (
            {repr(choice): choice for choice in choices_of(space["class_weight"])} if "class_weight" in space else {}
        )
        if label_columns:
            named = label_columns[0][0].columns
            parts.append(FeatureMatrix(np.full((len(task.codes), len(named)), np.nan, dtype=np.float32), named))
        matrix = FeatureMatrix.join(parts) if len(parts) > 1 else parts[0]
        return cls(
            task=task,
            matrix=matrix,
            encoded=encoded,
            coordinates=widest.channels().coordinates,
            behavior=None if declared is None or behavior is None else BehaviorColumns.of(declared, behavior, others),
            weights={
                name: row_weights(task.codes, task.classes, choice, None)
                for name, choice in {DECLARED: task.model.class_weight, **balances}.items()
            },
            n_jobs=max(1, (task.model.n_jobs or joblib.cpu_count()) // n_workers),
            seconds=time.perf_counter() - started,
            binned=BinnedStore(budget(memory, matrix, n_workers)),
            label_columns=label_columns,
        )

    def columns(self, settings: Mapping[str, Any]) -> np.ndarray:
        """Positions of the columns that a model with these settings reads, in its order, int64.

        Principal axes come in the order of their variance, and the numbers of nested embeddings by what they hold, so fewer coordinates
        are the first of more.
        """
        model = self.task.model
        roles = list(model.text or {})
        channels = TextChannels.of(settings.get("text_channels", model.text_channels), None, roles)
        read, held = [], set()
        for role in roles:
            read += self._coordinates(role, channels.coordinates.reduction_of(role))[: channels.coordinates.of(role)]
            held |= set(self._coordinates(role, self.coordinates.reduction_of(role)))
        off = set(settings["without"])
        names = [column.name for column in self.matrix.columns if not is_variant(column.name)]
        if self.behavior is not None:
            own = self.behavior.names({})
            first = names.index(own[0])
            names[first : first + len(own)] = self.behavior.names(settings.get("behavior", {}))
        places = {column.name: i for i, column in enumerate(self.matrix.columns)}
        chosen = [places[name] for name in (*read, *(n for n in names if n not in held)) if name in places]
        return np.array([i for i in chosen if self.matrix.columns[i].group not in off], dtype=np.int64)

    def _coordinates(self, role: str, reduction: str) -> list[str]:
        """How the matrix names a role's coordinates, reduced in one way; where its texts span fewer, the last are not there."""
        name = "" if reduction == self.coordinates.reduction_of(role) else f"{REDUCTION} {reduction}"
        return [in_variant(column.name, name) for column in coordinate_columns(role, self.coordinates.of(role))]

    def part(self, rows: np.ndarray, columns: np.ndarray) -> FeatureMatrix:
        """Rows and columns of the matrix."""
        values = self.matrix.values[rows]
        if not np.array_equal(columns, np.arange(len(self.matrix.columns))):
            values = values[:, columns]
        named = (self.matrix.columns[i] for i in columns)
        return FeatureMatrix(
            values, tuple(dataclasses.replace(column, name=without_variant(column.name)) for column in named)
        )

    def weight(self, settings: Mapping[str, Any]) -> np.ndarray | None:
        """The weight of every row."""
        return self.weights[_balance(settings)]

    def train(self, fold_number: int, settings: Mapping[str, Any], on_round: OnRound) -> FoldScore:
        """Train on one fold with a trial's settings, stopping early on the study's metric.

        The value of a calibrated trial is that of its calibrated probabilities; rounds are watched, and the best chosen, before that.

        Parameters
        ----------
        fold_number : int
            From 0.
        settings : mapping
            As from ``SearchSpace.settings``.
        on_round : callable (round, value)
            Called after each round; may raise to stop.
        """
        started = time.perf_counter()
        train, valid = self._bin(fold_number, settings)
        binned = time.perf_counter()
        values: list[float] = []

        def follow(round_: int, value: float) -> None:
            values.append(value)
            on_round(round_, value)

        stop = {"metric": self.task.metric.name, "early_stopping_rounds": self.task.model.early_stopping_rounds}
        trained = self._grow(train, settings, valid=valid, on_round=follow, **stop)
        grown, rounds = time.perf_counter(), trained.best_iteration
        value = values[rounds - 1]
        if self.calibrates(settings):
            fold = self.task.folds[fold_number]
            value = self.task.metric(self.task.codes[fold.valid], self._judged(fold_number, settings, trained))
        some = self.task.folds[fold_number].valid[:TIMED_ROWS]
        head = self.heads.get((fold_number, _balance(settings))) if settings.get("head") else None
        held = 0.0 if head is None else sum(t.nbytes for t in head.fitted.tensors().values()) / 1e6
        cost = (_predict_ms(trained, self._read(fold_number, settings, some)), _megabytes(trained) + held)
        return FoldScore(value, rounds, binned - started, grown - binned, *cost)

    def probabilities(self, fold_number: int, settings: Mapping[str, Any], rounds: int) -> np.ndarray:
        """What a trial's trees of so many rounds give the validation rows of a fold, float32 of shape (n_valid, n_classes)."""
        train, _ = self._bin(fold_number, settings)
        grown = self._grow(train, {**settings, "n_estimators": rounds})
        return self._judged(fold_number, settings, grown)

    def calibrates(self, settings: Mapping[str, Any]) -> bool:
        """Whether a trial calibrates its probabilities."""
        return settings.get("calibration", self.task.model.calibration) is not None

    def _judged(self, fold_number: int, settings: Mapping[str, Any], trained: Booster) -> np.ndarray:
        """The probabilities of a fold's validation rows by which a trial is judged."""
        valid = self.task.folds[fold_number].valid
        matrix = self._read(fold_number, settings, valid)
        if self.calibrates(settings):
            return cross_calibrated(self.task, valid, trained.margin(matrix))
        return trained.predict_proba(matrix)

    def _grow(self, train: BinnedData, settings: Mapping[str, Any], **how: Any) -> Booster:
        model = self.task.model
        tuned = {name: value for name, value in settings.items() if name in _TREE_FIELDS}
        if "booster_params" in settings:
            tuned["extra"] = settings["booster_params"]
        return booster_class(settings.get("booster", model.booster)).train(
            train,
            n_classes=len(self.task.classes),
            parameters=dataclasses.replace(model.tree_parameters(), **tuned),
            random_state=model.random_state,
            n_jobs=self.n_jobs,
            **how,
        )

    def _read(self, fold_number: int, settings: Mapping[str, Any], some: np.ndarray) -> FeatureMatrix:
        """What a trial's trees read of the first validation rows of a fold."""
        part = self.part(some, self.columns(settings))
        if self.label_columns:
            part = part.replacing(self.label_columns[fold_number][1].rows(np.arange(len(some))))
        mode = None if TEXT_HEAD in settings["without"] else settings.get("head")
        if mode is None:
            return part
        head = self.head(fold_number, settings)
        return with_head(part, head.valid[: len(some)], head.fitted, mode, self.task.classes)

    def _bin(self, fold_number: int, settings: Mapping[str, Any]) -> Pair:
        name = settings.get("booster", self.task.model.booster)
        max_bin = settings.get("max_bin", self.task.model.max_bin)
        columns = self.columns(settings)
        fold = self.task.folds[fold_number]
        mode = None if TEXT_HEAD in settings["without"] else settings.get("head")
        weights = settings.get("feature_weights", self.task.model.feature_weights)
        balance = _balance(settings)

        def make() -> Pair:
            booster, codes = booster_class(name), self.task.codes
            how: dict[str, Any] = {"max_bin": max_bin, "device": self.task.model.device, "n_jobs": self.n_jobs}
            weight = self.weight(settings)
            parts = [self.part(rows, columns) for rows in (fold.train, fold.valid)]
            if self.label_columns:
                own = self.label_columns[fold_number]
                parts = [part.replacing(of_fold) for part, of_fold in zip(parts, own, strict=True)]
            if mode is not None:
                head = self.head(fold_number, settings)
                parts = [
                    with_head(part, logits, head.fitted, mode, self.task.classes)
                    for part, logits in zip(parts, (head.train, head.valid), strict=True)
                ]
            if weights:
                parts = [part.weighted(weights) for part in parts]
            of_train = None if weight is None else weight[fold.train]
            train = booster.bin(parts[0], codes[fold.train], weight=of_train, **how)
            return train, booster.bin(parts[1], codes[fold.valid], reference=train, **how)

        size = (len(fold.train) + len(fold.valid)) * len(columns) * BYTES_PER_VALUE[name]
        key = (fold_number, name, max_bin, columns.tobytes(), mode, repr(weights), balance)
        return self.binned.get(key, make, size)

    def head(self, fold_number: int, settings: Mapping[str, Any]) -> FoldHead:
        """The head of a fold, trained when a trial first asks for it."""
        key = (fold_number, _balance(settings))
        if key not in self.heads:
            train = partial(self._train_head, self.task.folds[fold_number], self.weight(settings))
            name = f"{fold_number}_{list(self.weights).index(key[1])}"
            self.heads[key] = train() if self.share_head is None else self.share_head(name, train)
        return self.heads[key]

    def _train_head(self, fold: Fold, weight: np.ndarray | None) -> FoldHead:
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
            weight=None if weight is None else weight[fold.train],
            random_state=random_state,
        )
        return FoldHead(fit.head, fit.logits, fit.head.logits(self.encoded.rows(fold.valid)))


def _other_coordinates(
    encoded: EncodedTexts, widest: Coordinates, reductions: Mapping[str, Sequence[str]]
) -> list[FeatureMatrix]:
    """The coordinates of each role in all ways of reduction but the first, which the joined matrix has."""
    found = []
    for role, embedded in encoded.embedded.items():
        for reduction in reductions[role][1:] if widest.of(role) else ():
            matrix = Projection.fit(embedded.vectors, widest.of(role), reduction).apply(embedded, role)
            found.append(_as_variant(matrix, f"{REDUCTION} {reduction}"))
    return found


def _as_variant(matrix: FeatureMatrix, name: str) -> FeatureMatrix:
    """The matrix with columns that the declared ones can stand beside."""
    columns = (dataclasses.replace(column, name=in_variant(column.name, name)) for column in matrix.columns)
    return FeatureMatrix(matrix.values, tuple(columns))


def _predict_ms(booster: Booster, matrix: FeatureMatrix) -> float:
    """Milliseconds a thousand rows, the better of two."""
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        booster.predict_proba(matrix)
        seconds.append(time.perf_counter() - started)
    return min(seconds) * 1e6 / len(matrix)


def _megabytes(booster: Booster) -> float:
    with tempfile.TemporaryDirectory() as folder:
        booster.save(Path(folder))
        return sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e6


def _balance(settings: Mapping[str, Any]) -> str:
    """How a trial weighs classes, by its name in ``Plan.weights``."""
    return repr(settings["class_weight"]) if "class_weight" in settings else DECLARED


def _label_columns(task: Task) -> tuple[tuple[FeatureMatrix, FeatureMatrix], ...]:
    """Statistics of labels by fold, as ``Plan`` has them."""
    declared, folds = task.model.label_statistics, task.folds
    if declared is None:
        return ()
    return tuple(held_apart(declared, task.examples, task.codes, task.classes, (f.train, f.valid)) for f in folds)
