"""Keyword arguments of a function, as a type that pydantic can check: one truth for the API and the TOML file."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import BeforeValidator, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True, eq=False)  # pydantic hashes annotations, and mappings have no hash
class Keywords:
    """Annotates a ``dict`` that holds keyword arguments of a function: ``Annotated[dict[str, Any], Keywords(function)]``.

    A key of the dict is a parameter, its type the parameter's annotation, and it may be absent where the parameter has a default.
    ``false`` stands for None where None is allowed, since TOML has no null.

    Parameters
    ----------
    function : callable
        A function or a class.
    leave_out : collection of str, default ()
        Parameters that come from elsewhere.
    spelled : mapping from parameter to type, default empty
        Types to use in place of the annotations.
    more : mapping from key to type, default empty
        Keys beside the parameters; they are required.
    """

    function: Callable[..., Any]
    leave_out: Collection[str] = ()
    spelled: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """The parameters that are keys."""
        found = inspect.signature(self.function).parameters.values()
        return [parameter for parameter in found if parameter.name not in self.leave_out]

    @property
    def names(self) -> list[str]:
        """All keys."""
        return [*(parameter.name for parameter in self.parameters), *self.more]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        hints = get_type_hints(self.function.__init__ if inspect.isclass(self.function) else self.function)
        types = {
            parameter.name: (
                self.spelled.get(parameter.name, hints[parameter.name]),
                parameter.default is parameter.empty,
            )
            for parameter in self.parameters
        }
        types |= {name: (kind, True) for name, kind in self.more.items()}
        return core_schema.typed_dict_schema(
            {
                name: core_schema.typed_dict_field(handler.generate_schema(_nullable(kind)), required=required)
                for name, (kind, required) in types.items()
            },
            extra_behavior="forbid",
            config=core_schema.CoreConfig(strict=True),
        )


def _nullable(kind: Any) -> Any:
    return Annotated[kind, BeforeValidator(_false_as_none)] if type(None) in get_args(kind) else kind


def _false_as_none(value: Any) -> Any:
    return None if value is False else value
