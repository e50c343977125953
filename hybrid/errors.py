"""The mistakes that `hybrid` tells apart."""

from __future__ import annotations


class MatrixError(ValueError):
    """A feature matrix does not hold together, or does not fit the model that reads it."""


class LabelError(ValueError):
    """Labels that cannot be learned from: one class, nulls, or a wrong length."""


class ParameterError(ValueError):
    """A parameter of a model has a value that it cannot have."""


class EncoderError(ValueError):
    """A text encoder that cannot be found, verified or used."""


class StoreError(RuntimeError):
    """The folder of an embedding store cannot be used."""


class DeviceError(RuntimeError):
    """A device was asked for that is not there, or was not used."""


class ArtifactError(ValueError):
    """An artifact folder that is incomplete, altered or from an incompatible version."""


class ScoringError(RuntimeError):
    """Scoring of files stopped; what was written before remains valid."""


class PairsError(ValueError):
    """Pairs of texts that an encoder cannot be fine-tuned on."""


class TrainingError(RuntimeError):
    """Training of a network stopped, since the loss or the vectors are no numbers any more."""


class PageError(ValueError):
    """A page that would be larger than a page may be."""
