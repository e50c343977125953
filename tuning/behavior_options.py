"""Options of a model's behaviour features as parameters of a study: windows kept, half-lives, the strength of priors, any other."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from sklearn.base import clone

from features import BehaviorFeatures, DeclarationError, Window
from features.families import FAMILIES
from features.family import Family, declare
from features.frames import closest
from hybrid import HybridClassifier
from tuning.distributions import REDUCTION, choices_of
from tuning.errors import SpaceError

WINDOW = "window "
"""What the name of a window's switch begins with."""
PRIOR_STRENGTH = "prior_strength"
RATE = "rate"
STRENGTHS = (None, 5.0, 50.0)
MOST_VARIANTS = 64

Options = Mapping[str, Any]
"""``windows``, ``prior_strength``, and by the name of a family the options that differ from the declared ones, as JSON can hold them."""


def default_options(behavior: BehaviorFeatures | None) -> dict[str, BaseDistribution]:
    """What the default space searches of behaviour: each window kept or not, the strength of priors, and which half-lives."""
    if behavior is None:
        return {}
    windows = [Window.of(window).name for window in behavior.windows]
    space: dict[str, BaseDistribution] = {}
    if len(windows) > 1:
        space |= {WINDOW + name: CategoricalDistribution((True, False)) for name in windows}
    if behavior.rates:
        own = behavior.prior_strength
        choices = STRENGTHS if own in STRENGTHS else (*STRENGTHS, own)
        space[PRIOR_STRENGTH] = CategoricalDistribution(choices)
    decays = [family for family in declared_families(behavior) if family.name == "decay"]
    if len(decays) == 1:
        half_lives = decays[0].options()["half_lives"]
        if len(half_lives) > 1:
            sets = [half_lives, *([one] for one in half_lives)]
            space["decay half_lives"] = CategoricalDistribution([json.dumps(one) for one in sets])
    return space


def names_option(name: str, behavior: BehaviorFeatures | None) -> bool:
    """Whether a parameter is ``"{family} {option}"`` of a family that the behaviour declares once.

    Raises
    ------
    SpaceError
        The family is not declared, or more than once, or has no such option.
    """
    family, _, option = name.partition(" ")
    if family not in FAMILIES or not option:
        return False
    found = [one for one in declared_families(behavior) if one.name == family]
    if len(found) != 1:
        there = "it declares none" if not found else f"it declares {len(found)}, which a parameter cannot tell apart"
        raise SpaceError(f"{name!r} needs one family {family!r} in the model's behavior; {there}")
    known = [field.name for field in dataclasses.fields(found[0])]
    if option not in known:
        raise SpaceError(f"the family {family!r} has no option {option!r}{closest(option, known)}")
    return True


def declared_option(name: str, given: Any, behavior: BehaviorFeatures | None) -> BaseDistribution:
    """Choices of a family's option: a list of values; any other value fixes it."""
    kind, _, option = name.partition(" ")
    family = next(one for one in declared_families(behavior) if one.name == kind)
    takes_list = _takes_list(family, option)
    if isinstance(given, CategoricalDistribution):
        return given
    if isinstance(given, tuple | Mapping):
        raise SpaceError(f"{name}={given!r} is no range: give choices as a list")
    choices = list(given) if isinstance(given, list) else [given]
    if not choices:
        raise SpaceError(f"{name}=[] leaves nothing to choose")
    if takes_list and not all(isinstance(choice, list) for choice in choices):
        raise SpaceError(
            f"{name} takes a list: give a list of lists to choose from, such as [[...], [...]], not {given!r}"
        )
    for choice in choices:
        _replaced(family, {option: choice})
    return CategoricalDistribution(list(dict.fromkeys(map(_as_choice, choices))))


def options_of(chosen: Mapping[str, Any], behavior: BehaviorFeatures | None) -> dict[str, Any]:
    """What a trial's values say of behaviour, as far as it differs from the declaration."""
    if behavior is None:
        return {}
    found: dict[str, Any] = {}
    declared = [Window.of(window).name for window in behavior.windows]
    kept = [name for name in declared if chosen.get(WINDOW + name, True)]
    if kept != declared:
        found["windows"] = kept
    if PRIOR_STRENGTH in chosen and chosen[PRIOR_STRENGTH] != behavior.prior_strength:
        found[PRIOR_STRENGTH] = chosen[PRIOR_STRENGTH]
    for name, value in chosen.items():
        family, _, option = name.partition(" ")
        if family in FAMILIES and option:
            own = next(one for one in declared_families(behavior) if one.name == family)
            if (value := _from_choice(value, own, option)) != own.options()[option]:
                found.setdefault(family, {})[option] = value
    return found


def with_options(behavior: BehaviorFeatures, options: Options) -> BehaviorFeatures:
    """The declaration with some options replaced."""
    fresh = clone(behavior)
    further = {name: value for name, value in options.items() if name in FAMILIES}
    families = [
        _replaced(one, further[one.name]) if one.name in further else one for one in declared_families(behavior)
    ]
    plain = {name: value for name, value in options.items() if name not in FAMILIES}
    return fresh.set_params(**plain, families=families if further else behavior.families)


def as_parameters(settings: Mapping[str, Any], model: HybridClassifier) -> dict[str, Any]:
    """A trial's settings as ``model.set_params`` takes them: behaviour as a declaration."""
    parameters = dict(settings)
    if "behavior" in parameters:
        assert model.behavior is not None
        parameters["behavior"] = with_options(model.behavior, parameters["behavior"])
    return parameters


def variants(space: Mapping[str, BaseDistribution], behavior: BehaviorFeatures | None) -> Iterator[tuple[str, Family]]:
    """Every family that some trial declares otherwise than the model, with the name of that variant.

    Raises
    ------
    SpaceError
        More than 64 of one family: all are computed before the first trial.
    """
    if behavior is None:
        return
    by_family: dict[str, list[str]] = {}
    for name in space:
        family = RATE if name == PRIOR_STRENGTH else name.partition(" ")[0]
        if family in FAMILIES:
            by_family.setdefault(family, []).append(name)
    for family, names in by_family.items():
        choices = [choices_of(space[name]) for name in names]
        combined = list(product(*choices))
        if len(combined) > MOST_VARIANTS:
            raise SpaceError(
                f"{' and '.join(map(repr, names))} make {len(combined)} variants of the family {family!r}, of which "
                f"{MOST_VARIANTS} are the most: give fewer choices"
            )
        for values in combined:
            options = options_of(dict(zip(names, values, strict=True)), behavior)
            if name := variant(options, family):
                changed = with_options(behavior, options)
                yield name, next(one for _, one in changed.open_plan() if one.name == family)


def variant(options: Options, family: str) -> str:
    """The name of the variant of a family that a trial's options declare; empty where it is the model's own."""
    own = dict(options.get(family, {}))
    if family == RATE and PRIOR_STRENGTH in options:
        own[PRIOR_STRENGTH] = options[PRIOR_STRENGTH]
    return f"{family} {json.dumps(own, sort_keys=True)}" if own else ""


_SEPARATOR = " of "


def in_variant(column: str, name: str) -> str:
    """The name of a column of a variant, beside those of the declared family; the column's own name where it is no variant."""
    return f"{column}{_SEPARATOR}{name}" if name else column


def is_variant(column: str) -> bool:
    """Whether ``in_variant`` made the name."""
    return without_variant(column) != column


def without_variant(column: str) -> str:
    """The column's own name."""
    own, separator, name = column.partition(_SEPARATOR)
    return own if separator and name.partition(" ")[0] in (*FAMILIES, REDUCTION) else column


@dataclass(frozen=True)
class BehaviorSlot:
    """The columns of one family for one key, in each variant.

    Parameters
    ----------
    family : str
    variants : mapping from name to list of (column, windows)
        Columns as a plan's matrix names them, and the windows that each needs.
    """

    family: str
    variants: Mapping[str, Sequence[tuple[str, Sequence[str]]]]


@dataclass(frozen=True)
class BehaviorColumns:
    """Which columns of a plan's matrix a trial's behaviour has; plain values, so that processes without the log can tell too.

    Parameters
    ----------
    slots : sequence of BehaviorSlot
        In the order of the columns.
    """

    slots: Sequence[BehaviorSlot]

    @classmethod
    def of(cls, behavior: BehaviorFeatures, fitted: BehaviorFeatures, known: Iterable[str]) -> BehaviorColumns:
        """The columns of a declaration and of its known variants; ``fitted`` knows the kinds of event in the log."""

        def plan(options: Options) -> list[tuple[str, list[str]]]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of events that never occur, which fitting has warned of
                bound = with_options(behavior, options).bind(fitted.events_, fitted.has_zone_)
            return [(family.name, family.columns(key)) for key, family in bound.plan()]

        windows = [Window.of(window).name for window in behavior.windows]
        made: list[dict[str, list[tuple[str, list[str]]]]] = [{} for _ in plan({})]
        for name in ("", *known):
            options = _options_of_variant(name)
            less = {
                w: plan({**options, "windows": [o for o in windows if o != w]}) for w in windows if len(windows) > 1
            }
            for place, (family, columns) in enumerate(plan(options)):
                if name and not name.startswith(f"{family} "):
                    continue
                needs = [[w for w, others in less.items() if column not in others[place][1]] for column in columns]
                made[place][name] = [(in_variant(c, name), needed) for c, needed in zip(columns, needs, strict=True)]
        return cls([BehaviorSlot(family, slot) for (family, _), slot in zip(plan({}), made, strict=True)])

    def names(self, options: Options) -> list[str]:
        """Columns of a trial's behaviour, in the order of its model, as the plan's matrix names them."""
        kept = options.get("windows")
        return [
            column
            for slot in self.slots
            for column, needed in slot.variants[variant(options, slot.family)]
            if kept is None or set(needed) <= set(kept)
        ]


def _options_of_variant(name: str) -> dict[str, Any]:
    """What ``variant`` made a name of."""
    family, _, options = name.partition(" ")
    own = json.loads(options) if name else {}
    strength = {PRIOR_STRENGTH: own.pop(PRIOR_STRENGTH)} if PRIOR_STRENGTH in own else {}
    return {**strength, **({family: own} if own else {})}


def window_switches(space: Mapping[str, Any]) -> list[str]:
    """The parameters that switch windows."""
    return [name for name in space if name.startswith(WINDOW)]


def own_option(name: str, behavior: BehaviorFeatures | None) -> Any:
    """The declared value of ``prior_strength`` or of a family's option, as the space holds it."""
    assert behavior is not None
    if name == PRIOR_STRENGTH:
        return behavior.prior_strength
    family, _, option = name.partition(" ")
    return _as_choice(next(one for one in declared_families(behavior) if one.name == family).options()[option])


def declared_families(behavior: BehaviorFeatures | None) -> list[Family]:
    """The families that behaviour declares beside those of its plain options."""
    given = () if behavior is None else behavior.families
    return [family if isinstance(family, Family) else declare(FAMILIES, family) for family in given]


def _replaced(family: Family, options: Mapping[str, Any]) -> Family:
    try:
        return dataclasses.replace(family, **options)
    except (DeclarationError, TypeError, ValueError) as error:
        raise SpaceError(str(error)) from None


def _as_choice(value: Any) -> Any:
    """A value as a storage can hold it: lists as JSON."""
    return json.dumps(value) if isinstance(value, list) else value


def _from_choice(value: Any, family: Family, option: str) -> Any:
    return json.loads(value) if _takes_list(family, option) and isinstance(value, str) else value


def _takes_list(family: Family, option: str) -> bool:
    """Whether an option's value is a list; windows and kinds of event are, where a family leaves them open too."""
    return isinstance(family.options()[option], list) or option in ("windows", "events", "values", "keys")
