"""Behaviour features from an event log, correct as of a point in time."""

from features.audit import AuditReport, audit
from features.behavior import BehaviorFeatures
from features.errors import ColumnError, DeclarationError, EmptyFrameError, TimestampError
from features.event_log import EventLog
from features.family import BehaviorColumn, Family
from features.live import LiveFeatures
from features.rates import BetaPrior
from features.similar import Similar
from features.window import Window

__all__ = [
    "AuditReport",
    "BehaviorColumn",
    "BehaviorFeatures",
    "BetaPrior",
    "ColumnError",
    "DeclarationError",
    "EmptyFrameError",
    "EventLog",
    "Family",
    "LiveFeatures",
    "Similar",
    "TimestampError",
    "Window",
    "audit",
]
