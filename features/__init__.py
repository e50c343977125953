"""Behaviour features from an event log, correct as of a point in time."""

from features.backoff import BackoffRates
from features.behavior import BehaviorFeatures
from features.debias import DebiasedRates
from features.decay import Decay
from features.errors import ColumnError, DeclarationError, EmptyFrameError, TimestampError
from features.event_log import EventLog
from features.family import BehaviorColumn, Family
from features.label_statistics import LabelStatistics
from features.live import LiveFeatures
from features.rates import BetaPrior, Rates
from features.rhythm import Rhythm
from features.sessions import Sessions
from features.share import Share
from features.similar import Similar
from features.statistics import Statistics
from features.trend import Trend
from features.window import Window

__all__ = [
    "BackoffRates",
    "BehaviorColumn",
    "BehaviorFeatures",
    "BetaPrior",
    "ColumnError",
    "DebiasedRates",
    "Decay",
    "DeclarationError",
    "EmptyFrameError",
    "EventLog",
    "Family",
    "LabelStatistics",
    "LiveFeatures",
    "Rates",
    "Rhythm",
    "Sessions",
    "Share",
    "Similar",
    "Statistics",
    "TimestampError",
    "Trend",
    "Window",
]
