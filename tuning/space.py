"""The search space: which parameters of a model are tuned, and between which values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from features.family import BehaviorColumn
from features.frames import closest
from hybrid import HybridClassifier, TreeParameters
from hybrid.attributes import GROUP as ATTRIBUTES
from hybrid.boosters import BOOSTERS, booster_class
from hybrid.builder import behavior_group
from hybrid.channels import AUTO, FEATURE, MARGIN, TextChannels, plain
from hybrid.coordinates import coordinate_columns
from hybrid.errors import DeviceError
from hybrid.interest import GROUP as RECENT_INTEREST
from hybrid.match import GROUP as TEXT_MATCH
from hybrid.match import match_columns
from hybrid.matrix import TEXT_HEAD
from hybrid.texts import role_columns
from tuning.distributions import SWITCH, choices_of, declared, described, holds, suggest
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
COORDINATES = (8, 16, 32, 64)
MORE: dict[str, BaseDistribution] = {"max_bin": IntDistribution(32, 512, log=True)}
"""Not in the default space; searched when a user names it."""


@dataclass(frozen=True)
class SearchSpace(Mapping[str, BaseDistribution]):
    """What a study searches: a distribution for each parameter. A parameter that is not in it stays as the model has it.

    Parameters
    ----------
    distributions : mapping from name to optuna distribution
        Names are parameters of ``HybridClassifier``, and ``"use {group}"`` for the switch of a group of columns.

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
        """The booster and its parameters, the coordinates of texts, and a switch for each group of the model.

        The model's own booster is the only one where ``booster_params`` are set, which are that library's; and boosters that are
        not installed, or cannot use the model's device, are left out.
        """
        space: dict[str, BaseDistribution] = {"booster": CategoricalDistribution(_boosters(model)), **TREES}
        if model.text:
            own_coordinates = model.channels().coordinates.n
            choices = sorted({*COORDINATES, own_coordinates}) if own_coordinates else (0,)
            space["coordinates"] = CategoricalDistribution(choices)
            if model.channels().head is not None:
                space["head"] = CategoricalDistribution((MARGIN, FEATURE))
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
            space = cls({}).narrowed(given, known=known(model))
        elif isinstance(given, Mapping):
            space = cls.default(model).narrowed(given, known=known(model))
        elif given == "default":
            space = cls.default(model)
        else:
            raise SpaceError(f'space must be "default", a mapping or a SearchSpace, not {given!r}')
        # Groups that the space does not switch stay as the model has them. Without coordinates there are no groups of texts.
        roles = [] if space.most_coordinates(model) else [f"{SWITCH}{role} text" for role in model.text or {}]
        own = {SWITCH + group: CategoricalDistribution((group not in model.without,)) for group in groups(model)}
        space = cls({name: d for name, d in (own | dict(space)).items() if name not in roles})
        _check(space, model)
        return cls(dict(sorted(space.items(), key=lambda item: item[0].startswith(SWITCH))))

    def narrowed(self, given: Mapping[str, Any], known: Mapping[str, BaseDistribution] | None = None) -> SearchSpace:
        """This space with some parameters narrowed or fixed.

        Parameters
        ----------
        given : mapping from name to values
            A tuple (low, high), or ``{"low": ..., "high": ...}``, is a range, on the scale that the default space has it (powers
            of two for ``coordinates``); a list holds choices; any other value fixes the parameter.
        known : mapping from name to distribution, optional
            What may be named; by default what is in the space, and ``max_bin``.
        """
        known = {**MORE, **self, **{name: TREES[name] for name in self if name in TREES}} if known is None else known
        narrowed = dict(self.distributions)
        for name, values in given.items():
            if name not in known:
                raise SpaceError(f"the space has no parameter {name!r}{closest(name, known)}")
            narrowed[name] = declared(name, values, known[name])
        return SearchSpace(narrowed)

    def most_coordinates(self, model: HybridClassifier) -> int:
        """The most coordinates that any trial reads."""
        if "coordinates" in self:
            return max(choices_of(self["coordinates"]))
        return max([model.channels().coordinates.of(role) for role in model.text or {}], default=0)

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """One trial's value of each parameter. The last switch is not asked where it must be on, for all others are off."""
        switches = [name for name in self if name.startswith(SWITCH)]
        last = [name for name in switches if True in choices_of(self[name])][-1]
        chosen = {name: suggest(trial, name, self[name]) for name in self if name != last}
        others = any(chosen[name] for name in switches if name != last)
        chosen[last] = suggest(trial, last, self[last]) if others else True
        return {name: chosen[name] for name in self}

    def start(self, model: HybridClassifier) -> dict[str, Any] | None:
        """The model's own settings as a trial; None where they lie outside the space."""
        channels = model.channels()
        of_channels = {"coordinates": channels.coordinates.n, "head": _mode(channels)}
        own = {
            name: name.removeprefix(SWITCH) not in model.without
            if name.startswith(SWITCH)
            else of_channels[name]
            if name in of_channels
            else getattr(model, name)
            for name in self
        }
        return own if all(holds(self[name], value) for name, value in own.items()) else None

    @staticmethod
    def settings(chosen: Mapping[str, Any], model: HybridClassifier) -> dict[str, Any]:
        """A trial's values as parameters for ``model.set_params``.

        The number of coordinates holds for every role. A head that the model leaves to "auto" is the margin where the space does not say.
        """
        settings = {name: value for name, value in chosen.items() if not name.startswith(SWITCH)}
        off = [name.removeprefix(SWITCH) for name, on in chosen.items() if name.startswith(SWITCH) and not on]
        declared, channels = plain(model.text_channels) or {}, model.channels()
        if "coordinates" in settings:
            n, reduction = settings.pop("coordinates"), channels.coordinates.reduction
            declared["coordinates"] = n if reduction == "pca" else {"n": n, "reduction": reduction}
            settings["text_channels"] = declared
        if channels.head is not None:
            settings["head"] = settings.get("head", _mode(channels))
            if isinstance(declared.get("head"), str):  # which would have the last word
                settings["text_channels"] = {**declared, "head": True}
        return settings | {"without": off}

    def described(self) -> dict[str, str]:
        """Each parameter's values in a few words."""
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
    if model.channels().head is not None:
        found.append(TEXT_HEAD)
    return list(dict.fromkeys(found))


def known(model: HybridClassifier) -> dict[str, BaseDistribution]:
    """Every parameter that a space of this model may name, with its default values."""
    return {**SearchSpace.default(model), **MORE}


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
    for name, distribution in space.items():
        ends = choices_of(distribution) or (distribution.low, distribution.high)  # type: ignore[attr-defined]  # float or int
        for value in ends:
            if name in TREES:
                TreeParameters(**{name: value})
            elif name == "max_bin" and value < 2:
                raise SpaceError(f"max_bin must be at least 2, not {value}")
            elif name == "coordinates" and value < 1 and len(ends) > 1:
                raise SpaceError("coordinates to choose from must be at least 1; coordinates=0 alone leaves them out")
            elif name == "head" and value not in (MARGIN, FEATURE):
                raise SpaceError(f'head is "margin" or "feature", not {value!r}; "use text head" switches it off')
            elif name == "booster":
                booster_class(value).resolve_device(model.device)
    if model.booster_params and len(choices_of(space.get("booster", CategoricalDistribution((model.booster,))))) > 1:
        raise SpaceError(
            f"booster_params are {model.booster}'s own parameters: search that booster alone, space={{'booster': {model.booster!r}}}"
        )
    switches = [name for name in space if name.startswith(SWITCH)]
    if not any(True in choices_of(space[name]) for name in switches):
        raise SpaceError(f"no group is left to learn from: {', '.join(map(repr, switches)) or 'coordinates=0'} all off")
