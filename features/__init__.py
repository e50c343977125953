"""Behaviour features from an event log, correct as of a point in time."""

from features.behavior import BehaviorFeatures
from features.errors import ColumnError, DeclarationError, EmptyFrameError, FileError, TimestampError
from features.event_log import EventLog
from features.family import BehaviorColumn
from features.live import LiveFeatures
from features.partitioned import transform_parquet
from features.rates import BetaPrior
from features.window import Window

__all__ = [
    "BehaviorColumn",
    "BehaviorFeatures",
    "BetaPrior",
    "ColumnError",
    "DeclarationError",
    "EmptyFrameError",
    "EventLog",
    "FileError",
    "LiveFeatures",
    "TimestampError",
    "Window",
    "transform_parquet",
]
