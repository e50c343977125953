"""The search space: which parameters of a model are tuned, and between which values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from features.family import BehaviorColumn
from features.frames import closest
from hybrid import HybridClassifier, TreeParameters
from hybrid.attributes import GROUP as ATTRIBUTES
from hybrid.boosters import BOOSTERS, booster_class
from hybrid.builder import behavior_group
from hybrid.calibrator import CALIBRATIONS
from hybrid.channels import AUTO, FEATURE, MARGIN, TextChannels, plain
from hybrid.coordinates import PCA, REDUCTIONS, coordinate_columns
from hybrid.errors import DeviceError
from hybrid.interest import GROUP as RECENT_INTEREST
from hybrid.label_columns import GROUP as LABEL_STATISTICS
from hybrid.match import GROUP as TEXT_MATCH
from hybrid.match import match_columns
from hybrid.matrix import TEXT_HEAD
from hybrid.texts import role_columns
from tuning.behavior_options import (
    PRIOR_STRENGTH,
    WINDOW,
    declared_option,
    default_options,
    names_option,
    options_of,
    own_option,
    variants,
    window_switches,
)
from tuning.distributions import (
    REDUCTION,
    SWITCH,
    WEIGHT,
    choices_of,
    declared,
    described,
    holds,
    library_range,
    suggest,
)
from tuning.errors import SpaceError

TREES: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(0.02, 0.3, log=True),
    "max_depth": IntDistribution(3, 10),
    "min_child_weight": FloatDistribution(0.01, 100.0, log=True),
    "subsample": FloatDistribution(0.5, 1.0),
    "colsample": FloatDistribution(0.3, 1.0),
    "reg_lambda": FloatDistribution(0.001, 100.0, log=True),
    "reg_alpha": FloatDistribution(0.0, 5.0),
}
COORDINATES_OF_ALL = "coordinates"
COORDINATES = (8, 16, 32, 64)
MORE: dict[str, BaseDistribution] = {
    "max_bin": IntDistribution(32, 512, log=True),
    "class_weight": CategoricalDistribution((None, "balanced")),
    "calibration": CategoricalDistribution(CALIBRATIONS),
}
"""Not in the default space; searched when a user names it."""
WEIGHTS = (0.1, 0.3, 1.0)
KNOWN_GOOD: tuple[dict[str, Any], ...] = (
    {
        "learning_rate": 0.05,
        "max_depth": 6,
        "min_child_weight": 5.0,
        "subsample": 0.8,
        "colsample": 0.5,
        "reg_lambda": 5.0,
    },
    {
        "learning_rate": 0.1,
        "max_depth": 4,
        "min_child_weight": 1.0,
        "subsample": 0.8,
        "colsample": 0.8,
        "reg_lambda": 1.0,
    },
)
"""Settings that do well on many data sets, tried after the model's own: the first suits many noisy columns, the second few good ones."""


@dataclass(frozen=True)
class SearchSpace(Mapping[str, BaseDistribution]):
    """What a study searches: a distribution for each parameter. A parameter that is not in it stays as the model has it.

    Parameters
    ----------
    distributions : mapping from name to optuna distribution
        Names are

        - parameters of the trees, ``booster``, ``max_bin``, ``class_weight`` and ``calibration`` of ``HybridClassifier``;
        - ``"{booster} {parameter}"``: a parameter of that library's own, asked only of trials with that booster;
        - ``coordinates`` of every text role, or ``"coordinates {role}"`` of one; ``reduction``, "pca" or "truncate", likewise;
        - ``head``: "margin" or "feature";
        - ``"use {group}"``: the switch of a group of columns; ``"weight {group}"``: its ``feature_weights``, asked with XGBoost only;
        - ``"window {window}"``: whether behaviour keeps a window; ``prior_strength`` of its rates; ``"{family} {option}"``: an option
          of a family of behaviour features, such as ``"decay half_lives"``.

    Examples
    --------
    >>> model = HybridClassifier(text={"query": "query"}, numeric=["price"])
    >>> space = SearchSpace.default(model).narrowed({"max_depth": (3, 8), "booster": ["xgboost"], "use attributes": True})
    >>> space["max_depth"]
    IntDistribution(high=8, log=False, low=3, step=1)
    """

    distributions: Mapping[str, BaseDistribution] = field(default_factory=dict)

    def __getitem__(self, name: str) -> BaseDistribution:
        return self.distributions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.distributions)

    def __len__(self) -> int:
        return len(self.distributions)

    @classmethod
    def default(cls, model: HybridClassifier) -> SearchSpace:
        """The booster and its parameters, the coordinates of texts, how the head enters, the windows, half-lives and priors of
        behaviour, and a switch for each group of the model.

        The model's own booster is the only one where ``booster_params`` are set, which are that library's; and boosters that are
        not installed, or cannot use the model's device, are left out.
        """
        space: dict[str, BaseDistribution] = {"booster": CategoricalDistribution(_boosters(model)), **TREES}
        if model.text:
            own_coordinates = model.channels().coordinates.n
            choices = sorted({*COORDINATES, own_coordinates}) if own_coordinates else (0,)
            space[COORDINATES_OF_ALL] = CategoricalDistribution(choices)
            if model.channels().head is not None:
                space["head"] = CategoricalDistribution((MARGIN, FEATURE))
        space |= default_options(model.behavior)
        own = groups(model)
        switch = (True, False) if len(own) > 1 else (True,)
        return cls(space | {SWITCH + group: CategoricalDistribution(switch) for group in own})

    @classmethod
    def of(cls, given: str | Mapping[str, Any], model: HybridClassifier) -> SearchSpace:
        """The space that a user declares for a model, checked.

        Parameters
        ----------
        given : "default", a mapping that narrows the default space, or a SearchSpace, which replaces it
        model : HybridClassifier

        Raises
        ------
        SpaceError
            An unknown name, an empty range, a value of the wrong kind, no group left.
        """
        if isinstance(given, SearchSpace):
            space = cls({}).narrowed(given, model)
        elif isinstance(given, Mapping):
            space = cls.default(model).narrowed(given, model)
        elif given == "default":
            space = cls.default(model)
        else:
            raise SpaceError(f'space must be "default", a mapping or a SearchSpace, not {given!r}')
        # Groups that the space does not switch stay as the model has them. Without coordinates there are no groups of texts.
        roles = [f"{SWITCH}{role} text" for role in model.text or {} if not space.most_coordinates(model)[role]]
        own = {SWITCH + group: CategoricalDistribution((group not in model.without,)) for group in groups(model)}
        space = cls({name: d for name, d in (own | dict(space)).items() if name not in roles})
        _check(space, model)
        return cls(dict(sorted(space.items(), key=lambda item: item[0].startswith(SWITCH))))

    def narrowed(self, given: Mapping[str, Any], model: HybridClassifier | None = None) -> SearchSpace:
        """This space with some parameters narrowed or fixed.

        Parameters
        ----------
        given : mapping from name to values
            A tuple (low, high), or ``{"low": ..., "high": ...}``, is a range, on the scale that the default space has it (powers
            of two for ``coordinates``); a list holds choices; any other value fixes the parameter.
        model : HybridClassifier, optional
            Whose parameters may be named; by default what is in the space, and what every model has.
        """
        known = (
            {**MORE, **self, **{name: TREES[name] for name in self if name in TREES}}
            if model is None
            else _known(model)
        )
        narrowed = dict(self.distributions)
        for name, values in given.items():
            if model is not None and names_option(name, model.behavior):
                narrowed[name] = declared_option(name, values, model.behavior)
            elif name in known:
                narrowed[name] = declared(name, values, known[name])
            elif name.partition(" ")[0] in BOOSTERS:
                narrowed[name] = library_range(name, values)
            else:
                raise SpaceError(f"the space has no parameter {name!r}{closest(name, known)}")
        return SearchSpace(narrowed)

    def most_coordinates(self, model: HybridClassifier) -> dict[str, int]:
        """The most coordinates of each role that any trial reads."""
        own, most = model.channels().coordinates, {}
        for role in model.text or {}:
            name = next((n for n in (f"{COORDINATES_OF_ALL} {role}", COORDINATES_OF_ALL) if n in self), None)
            most[role] = own.of(role) if name is None else max(choices_of(self[name]))
        return most

    def reductions(self, model: HybridClassifier) -> dict[str, list[str]]:
        """How trials reduce each role's embedding: every way that any of them reads."""
        own, found = model.channels().coordinates, {}
        for role in model.text or {}:
            name = next((n for n in (f"{REDUCTION} {role}", REDUCTION) if n in self), None)
            found[role] = [own.reduction_of(role)] if name is None else list(dict.fromkeys(choices_of(self[name])))
        return found

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """One trial's value of each parameter that has a meaning there: a head's way of entering only where there is a head, for example.

        The last switch of the groups, and of the windows, is not asked where it must be on, for all others are off.
        """
        chosen: dict[str, Any] = {}
        if "booster" in self:
            chosen["booster"] = suggest(trial, "booster", self["booster"])
        for names in (_switches(self), window_switches(self)):
            if not names or not self._means_something(names[0], chosen):
                continue
            last = [name for name in names if True in choices_of(self[name])][-1]
            chosen |= {name: suggest(trial, name, self[name]) for name in names if name != last}
            others = any(chosen[name] for name in names if name != last)
            chosen[last] = suggest(trial, last, self[last]) if others else True
        for name, distribution in self.items():
            if name not in chosen and name not in window_switches(self) and self._means_something(name, chosen):
                chosen[name] = suggest(trial, name, distribution)
        return {name: chosen[name] for name in self if name in chosen}

    def starts(self, model: HybridClassifier) -> list[dict[str, Any]]:
        """The first trials: the model's own settings, and two that do well on many data sets; each where it lies in the space."""
        own = self._own(model)
        candidates = [
            own,
            *(own | {name: value for name, value in good.items() if name in self} for good in KNOWN_GOOD),
        ]
        inside = [one for one in candidates if all(holds(self[name], value) for name, value in one.items())]
        return [one for i, one in enumerate(inside) if one not in inside[:i]]

    def start(self, model: HybridClassifier) -> dict[str, Any] | None:
        """The model's own settings as a trial; None where they lie outside the space."""
        own = self._own(model)
        return own if all(holds(self[name], value) for name, value in own.items()) else None

    def _own(self, model: HybridClassifier) -> dict[str, Any]:
        channels, weights = model.channels(), model.feature_weights or {}
        own: dict[str, Any] = {}
        for name in self:
            first, _, rest = name.partition(" ")
            if name.startswith(SWITCH):
                own[name] = rest not in model.without
            elif name.startswith(WINDOW):
                own[name] = True
            elif name.startswith(WEIGHT):
                own[name] = weights.get(rest, 1.0)
            elif name == "head":
                own[name] = _mode(channels)
            elif name == COORDINATES_OF_ALL:
                own[name] = channels.coordinates.n
            elif first == COORDINATES_OF_ALL:
                own[name] = channels.coordinates.of(rest)
            elif name == REDUCTION:
                own[name] = channels.coordinates.reduction
            elif first == REDUCTION:
                own[name] = channels.coordinates.reduction_of(rest)
            elif first in BOOSTERS:
                continue  # the library's own default, which has no value here
            elif name == PRIOR_STRENGTH or rest:
                own[name] = own_option(name, model.behavior)
            else:
                own[name] = getattr(model, name)
        return own

    def _means_something(self, name: str, chosen: Mapping[str, Any]) -> bool:
        """Whether a parameter can matter to a trial with these values of the parameters asked before."""

        def on(is_one: Callable[[str], bool]) -> bool:
            found = [
                value for switch, value in chosen.items() if switch.startswith(SWITCH) and is_one(switch[len(SWITCH) :])
            ]
            return not found or any(found)

        first, _, rest = name.partition(" ")
        booster = chosen.get("booster")
        if first in BOOSTERS and rest:
            return booster in (None, first)
        if name.startswith(WEIGHT):
            return booster in (None, "xgboost") and on(lambda group: group == rest)
        if name == "head":
            return on(lambda group: group == TEXT_HEAD)
        if first in (COORDINATES_OF_ALL, REDUCTION):
            return on(lambda group: group == f"{rest} text" if rest else group.endswith(" text"))
        if name.startswith(WINDOW) or name == PRIOR_STRENGTH or (rest and not name.startswith(SWITCH)):
            return on(lambda group: group.endswith(" behaviour") or group in ("session", RECENT_INTEREST))
        return True

    @staticmethod
    def settings(chosen: Mapping[str, Any], model: HybridClassifier) -> dict[str, Any]:
        """A trial's values as parameters for ``model.set_params``, as JSON can hold them: ``behavior`` holds the options that differ.

        A head that the model leaves to "auto" is the margin where the space does not say.
        """
        settings = {name: value for name, value in chosen.items() if name in (*TREES, *MORE, "booster")}
        off = [name.removeprefix(SWITCH) for name, on in chosen.items() if name.startswith(SWITCH) and not on]
        declared, channels = plain(model.text_channels) or {}, model.channels()
        by_role, reductions = (
            {n.partition(" ")[2]: v for n, v in chosen.items() if n.startswith(f"{first} ")}
            for first in (COORDINATES_OF_ALL, REDUCTION)
        )
        if by_role or reductions or COORDINATES_OF_ALL in chosen or REDUCTION in chosen:
            own = channels.coordinates
            n, reduction = chosen.get(COORDINATES_OF_ALL, own.n), chosen.get(REDUCTION, own.reduction)
            of_roles = by_role if COORDINATES_OF_ALL in chosen else {**own.by_role, **by_role}
            if reductions:
                others = replace(own, reduction=reduction)
                by_way = {role: reductions.get(role, others.reduction_of(role)) for role in model.text or {}}
                reduction = by_way if len(set(by_way.values())) > 1 else next(iter(by_way.values()))
            whole = {"n": n, "by_role": of_roles, "reduction": reduction}
            declared["coordinates"] = n if not of_roles and reduction == PCA else whole
            settings["text_channels"] = declared
        if channels.head is not None:
            settings["head"] = chosen.get("head", _mode(channels))
            if isinstance(declared.get("head"), str):  # which would have the last word
                settings["text_channels"] = {**declared, "head": True}
        booster = chosen.get("booster", model.booster)
        own_parameters = {
            name.partition(" ")[2]: value for name, value in chosen.items() if name.startswith(f"{booster} ")
        }
        if own_parameters:
            settings["booster_params"] = {**(model.booster_params or {}), **own_parameters}
        weights = {name.removeprefix(WEIGHT): value for name, value in chosen.items() if name.startswith(WEIGHT)}
        if weights or (model.feature_weights and "booster" in chosen):
            kept = {**(model.feature_weights or {}), **weights}
            settings["feature_weights"] = (
                {g: w for g, w in kept.items() if g not in off} if booster == "xgboost" else None
            )
        if options := options_of(chosen, model.behavior):
            settings["behavior"] = options
        return settings | {"without": off}

    def described(self) -> dict[str, str]:
        """Each parameter's values in a few words, in the language that is spoken."""
        return {name: described(distribution) for name, distribution in self.items()}


def groups(model: HybridClassifier) -> list[str]:
    """The groups of columns that a model declares, before any of them are left out."""
    roles = role_columns(model.text or {})
    found = [coordinate_columns(role, 1)[0].group for role in roles]
    declared = model.channels().match
    if declared is not None and match_columns(declared, list(roles)):
        found.append(TEXT_MATCH)
    if model.behavior is not None:
        found += [behavior_group(BehaviorColumn("", key, family.name)) for key, family in model.behavior.open_plan()]
        if model.channels().recent_interest:
            found.append(RECENT_INTEREST)
    if model.categorical or model.numeric:
        found.append(ATTRIBUTES)
    if model.label_statistics is not None:
        found.append(LABEL_STATISTICS)
    if model.channels().head is not None:
        found.append(TEXT_HEAD)
    return list(dict.fromkeys(found))


def _known(model: HybridClassifier) -> dict[str, BaseDistribution]:
    """Every parameter that a space of this model may name without naming a library or a family, with its default values."""
    roles = {f"{COORDINATES_OF_ALL} {role}": CategoricalDistribution(COORDINATES) for role in model.text or {}}
    names = [REDUCTION, *(f"{REDUCTION} {role}" for role in model.text)] if model.text else []
    reductions = {name: CategoricalDistribution(REDUCTIONS) for name in names}
    weights = {WEIGHT + group: CategoricalDistribution(WEIGHTS) for group in groups(model)}
    return {**roles, **reductions, **weights, **SearchSpace.default(model), **MORE}


def _switches(space: Mapping[str, Any]) -> list[str]:
    return [name for name in space if name.startswith(SWITCH)]


def _mode(channels: TextChannels) -> str | None:
    return MARGIN if channels.head_mode == AUTO else channels.head_mode


def _boosters(model: HybridClassifier) -> tuple[str, ...]:
    usable = []
    for name in BOOSTERS:
        try:
            booster_class(name).resolve_device(model.device)
        except (ImportError, DeviceError):
            continue
        usable.append(name)
    if model.booster_params or not usable:
        return (model.booster,)
    return tuple(usable)


def _check(space: SearchSpace, model: HybridClassifier) -> None:
    """Raise for values that no trial could use, by trying the ends of each range."""
    most = space.most_coordinates(model)
    for name, distribution in space.items():
        ends = choices_of(distribution) or (distribution.low, distribution.high)  # type: ignore[attr-defined]  # float or int
        for value in ends:
            if name in TREES:
                TreeParameters(**{name: value})
            elif name == "max_bin" and value < 2:
                raise SpaceError(f"max_bin must be at least 2, not {value}")
            elif name.partition(" ")[0] == COORDINATES_OF_ALL and value < 1 and len(ends) > 1:
                raise SpaceError(f"{name} to choose from must be at least 1; {name}=0 alone leaves them out")
            elif name.partition(" ")[0] == REDUCTION and not most.get(name.partition(" ")[2], sum(most.values())):
                raise SpaceError(f"{name!r} reduces texts without columns, since their coordinates are 0")
            elif name.startswith(WEIGHT) and name.replace(WEIGHT, SWITCH, 1) not in space:
                raise SpaceError(f"{name!r} weighs a group without columns, since coordinates are 0")
            elif name.startswith(WEIGHT) and not value > 0:
                raise SpaceError(f"{name} must be above 0, not {value}")
            elif name == "head" and value not in (MARGIN, FEATURE):
                raise SpaceError(f'head is "margin" or "feature", not {value!r}; "use text head" switches it off')
            elif name == "calibration" and value not in CALIBRATIONS:
                raise SpaceError(f'calibration is "temperature" or None, not {value!r}')
            elif name == "booster":
                booster_class(value).resolve_device(model.device)
    if model.booster_params and len(choices_of(space.get("booster", CategoricalDistribution((model.booster,))))) > 1:
        raise SpaceError(
            f"booster_params are {model.booster}'s own parameters: search that booster alone, space={{'booster': {model.booster!r}}}"
        )
    if any(name.startswith(WEIGHT) for name in space) and "xgboost" not in choices_of(
        space.get("booster", CategoricalDistribution((model.booster,)))
    ):
        raise SpaceError("weights of groups are XGBoost's alone: let the space have booster xgboost")
    windows = window_switches(space)
    if windows and not any(True in choices_of(space[name]) for name in windows):
        raise SpaceError(f"no window is left: {', '.join(map(repr, windows))} all off")
    list(variants(space, model.behavior))
    switches = _switches(space)
    if not any(True in choices_of(space[name]) for name in switches):
        raise SpaceError(f"no group is left to learn from: {', '.join(map(repr, switches)) or 'coordinates=0'} all off")
