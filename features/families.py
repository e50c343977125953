"""The families of behaviour features by name, as a TOML file spells them."""

from __future__ import annotations

from features.backoff import BackoffRates
from features.counts import Counts, Sums
from features.debias import DebiasedRates
from features.decay import Decay
from features.distinct import Distinct
from features.family import Family
from features.interest import Interest
from features.profile import Profile
from features.rates import Rates
from features.recency import Gaps, Recency
from features.recent_items import RecentItems
from features.rhythm import Rhythm
from features.sessions import Sessions
from features.share import Share
from features.similar import Similar
from features.statistics import Statistics
from features.trend import Trend

FAMILIES: dict[str, type[Family]] = {
    family.name: family
    for family in (
        Counts,
        Sums,
        Statistics,
        Share,
        Trend,
        Decay,
        Distinct,
        Rates,
        BackoffRates,
        DebiasedRates,
        Similar,
        Recency,
        Gaps,
        Rhythm,
        Sessions,
        RecentItems,
        Interest,
        Profile,
    )
}
