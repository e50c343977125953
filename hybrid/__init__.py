"""Text and behaviour in one matrix of named column groups, boosted trees on top, and what they say."""

from hybrid.artifact import load
from hybrid.blend import Blend
from hybrid.boosters import Booster, TreeParameters
from hybrid.builder import MatrixBuilder
from hybrid.channels import Coordinates
from hybrid.classifier import HybridClassifier
from hybrid.encoder import TextEncoder
from hybrid.errors import (
    ArtifactError,
    DeviceError,
    EncoderError,
    LabelError,
    MatrixError,
    PairsError,
    ParameterError,
    ScoringError,
    StoreError,
    TrainingError,
)
from hybrid.finetuning.result import FineTuned
from hybrid.finetuning.run import finetune
from hybrid.head import TextHead
from hybrid.match import Match
from hybrid.matrix import Column, FeatureMatrix
from hybrid.reports import ImportanceReport
from hybrid.scoring import score_parquet
from hybrid.store import EmbeddingStore

__all__ = [
    "ArtifactError",
    "Blend",
    "Booster",
    "Column",
    "Coordinates",
    "DeviceError",
    "EmbeddingStore",
    "EncoderError",
    "FeatureMatrix",
    "FineTuned",
    "HybridClassifier",
    "ImportanceReport",
    "LabelError",
    "Match",
    "MatrixBuilder",
    "MatrixError",
    "PairsError",
    "ParameterError",
    "ScoringError",
    "StoreError",
    "TextEncoder",
    "TextHead",
    "TrainingError",
    "TreeParameters",
    "finetune",
    "load",
    "score_parquet",
]
