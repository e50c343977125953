"""A blend: the weighted mean of several hybrids' probabilities, saved and scored as one model."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from features.frames import Frame
from hybrid.classifier import HybridClassifier
from hybrid.errors import ArtifactError, ParameterError

BLEND = "blend.json"
_ITERATIONS = 500
_LEAST_WEIGHT = 0.01


@dataclass(frozen=True, eq=False)
class Blend:
    """Scores by several models of the same classes, weighted.

    Parameters
    ----------
    models : tuple of fitted HybridClassifier
    weights : tuple of float
        One a model, above 0, their sum 1.
    """

    models: tuple[HybridClassifier, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.models or len(self.models) != len(self.weights):
            raise ParameterError(
                f"a blend needs a weight for each model, not {len(self.weights)} for {len(self.models)}"
            )
        if min(self.weights) <= 0 or abs(sum(self.weights) - 1) > 1e-6:
            raise ParameterError(f"weights must be above 0 and sum to 1, not {self.weights}")
        first = self.models[0].classes_
        if any(not np.array_equal(first, model.classes_) for model in self.models):
            raise ParameterError("the models of a blend must have the same classes in the same order")

    @property
    def classes_(self) -> np.ndarray:
        """The labels, in the order of the columns of ``predict_proba``."""
        return self.models[0].classes_

    def predict_proba(self, X: Frame, events: Frame | None = None) -> np.ndarray:
        """Class probabilities, float32 of shape (n_rows, n_classes); the parameters are ``HybridClassifier``'s."""
        self.check_events(events)
        mixed = sum(
            w * model.predict_proba(X, None if model.behavior is None else events)
            for w, model in zip(self.weights, self.models, strict=True)
        )
        return np.asarray(mixed, dtype=np.float32)

    def predict(self, X: Frame, events: Frame | None = None) -> np.ndarray:
        """The most probable label of each row."""
        return self.classes_[self.predict_proba(X, events).argmax(axis=1)]

    def required_columns(self) -> list[str]:
        """Columns that examples must have."""
        return list(dict.fromkeys(name for model in self.models for name in model.required_columns()))

    def check_events(self, events: Frame | None) -> None:
        """Raise ParameterError if events are given to models that read none."""
        if events is not None and all(model.behavior is None for model in self.models):
            raise ParameterError("events are given, but no model of the blend declares behavior")

    def replace_log(self, events: Frame) -> None:
        """Read behaviour from another log from now on."""
        for model in self.models:
            if model.behavior is not None:
                model.replace_log(events)

    def save(self, folder: str | Path) -> None:
        """Write one artifact with a folder for each model; ``hybrid.load`` and ``score_parquet`` read it as any other.

        Raises
        ------
        ArtifactError
            The folder holds something else.
        """
        folder = Path(folder)
        if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / BLEND).is_file())):
            raise ArtifactError(f"{folder} is there and is no blend; name a new or empty folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
            written = Path(temporary) / "artifact"
            names = [f"model_{i}" for i in range(1, len(self.models) + 1)]
            for name, model in zip(names, self.models, strict=True):
                model.save(written / name)
            stated = {
                "weights": dict(zip(names, self.weights, strict=True)),
                "manifests": {name: _digest(written / name / "manifest.json") for name in names},
            }
            (written / BLEND).write_text(json.dumps(stated, indent=1), encoding="utf-8")
            if folder.exists():
                folder.rename(Path(temporary) / "former")
            written.rename(folder)


def load_blend(folder: Path, **options: Any) -> Blend:
    """Read and verify a blend; ``options`` are those of ``hybrid.load``."""
    from hybrid.artifact import load_model

    try:
        stated = json.loads((folder / BLEND).read_text(encoding="utf-8"))
        weights, manifests = stated["weights"], stated["manifests"]
    except (ValueError, KeyError, TypeError):
        raise ArtifactError(f"{folder / BLEND} is truncated or is no blend") from None
    for name in weights:
        if not (folder / name).is_dir():
            raise ArtifactError(f"{folder} lacks {name}; copy or save the artifact again")
        if _digest(folder / name / "manifest.json") != manifests.get(name):
            raise ArtifactError(f"{name} in {folder} was changed: it is not the model that the blend was saved with")
    return Blend(tuple(load_model(folder / name, **options) for name in weights), tuple(weights.values()))


def blend_weights(true_probas: np.ndarray) -> np.ndarray:
    """Weights of models under which the log loss of their blend is least.

    The blend's likelihood is that of a mixture of known components, so that expectation maximisation finds the one maximum (Dempster,
    Laird and Rubin, 1977); weights below a hundredth are then left out.

    Parameters
    ----------
    true_probas : numpy.ndarray of shape (n_rows, n_models)
        What each model gave the row's own class, out of fold.

    Returns
    -------
    numpy.ndarray of float64, shape (n_models,)
        Not negative, their sum 1.
    """
    likely = np.clip(true_probas.astype(np.float64), 1e-15, None)
    weights = np.full(likely.shape[1], 1 / likely.shape[1])
    for _ in range(_ITERATIONS):
        parts = likely * weights
        weights = (parts / parts.sum(axis=1, keepdims=True)).mean(axis=0)
    weights[weights < _LEAST_WEIGHT] = 0
    return np.asarray(weights / weights.sum())


def is_blend(folder: Path) -> bool:
    """Whether a folder holds a blend."""
    return (folder / BLEND).is_file()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
