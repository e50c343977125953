"""A parameter's values: the distribution that a user's tuple, list or single value declares, and what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from features.frames import closest
from hybrid.boosters import BOOSTERS
from hybrid.coordinates import REDUCTIONS
from hybrid.languages import say
from tuning.errors import SpaceError

SWITCH, WEIGHT = "use ", "weight "
"""What the names of a group's switch and of its weight begin with."""
REDUCTION = "reduction"
"""How all texts are reduced to coordinates, or what the name of one text's begins with."""


def declared(name: str, given: Any, default: BaseDistribution) -> BaseDistribution:
    """The distribution that a user's values declare for a parameter."""
    if isinstance(given, BaseDistribution):
        if isinstance(given, CategoricalDistribution):
            return declared(name, list(given.choices), default)
        if isinstance(default, CategoricalDistribution):
            raise SpaceError(f"{name}: give choices as a list, not {given}")
        return given
    if isinstance(given, Mapping):
        if set(given) != {"low", "high"}:
            raise SpaceError(f"{name}: a range is {{low = ..., high = ...}}, not {dict(given)!r}")
        given = (given["low"], given["high"])
    if isinstance(given, tuple):
        return _range(name, given, default)
    choices = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    if not choices:
        raise SpaceError(f"{name}=[] leaves nothing to choose")
    return CategoricalDistribution([_value(name, choice, default) for choice in choices])


def library_range(name: str, given: Any) -> BaseDistribution:
    """The distribution of a library's own parameter: ends of a range are both whole or both not."""
    if isinstance(given, BaseDistribution):
        return given
    if isinstance(given, Mapping) and set(given) == {"low", "high"}:
        given = (given["low"], given["high"])
    if isinstance(given, tuple):
        whole = all(isinstance(end, Integral) for end in given)
        return _range(name, given, IntDistribution(0, 1) if whole else FloatDistribution(0, 1))
    choices = list(given) if isinstance(given, list) else [given]
    if not choices or not all(isinstance(choice, str | bool | Real) for choice in choices):
        raise SpaceError(f"{name}: give a range (low, high), a list of choices, or one value, not {given!r}")
    return CategoricalDistribution(choices)


def suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    """A trial's value of a parameter."""
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(
            name, distribution.low, distribution.high, log=distribution.log, step=distribution.step
        )
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, log=distribution.log, step=distribution.step
        )
    return trial.suggest_categorical(name, choices_of(distribution))


def choices_of(distribution: BaseDistribution) -> tuple[Any, ...]:
    """The choices of a categorical distribution, empty for a range."""
    return tuple(distribution.choices) if isinstance(distribution, CategoricalDistribution) else ()


def holds(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a value lies in a distribution."""
    if isinstance(distribution, FloatDistribution | IntDistribution):
        return bool(distribution.low <= value <= distribution.high)
    return value in choices_of(distribution)


def described(distribution: BaseDistribution) -> str:
    """A distribution in a few words, in the language that is spoken."""
    if isinstance(distribution, FloatDistribution | IntDistribution):
        ends = {"low": f"{distribution.low:g}", "high": f"{distribution.high:g}"}
        return say("{low} to {high}, log scale", **ends) if distribution.log else say("{low} to {high}", **ends)
    return ", ".join(map(str, choices_of(distribution)))


def _range(name: str, given: tuple[Any, ...], default: BaseDistribution) -> BaseDistribution:
    if len(given) != 2:
        raise SpaceError(f"{name}: a range is (low, high), not {given!r}; give choices as a list")
    if isinstance(default, CategoricalDistribution) and name.partition(" ")[0] != "coordinates":
        raise SpaceError(f"{name}={given!r} is no range: give choices as a list")
    low, high = (_value(name, end, default) for end in given)
    if low > high:
        raise SpaceError(f"{name}={given!r} is empty: low is above high")
    if name.partition(" ")[0] == "coordinates":
        powers = [2**i for i in range(16) if low <= 2**i <= high]
        if not powers:
            raise SpaceError(f"{name}={given!r} holds no power of two; give choices as a list")
        return CategoricalDistribution(powers)
    log = bool(getattr(default, "log", False))
    if log and low <= 0:
        raise SpaceError(f"{name}={given!r}: low must be above 0, since {name} is searched on a log scale")
    return (IntDistribution if isinstance(default, IntDistribution) else FloatDistribution)(low, high, log=log)


def _value(name: str, value: Any, default: BaseDistribution) -> Any:
    """A value of the kind that a parameter takes."""
    if name.startswith(SWITCH):
        if not isinstance(value, bool):
            raise SpaceError(f"{name!r} switches a group: True, False or [True, False], not {value!r}")
    elif name.startswith("window "):
        if not isinstance(value, bool):
            raise SpaceError(f"{name!r} keeps a window: True, False or [True, False], not {value!r}")
    elif name in ("head", "class_weight", "calibration"):
        return value
    elif name == "prior_strength" and value is None:
        return None
    elif name.startswith(WEIGHT) or name == "prior_strength":
        if not isinstance(value, Real) or isinstance(value, bool) or not 0 < float(value) < float("inf"):
            raise SpaceError(f"{name} must be a number above 0, not {value!r}")
        return float(value)
    elif name.partition(" ")[0] == REDUCTION:
        if value not in REDUCTIONS:
            raise SpaceError(f"{name} must be one of {', '.join(map(repr, REDUCTIONS))}, not {value!r}")
    elif name == "booster":
        if not isinstance(value, str) or value not in BOOSTERS:
            raise SpaceError(f"no booster {value!r}{closest(str(value), BOOSTERS)}")
    elif isinstance(default, FloatDistribution):
        if not isinstance(value, Real) or isinstance(value, bool) or not abs(float(value)) < float("inf"):
            raise SpaceError(f"{name} must be a number, not {value!r}")
        return float(value)
    elif not isinstance(value, Integral) or isinstance(value, bool):
        raise SpaceError(f"{name} must be a whole number, not {value!r}")
    else:
        return int(value)
    return value
