"""Gradient-boosted trees behind one interface: `booster_class("xgboost")` or `booster_class("lightgbm")`."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

from hybrid.boosters.base import BinnedData, Booster, OnRound, TreeParameters
from hybrid.errors import ParameterError

__all__ = ["BOOSTERS", "BinnedData", "Booster", "OnRound", "TreeParameters", "booster_class"]

BOOSTERS: dict[str, str] = {
    "xgboost": "hybrid.boosters.xgboost_booster:XGBoostBooster",
    "lightgbm": "hybrid.boosters.lightgbm_booster:LightGBMBooster",
}
"""Where each booster is defined; its library is imported when it is asked for, so that one without the other will do."""


def booster_class(name: str) -> type[Booster]:
    """The booster of that name.

    Raises
    ------
    ParameterError
        No such booster.
    ImportError
        Its library is not installed; the message says what to install.
    """
    if name not in BOOSTERS:
        close = get_close_matches(str(name), BOOSTERS, n=1, cutoff=0.0)
        raise ParameterError(f"no booster {name!r}; did you mean {close[0]!r}? There are: {', '.join(BOOSTERS)}")
    module, _, attribute = BOOSTERS[name].partition(":")
    found: type[Booster] = getattr(import_module(module), attribute)
    return found
