"""The families of behaviour features by name, as a TOML file spells them."""

from __future__ import annotations

from features.counts import Counts, Sums
from features.distinct import Distinct
from features.family import Family
from features.interest import Interest
from features.profile import Profile
from features.rates import Rates
from features.recency import Gaps, Recency
from features.recent_items import RecentItems
from features.similar import Similar

FAMILIES: dict[str, type[Family]] = {
    family.name: family
    for family in (Counts, Sums, Distinct, Rates, Recency, Gaps, Similar, RecentItems, Interest, Profile)
}
