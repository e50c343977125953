"""The walk of the data: examples and events in, one matrix of named groups out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from features import LabelStatistics
from features.behavior import BehaviorFeatures
from features.event_log import ROLES
from features.family import BehaviorColumn
from features.frames import Frame, require_rows, to_polars
from hybrid.attributes import attributes, fit_categories
from hybrid.channels import TextChannels
from hybrid.coordinates import Projection
from hybrid.encoded_texts import EncodedTexts
from hybrid.encoder import TextEncoder
from hybrid.errors import MatrixError, ParameterError
from hybrid.head import FittedHead
from hybrid.head.choice import with_head
from hybrid.id_vectors import TextVectors, text_vectors
from hybrid.interest import GROUP as RECENT_INTEREST
from hybrid.interest import RecentInterest
from hybrid.label_columns import LabelColumns, label_matrix
from hybrid.match import TextMatch, match_columns
from hybrid.matrix import Column, FeatureMatrix
from hybrid.texts import role_columns, role_text

Progress = Callable[[str, int, int], None]
"""Called with a step's name, what is done of it, and how much there is."""


@dataclass(frozen=True)
class Evidence:
    """What a model reads: declared once, fitted by ``MatrixBuilder``.

    Parameters
    ----------
    text : mapping from role to columns
    behavior : BehaviorFeatures or None
    categorical, numeric : tuple of str
    channels : TextChannels
    label_statistics : LabelStatistics or None
    """

    text: Mapping[str, tuple[str, ...]]
    behavior: BehaviorFeatures | None
    categorical: tuple[str, ...]
    numeric: tuple[str, ...]
    channels: TextChannels
    label_statistics: LabelStatistics | None


class MatrixBuilder:
    """Builds feature matrices; what ``fit`` learns is unsupervised, so one builder may serve every fold. Statistics of labels and the head
    see labels: they are learned apart (``fit_labels``, ``give_head``), and every matrix has their columns from then on.

    Parameters
    ----------
    evidence : Evidence
    encoder : TextEncoder or None
        None where no text is declared.
    device : str
        Where texts are encoded and the matrix lies: ``"cpu"`` or ``"cuda"``.
    """

    def __init__(self, evidence: Evidence, encoder: TextEncoder | None, device: str) -> None:
        self.evidence = evidence
        self.encoder = encoder
        self.device = device
        self.categories: dict[str, list[str]] = {}
        self.projections: dict[str, Projection] = {}
        self.match: TextMatch | None = None
        self.interest: RecentInterest | None = None
        self.id_vectors: dict[str, TextVectors] = {}
        self.label_columns: LabelColumns | None = None
        self.head: FittedHead | None = None
        self.head_mode: str | None = None
        self.labels = np.empty(0)

    @classmethod
    def declare(
        cls,
        *,
        text: Mapping[str, str | Sequence[str]] | None,
        behavior: BehaviorFeatures | None,
        categorical: Sequence[str],
        numeric: Sequence[str],
        channels: TextChannels,
        label_statistics: LabelStatistics | None,
        encoder: TextEncoder | None,
        device: str,
    ) -> MatrixBuilder:
        """Check the declaration of a model and make its builder."""
        for name, named in (("categorical", categorical), ("numeric", numeric)):
            if isinstance(named, str):
                raise ParameterError(f"{name}={named!r} must be a list of columns: [{named!r}]")
        if not (text or behavior is not None or categorical or numeric or label_statistics is not None):
            raise ParameterError(
                "the model has no evidence: declare text, behavior, categorical, numeric or label_statistics"
            )
        if behavior is not None and not isinstance(behavior, BehaviorFeatures):
            raise ParameterError(f"behavior must be a features.BehaviorFeatures, not {type(behavior).__name__}")
        if label_statistics is not None and not isinstance(label_statistics, LabelStatistics):
            raise ParameterError(
                f"label_statistics must be a features.LabelStatistics, not {type(label_statistics).__name__}"
            )
        if channels.recent_interest and (behavior is None or "item" not in (text or {})):
            raise ParameterError('recent_interest needs behavior and the text role "item"')
        if encoder is not None and channels.head is not None and channels.head.tuned_layers:
            _ = encoder.files  # an object has none, and no layers that could be tuned
        evidence = Evidence(
            role_columns(text or {}), behavior, tuple(categorical), tuple(numeric), channels, label_statistics
        )
        return cls(evidence, encoder, device)

    def check(self, examples: Frame, what: str) -> pl.DataFrame:
        """Convert to Polars and raise at once for anything that ``matrix`` could not use."""
        frame = to_polars(examples, what)
        require_rows(frame, what)
        for columns in self.evidence.text.values():
            role_text(frame[:1], columns, what)
        attributes(frame, dict.fromkeys(self.evidence.categorical, ()), self.evidence.numeric, what)
        if self.evidence.behavior is not None:
            self.evidence.behavior.check_examples(frame)
        statistics = self.label_columns or self.evidence.label_statistics
        if statistics is not None:
            statistics.check_examples(frame)
        return frame

    def encode(self, examples: pl.DataFrame, progress: Progress | None = None) -> EncodedTexts:
        """The texts of checked examples and their vectors."""
        texts = {role: role_text(examples, columns, "examples") for role, columns in self.evidence.text.items()}
        embedded = {}
        for role, text in texts.items():
            assert self.encoder is not None
            report = (
                None if progress is None else (lambda done, total, role=role: progress(f"encode {role}", done, total))
            )
            embedded[role] = self.encoder.encode_distinct(text, role=role, device=self.device, progress=report)
        return EncodedTexts(texts, embedded, self.encoder)

    def fit(self, examples: pl.DataFrame, encoded: EncodedTexts, events: Frame | None) -> FeatureMatrix:
        """Fit categories, projections, corpus statistics and behaviour to checked examples, and return their matrix, as yet without
        what sees labels."""
        evidence = self.evidence
        self.categories = fit_categories(examples, evidence.categorical, "examples")
        if evidence.behavior is not None:
            evidence.behavior.fit(events)
            evidence.behavior.check_examples(examples)  # time zones can be compared only now
            self.give_text_vectors()
            for vectors in self.id_vectors.values():
                vectors.learn(to_polars(events, "events"), "events")
            if evidence.channels.recent_interest:
                self.interest = self._interest(to_polars(events, "events"))
        coordinates = evidence.channels.coordinates
        self.projections = {
            role: Projection.fit(one.vectors, coordinates.of(role), coordinates.reduction_of(role))
            for role, one in encoded.embedded.items()
            if coordinates.of(role)
        }
        declared = evidence.channels.match
        if declared is not None and match_columns(declared, list(evidence.text)):
            self.match = TextMatch.fit(declared, encoded.texts, encoded.embedded, self.categories)
        return self._without_labels(examples, encoded)

    def fit_labels(self, examples: pl.DataFrame, codes: np.ndarray, classes: np.ndarray) -> FeatureMatrix:
        """Fit the declared statistics of labels to checked training rows; returns the columns of these rows."""
        assert self.evidence.label_statistics is not None
        declared = self.evidence.label_statistics
        self.label_columns, of_training = LabelColumns.fit(declared, examples, codes, classes)
        return label_matrix(of_training)

    def give_head(self, head: FittedHead | None, mode: str | None, labels: np.ndarray) -> None:
        """Add the logits of a trained head to every matrix from now on, as "margin" or "feature"; ``labels`` name the columns."""
        self.head, self.head_mode, self.labels = head, mode, labels

    def matrix(
        self, examples: pl.DataFrame, events: Frame | None = None, progress: Progress | None = None
    ) -> FeatureMatrix:
        """The matrix of checked examples; ``events`` replace the fitted log."""
        for vectors in self.id_vectors.values():
            if events is not None:
                vectors.learn(to_polars(events, "events"), "events")
        encoded = self.encode(examples, progress)
        matrix = self.join(examples, encoded, events)
        if self.head is None:
            return matrix
        logits = self.head.logits(encoded)
        return with_head(matrix, logits, self.head, self.head_mode, self.labels)

    def required_columns(self) -> list[str]:
        """Columns that examples must have."""
        evidence = self.evidence
        names = [name for columns in evidence.text.values() for name in columns]
        if evidence.behavior is not None:
            names += [*evidence.behavior.key_columns(), evidence.behavior.log.timestamp]
        if evidence.label_statistics is not None:
            names += evidence.label_statistics.required_columns()
        return list(dict.fromkeys([*names, *evidence.categorical, *evidence.numeric]))

    def replace_log(self, events: Frame) -> None:
        """Read behaviour from another log from now on; what was fitted stays."""
        behavior = self.evidence.behavior
        assert behavior is not None
        self.evidence = dataclasses.replace(self.evidence, behavior=behavior.with_log(behavior.read(events)))
        if self.interest is not None:
            self.interest = self._interest(to_polars(events, "events"))

    def give_text_vectors(self, texts: Mapping[str, pl.DataFrame] | None = None) -> None:
        """Give the encoder's vectors to the families of behaviour features that read them; ``texts`` are those of known ids by part."""
        behavior = self.evidence.behavior
        assert behavior is not None
        self.id_vectors = text_vectors(behavior, self.encoder, self.evidence.text, self.device, texts)
        if self.id_vectors:  # else the timelines that fitting made are kept
            behavior = behavior.with_text_vectors(self.id_vectors)
            self.evidence = dataclasses.replace(self.evidence, behavior=behavior)

    def join(self, examples: pl.DataFrame, encoded: EncodedTexts, events: Frame | None = None) -> FeatureMatrix:
        """The matrix of checked examples without the head."""
        matrix = self._without_labels(examples, encoded, events)
        if self.label_columns is None:
            return matrix
        return FeatureMatrix.join([matrix, label_matrix(self.label_columns.transform(examples))])

    def _without_labels(
        self, examples: pl.DataFrame, encoded: EncodedTexts, events: Frame | None = None
    ) -> FeatureMatrix:
        evidence, embedded = self.evidence, encoded.embedded
        for vectors in self.id_vectors.values():
            vectors.learn(examples, "examples")
        parts = [self.projections[role].apply(one, role) for role, one in embedded.items() if role in self.projections]
        if self.match is not None:
            parts.append(self.match.matrix(encoded.texts, embedded, examples))
        if evidence.behavior is not None:
            parts.append(behavior_matrix(evidence.behavior, examples, events))
            if self.interest is not None:
                assert self.encoder is not None
                interest = self.interest if events is None else self._interest(to_polars(events, "events"))
                parts.append(
                    interest.matrix(examples, evidence.behavior, embedded["item"], self.encoder, "item", self.device)
                )
        if evidence.categorical or evidence.numeric:
            parts.append(attributes(examples, self.categories, evidence.numeric, "examples"))
        if parts:
            return FeatureMatrix.join(parts)
        if evidence.channels.head is None and evidence.label_statistics is None:
            raise MatrixError("the model has no columns: every text channel is off, which leaves nothing to learn from")
        return FeatureMatrix(np.empty((examples.height, 0), dtype=np.float32), ())

    def _interest(self, events: pl.DataFrame) -> RecentInterest:
        assert self.evidence.behavior is not None
        return RecentInterest.read(
            events, self.evidence.behavior, self.evidence.text["item"], self.evidence.channels.recent_interest
        )


def behavior_matrix(behavior: BehaviorFeatures, examples: pl.DataFrame, events: Frame | None) -> FeatureMatrix:
    """Behaviour features as a matrix, NaN where a feature is null."""
    features = behavior.transform(examples, events)
    values = np.empty((features.height, features.width), dtype=np.float32)
    for i, name in enumerate(features.columns):
        values[:, i] = features[name].to_numpy()
    columns = tuple(Column(column.name, behavior_group(column), family=column.family) for column in behavior.columns())
    return FeatureMatrix(values, columns)


def behavior_group(column: BehaviorColumn) -> str:
    """The group of a behaviour feature: recent interest, or that of its key's first part, whose behaviour it is."""
    if column.family == RECENT_INTEREST:
        return RECENT_INTEREST
    first = column.key[0]
    return first if first == "session" and first in ROLES else f"{first} behaviour"
