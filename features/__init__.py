"""Behaviour features from an event log, correct as of a point in time."""

from features.audit import AuditReport, audit
from features.backoff import BackoffRates
from features.behavior import BehaviorFeatures
from features.debias import DebiasedRates
from features.decay import Decay
from features.errors import ColumnError, DeclarationError, EmptyFrameError, FileError, TimestampError
from features.event_log import EventLog
from features.family import BehaviorColumn, Family
from features.interest import Interest
from features.label_statistics import LabelStatistics
from features.live import LiveFeatures
from features.migration import InterestMigration, interest_migration
from features.partitioned import transform_parquet
from features.profile import Profile, profiles
from features.rates import BetaPrior, Rates
from features.recent_items import RecentItems
from features.rhythm import Rhythm
from features.sessions import Sessions
from features.share import Share
from features.similar import Similar
from features.statistics import Statistics
from features.trend import Trend
from features.window import Window

__all__ = [
    "AuditReport",
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
    "FileError",
    "Interest",
    "InterestMigration",
    "LabelStatistics",
    "LiveFeatures",
    "Profile",
    "Rates",
    "RecentItems",
    "Rhythm",
    "Sessions",
    "Share",
    "Similar",
    "Statistics",
    "TimestampError",
    "Trend",
    "Window",
    "audit",
    "interest_migration",
    "profiles",
    "transform_parquet",
]
