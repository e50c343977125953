"""Behaviour features from an event log, correct as of a point in time."""

from features.behavior import BehaviorFeatures
from features.errors import ColumnError, DeclarationError, EmptyFrameError, TimestampError
from features.event_log import EventLog
from features.family import BehaviorColumn, Family
from features.interest import Interest
from features.live import LiveFeatures
from features.migration import InterestMigration, interest_migration
from features.profile import Profile, profiles
from features.rates import BetaPrior
from features.recent_items import RecentItems
from features.similar import Similar
from features.window import Window

__all__ = [
    "BehaviorColumn",
    "BehaviorFeatures",
    "BetaPrior",
    "ColumnError",
    "DeclarationError",
    "EmptyFrameError",
    "EventLog",
    "Family",
    "Interest",
    "InterestMigration",
    "LiveFeatures",
    "Profile",
    "RecentItems",
    "Similar",
    "TimestampError",
    "Window",
    "interest_migration",
    "profiles",
]
