"""The four channels by which text reaches the trees, each switched and sized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from features.frames import closest
from hybrid.coordinates import PCA, REDUCTIONS
from hybrid.errors import ParameterError
from hybrid.head import TextHead
from hybrid.match import Match

COORDINATES = 32
AUTO, MARGIN, FEATURE = "auto", "margin", "feature"
HEAD_MODES = (AUTO, MARGIN, FEATURE, None)


@dataclass(frozen=True, kw_only=True)
class Coordinates:
    """How many coordinates of each role's embedding the trees read.

    Parameters
    ----------
    n : int, default 32
        0 for none.
    by_role : mapping from role to int, default empty
        Instead of ``n`` for the roles that it names.
    reduction : {"pca", "truncate"} or mapping from role to one of them, default "pca"
        "truncate" takes the leading numbers as they are: for Matryoshka encoders, and, with ``n`` the encoder's dimension, the whole. Roles
        that a mapping does not name have "pca".
    """

    n: int = COORDINATES
    by_role: Mapping[str, int] = field(default_factory=dict)
    reduction: str | Mapping[str, str] = "pca"

    def __post_init__(self) -> None:
        for name, n in {"n": self.n, **self.by_role}.items():
            if not isinstance(n, int) or isinstance(n, bool) or n < 0:
                raise ParameterError(f"coordinates of {name!r} must be a whole number of at least 0, not {n!r}")
        for reduction in self.reduction.values() if isinstance(self.reduction, Mapping) else [self.reduction]:
            if reduction not in REDUCTIONS:
                raise ParameterError(f"reduction must be one of {', '.join(map(repr, REDUCTIONS))}, not {reduction!r}")

    def of(self, role: str) -> int:
        """Coordinates of a role."""
        return self.by_role.get(role, self.n)

    def reduction_of(self, role: str) -> str:
        """How a role's embedding is reduced."""
        return self.reduction.get(role, PCA) if isinstance(self.reduction, Mapping) else self.reduction


@dataclass(frozen=True, kw_only=True)
class TextChannels:
    """What the trees read of texts.

    Parameters
    ----------
    match : Match or None
    coordinates : Coordinates
    head : TextHead or None
    head_mode : {"auto", "margin", "feature"} or None
    recent_interest : int
        How many of the user's last events make the recent interest; 0 for none.
    """

    match: Match | None
    coordinates: Coordinates
    head: TextHead | None
    head_mode: str | None
    recent_interest: int

    @classmethod
    def of(cls, given: Mapping[str, Any] | None, head: str | None, roles: Sequence[str]) -> TextChannels:
        """The channels that a user declares.

        Parameters
        ----------
        given : mapping from channel to its setting, or None
            As ``HybridClassifier`` says.
        head : {"auto", "margin", "feature"} or None
            How the head enters, unless ``given["head"]`` says so itself.
        roles : sequence of str
            The roles of the model's texts.

        Raises
        ------
        ParameterError
            An unknown channel or role, or a setting that a channel cannot have.
        """
        if given is not None and not isinstance(given, Mapping):
            raise ParameterError(f"text_channels must be a mapping from channel to setting, not {given!r}")
        names = ("match", "coordinates", "head", "recent_interest")
        for name in given or {}:
            if name not in names:
                raise ParameterError(f"there is no text channel {name!r}{closest(name, names)}")
        settings = {"match": True, "coordinates": True, "head": True, "recent_interest": 0, **(given or {})}
        declared, mode = _head(settings["head"], head)
        if not roles:
            declared, mode = None, None
        elif declared is not None:
            declared.read(roles)
        coordinates = _coordinates(settings["coordinates"])
        named = coordinates.reduction if isinstance(coordinates.reduction, Mapping) else ()
        for role in (*coordinates.by_role, *named):
            if role not in roles:
                raise ParameterError(f"coordinates name {role!r}, which is no text role{closest(role, roles)}")
        return cls(
            match=_switched(Match, settings["match"], "match"),
            coordinates=coordinates,
            head=declared,
            head_mode=mode,
            recent_interest=_events(settings["recent_interest"]),
        )


_DECLARATIONS = (Match, Coordinates, TextHead)


def plain(text_channels: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Declared channels as values that JSON and TOML can hold."""
    if text_channels is None:
        return None
    return {name: asdict(value) if isinstance(value, _DECLARATIONS) else value for name, value in text_channels.items()}


def _head(given: Any, mode: str | None) -> tuple[TextHead | None, str | None]:
    if isinstance(given, str):
        given, mode = True, given
    if mode not in HEAD_MODES:
        raise ParameterError(f"head must be one of {', '.join(map(repr, HEAD_MODES))}, not {mode!r}")
    if given is None or given is False or mode is None:
        return None, None
    return _switched(TextHead, given, "head"), mode


def _switched(kind: type[Any], given: Any, channel: str) -> Any:
    """A declaration; True stands for the default one, False and None for none."""
    if given is None or given is False:
        return None
    return kind() if given is True else _declared(kind, given, channel)


def _coordinates(given: Any) -> Coordinates:
    if given is True:
        return Coordinates()
    if given is None or given is False:
        return Coordinates(n=0)
    if isinstance(given, int):
        return Coordinates(n=given)
    return _declared(Coordinates, given, "coordinates")


def _events(given: Any) -> int:
    if given is None or given is False:
        return 0
    if given is True or not isinstance(given, int) or given < 0:
        raise ParameterError(f"recent_interest must be a number of events of at least 0, not {given!r}")
    return given


def _declared(kind: type[Any], given: Any, channel: str) -> Any:
    """A declaration as it is, or from a mapping of its fields, as a TOML file or an artifact has it."""
    if isinstance(given, kind):
        return given
    if not isinstance(given, Mapping):
        raise ParameterError(f"the text channel {channel} cannot be set to {given!r}: give {kind.__name__}(...)")
    known = [item.name for item in fields(kind)]
    for name in given:
        if name not in known:
            raise ParameterError(f"the text channel {channel} has no option {name!r}{closest(name, known)}")
    return kind(**given)
