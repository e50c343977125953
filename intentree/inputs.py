"""What a TOML file declares, as the objects of the API: events, examples, behaviour, encoder and model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from features import BehaviorFeatures, EventLog, LabelStatistics
from features.frames import closest
from hybrid import EmbeddingStore, HybridClassifier, TextEncoder
from hybrid.id_vectors import text_vectors
from hybrid.texts import role_columns
from intentree.config import Config
from intentree.errors import ConfigError, TableError
from intentree.tables import read_table


@dataclass(frozen=True)
class Examples:
    """Rows with their labels.

    Parameters
    ----------
    frame : polars.DataFrame
        All columns of the files.
    y : polars.Series
    weight, groups : polars.Series, optional
        The columns that `[examples]` names.
    """

    frame: pl.DataFrame
    y: pl.Series
    weight: pl.Series | None
    groups: pl.Series | None


def read_examples(config: Config, split: str, files: Sequence[Path] | None = None) -> Examples | None:
    """The examples of a split, "train", "valid" or "test", or of ``files``; None where the TOML file names none."""
    config.require("examples")
    declared = config.examples
    assert declared is not None
    files = files or getattr(declared, split)
    if files is None:
        return None
    frame = read_table(files, time=(config.events or config.label_statistics or {}).get("timestamp"))

    def column(name: str | None) -> pl.Series | None:
        if name is not None and name not in frame.columns:
            raise TableError(f"{files[0]} has no column {name!r}{closest(name, frame.columns)}")
        return None if name is None else frame[name]

    y = column(declared.label)
    assert y is not None
    return Examples(frame, y, column(declared.weight), column(declared.groups))


def read_train(config: Config) -> Examples:
    """The examples to learn from."""
    train = read_examples(config, "train")
    assert train is not None
    return train


def read_events(config: Config) -> pl.DataFrame | None:
    """The event log; None where no behaviour is declared, since nothing reads it then."""
    if config.behavior is None:
        return None
    assert config.events is not None
    return read_table(config.events["path"], time=config.events["timestamp"])


def read_other_events(config: Config, files: Sequence[Path] | None) -> pl.DataFrame | None:
    """A log to use in place of an artifact's, from files of the same columns as the declared log."""
    if files is None:
        return None
    return read_table(files, time=None if config.events is None else config.events["timestamp"])


def declared_behavior(config: Config) -> BehaviorFeatures | None:
    """The behaviour features of `[behavior]` over the log of `[events]`."""
    if config.behavior is None:
        return None
    assert config.events is not None
    log = EventLog(**{name: value for name, value in config.events.items() if name != "path"})
    return BehaviorFeatures(log, **config.behavior)


def declared_label_statistics(config: Config) -> LabelStatistics | None:
    """The statistics of labels of `[label_statistics]`."""
    return None if config.label_statistics is None else LabelStatistics(**config.label_statistics)


def with_declared_vectors(
    config: Config, behavior: BehaviorFeatures, frames: Sequence[pl.DataFrame]
) -> BehaviorFeatures:
    """Fitted features with the vectors of `[encoder]` where a family is declared with "text"; ``frames`` tell the texts of ids."""
    roles = role_columns((config.model or {}).get("text") or {})
    vectors = text_vectors(behavior, declared_encoder(config) if roles else None, roles, "cpu")
    for one in vectors.values():
        for frame in frames:
            one.learn(frame, "rows")
    return behavior.with_text_vectors(vectors) if vectors else behavior


def declared_encoder(config: Config) -> TextEncoder:
    """The encoder of `[encoder]`."""
    declared = dict(config.encoder)
    if isinstance(declared.get("store"), dict):
        declared["store"] = EmbeddingStore(**declared["store"])
    return TextEncoder(**declared)


def declared_model(config: Config, y: pl.Series) -> HybridClassifier:
    """The model of `[model]`, unfitted, for labels like ``y``."""
    config.require("model")
    declared = dict(config.model or {})
    if isinstance(declared.get("class_weight"), dict):
        declared["class_weight"] = _class_weight(declared["class_weight"], y)
    return HybridClassifier(
        behavior=declared_behavior(config),
        encoder=declared_encoder(config),
        label_statistics=declared_label_statistics(config),
        **declared,
    )


def _class_weight(weights: dict[str, float], y: pl.Series) -> dict[Any, float]:
    """TOML's keys are strings; labels may be numbers or booleans."""
    labels = {str(label).lower() if isinstance(label, bool) else str(label): label for label in y.unique().to_list()}
    for name in weights:
        if name not in labels:
            raise ConfigError(
                f"[model] class_weight names the label {name!r}, which training does not have{closest(name, labels)}"
            )
    return {labels[name]: weight for name, weight in weights.items()}
