"""Behaviour features from an event log, correct as of a point in time."""

from features.behavior import BehaviorFeatures
from features.errors import ColumnError, DeclarationError, EmptyFrameError, TimestampError
from features.event_log import EventLog
from features.family import BehaviorColumn
from features.label_statistics import LabelStatistics
from features.live import LiveFeatures
from features.rates import BetaPrior
from features.rhythm import Rhythm
from features.sessions import Sessions
from features.window import Window

__all__ = [
    "BehaviorColumn",
    "BehaviorFeatures",
    "BetaPrior",
    "ColumnError",
    "DeclarationError",
    "EmptyFrameError",
    "EventLog",
    "LabelStatistics",
    "LiveFeatures",
    "Rhythm",
    "Sessions",
    "TimestampError",
    "Window",
]
