"""How an encoder is fine-tuned: the numbers, checked at the door."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hybrid.errors import ParameterError

RANKING, GRADES = LOSSES = ("ranking", "grades")


@dataclass(frozen=True)
class Settings:
    """The parameters of ``finetune`` that say how to train; its docstring explains them."""

    loss: str
    min_label: float
    negatives: int
    holdout: float
    roles: tuple[str, str]
    epochs: int
    batch_size: int
    mini_batch_size: int | None
    learning_rate: float
    max_tokens: int | None
    freeze: int | None
    lora: int | None
    matryoshka: tuple[int, ...]
    evaluations: int
    patience: int | None
    random_state: int

    @classmethod
    def checked(cls, **values: object) -> Settings:
        """Raise ParameterError for the first value that cannot be."""
        if values["loss"] not in LOSSES:
            raise ParameterError(f"loss must be {' or '.join(map(repr, LOSSES))}, not {values['loss']!r}")
        if values["loss"] == GRADES and values["mini_batch_size"] is not None:
            raise ParameterError(f"mini_batch_size is for loss={RANKING!r}; use a smaller batch_size")
        for name, least in _LEAST.items():
            value = values[name]
            if value is None and name in _OPTIONAL:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ParameterError(f"{name} must be a whole number of at least {least}, not {value!r}")
        for name, (low, high) in _BETWEEN.items():
            number = values[name]
            if not isinstance(number, int | float) or isinstance(number, bool) or not low < number <= high:
                raise ParameterError(f"{name} must be a number above {low} and at most {high}, not {number!r}")
        values["roles"] = _two_names(values["roles"])
        values["matryoshka"] = _widths(values["matryoshka"])
        return cls(**values)  # type: ignore[arg-type]  # checked above, by name


_LEAST = {
    "negatives": 0,
    "epochs": 1,
    "batch_size": 2,
    "mini_batch_size": 1,
    "max_tokens": 8,
    "freeze": 0,
    "lora": 1,
    "evaluations": 1,
    "patience": 1,
    "random_state": 0,
}
_OPTIONAL = {"mini_batch_size", "max_tokens", "freeze", "lora", "patience"}
_BETWEEN = {"min_label": (0.0, math.inf), "holdout": (0.0, 0.5), "learning_rate": (0.0, math.inf)}


def _two_names(roles: object) -> tuple[str, str]:
    if isinstance(roles, Sequence) and not isinstance(roles, str) and [type(role) for role in roles] == [str, str]:
        return roles[0], roles[1]
    raise ParameterError(f"roles must be two names, that of the query and that of the item, not {roles!r}")


def _widths(dims: object) -> tuple[int, ...]:
    if isinstance(dims, Sequence) and not isinstance(dims, str) and all(type(dim) is int and dim > 0 for dim in dims):
        return tuple(sorted(set(dims), reverse=True))
    raise ParameterError(f"matryoshka must be a list of positive whole numbers, not {dims!r}")
