"""Rates of a key that is drawn to a less special key's rate, and that to the next one's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np

from features.beta_binomial import fit_strength
from features.errors import DeclarationError
from features.family import Declared, Key, as_key, key_name
from features.history import Batch, History
from features.rates import MEAN_BOUNDS, STRENGTH_BOUNDS, BetaPrior, checked_method, totals
from features.share import ALL
from features.windowed import SpanFamily


@dataclass(frozen=True, kw_only=True, eq=False)
class BackoffRates(SpanFamily):
    """Smoothed rates where a key with few trials takes over the rate of the next key of a chain.

    With ``s_k`` successes and ``n_k`` trials of level ``k`` of the chain in the window before the example, and ``m_k`` its strength::

        rate_k = (s_k + m_k * rate_(k+1)) / (n_k + m_k)

    The rate below the last level is the mean of the log. A level whose key is null, or unknown to the log, has no trials and hands
    the next level's rate on.

    - ``{key}__{rate}_backoff__{window}``: the rate of the first level, Float64; never null.
    - ``{key}__{rate}_backoff_level__{window}``, with ``levels=True``: place in the chain of the first level with a trial in the window,
      Int32; the chain's length where none has.

    Every level is as of the example; only strengths and the mean come from the whole log that ``fit`` sees. The strength of a level is
    fitted to how far its keys' rates lie from those that the levels below have without them: the most likely one of a beta-binomial
    about these rates, or Kleinman's moments (1973). For this each key is below the keys that its last event in the log has.

    Parameters
    ----------
    chain : sequence of str or tuple of str
        Keys from the most to the least special, such as ``[("query", "item"), "item", "category", "all"]``. ``"all"``, all events of
        the log, may only be the last. The features are those of the first key.
    levels : bool, default False
    rates : mapping from name to (success event, trial event), optional
        Default: those of the ``BehaviorFeatures``.
    fit : {"likelihood", "moments"}, default "likelihood"
    strengths : mapping from ``{level}__{rate}`` to float, optional
        Default: fitted to the log.
    means : mapping from rate to float, optional
        The rate below the last level. Default: fitted to the log.
    """

    name: ClassVar[str] = "backoff rate"

    chain: Sequence[str | Sequence[str]] = ()
    levels: bool = False
    rates: Mapping[str, Sequence[str]] | None = None
    fit: str = "likelihood"
    strengths: Mapping[str, float] = field(default_factory=dict)
    means: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_method("backoff rate: fit", self.fit)
        if isinstance(self.chain, str) or len(self.chain) < 2:
            raise DeclarationError(
                f"backoff rate: chain must be a list of two or more keys, such as [('user', 'item'), 'item', 'all'], not {self.chain!r}"
            )
        chain = tuple(key if key == ALL else as_key(key) for key in self.chain)
        if len(set(map(frozenset, chain))) < len(chain) or ALL in chain[:-1]:
            raise DeclarationError(
                f"backoff rate: chain {self.chain!r} must hold different keys, and 'all' only as the last"
            )
        self._set(chain=chain)
        if self.keys is not None and tuple(self.keys) != chain[:1]:
            raise DeclarationError(
                f"backoff rate: its only key is the first of the chain, {chain[0]!r}, not {self.keys!r}"
            )
        self._set(keys=chain[:1])
        for what, given, top in (("strengths", self.strengths, np.inf), ("means", self.means, 1.0)):
            for name, value in given.items():
                if not 0 < value < top:
                    raise DeclarationError(
                        f"backoff rate: {what}[{name!r}]={value!r} must lie above 0 and below {top:g}"
                    )

    def bound(self, declared: Declared) -> Self:
        rates = declared.rates if self.rates is None else declared.checked_rates(self.rates)
        if not rates:
            raise DeclarationError("backoff rate: no rate is declared; give rates={'ctr': ('click', 'view')}")
        return super(BackoffRates, dataclasses.replace(self, rates=rates)).bound(declared)

    def log_parts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(part for level in self._levels() for part in level))

    def example_parts(self) -> tuple[str, ...]:
        return self.log_parts()

    def reads(self, key: Key) -> tuple[Key, ...] | None:
        return None if () in self._levels() else self._levels()

    def fitted(self, history: History) -> Self:
        strengths, means = dict(self.strengths), dict(self.means)
        for rate, (success, trial) in (self.rates or {}).items():
            levels = [_Level.of(history, level, success, trial) for level in self._levels()]
            last = BetaPrior.fit(levels[-1].successes, levels[-1].trials, self.fit)
            means.setdefault(rate, last.mean)
            strengths.setdefault(self._place(-1, rate), last.strength)
            for k in reversed(range(len(levels) - 1)):
                if self._place(k, rate) not in strengths:
                    below = [
                        (level, strengths[self._place(k + 1 + i, rate)]) for i, level in enumerate(levels[k + 1 :])
                    ]
                    strengths[self._place(k, rate)] = _strength(levels[k], below, means[rate], self.fit)
        return dataclasses.replace(self, strengths=strengths, means=means)

    def columns(self, key: Key) -> list[str]:
        kinds = ("backoff", "backoff_level") if self.levels else ("backoff",)
        return [
            f"{key_name(key)}__{rate}_{kind}__{window.name}"
            for rate in self.rates or ()
            for window in self.spans()
            for kind in kinds
        ]

    def compute(self, key: Key, batch: Batch) -> Iterator[np.ndarray]:
        levels = self._levels()
        for rate, (success, trial) in (self.rates or {}).items():
            for window in self.spans():
                smoothed = np.full(len(batch), self.means[rate])
                answering = np.full(len(batch), len(levels), dtype=np.int32)
                for k in reversed(range(len(levels))):
                    standing, strength = batch.standing(levels[k]), self.strengths[self._place(k, rate)]
                    trials = standing.give(standing.count(trial, window))
                    successes = standing.give(standing.count(success, window))
                    smoothed = (successes + strength * smoothed) / (trials + strength)
                    answering[trials > 0] = k
                yield smoothed
                if self.levels:
                    yield answering

    def _levels(self) -> tuple[Key, ...]:
        """The chain as keys; ``()`` is all events."""
        return tuple(() if level == ALL else as_key(level) for level in self.chain)

    def _place(self, k: int, rate: str) -> str:
        return f"{key_name(self._levels()[k]) or ALL}__{rate}"


@dataclass(frozen=True, eq=False)
class _Level:
    """Totals of a level's keys over the log, and which key each row of the log and the last row of each key has; -1 for none."""

    successes: np.ndarray
    trials: np.ndarray
    code_of_row: np.ndarray
    last_row: np.ndarray

    @classmethod
    def of(cls, history: History, level: Key, success: str, trial: str) -> _Level:
        timeline = history.timeline(level)
        successes, trials = totals(timeline, success, trial)
        code_of_row = np.full(history.log.height, -1, dtype=np.int64)
        code_of_row[timeline.rows] = timeline.codes
        last_row = timeline.rows[np.flatnonzero(np.diff(timeline.codes, append=-1))]
        return cls(np.minimum(successes, trials), trials, code_of_row, last_row)


def _strength(level: _Level, below: Sequence[tuple[_Level, float]], mean: float, method: str) -> float:
    """How many trials the rate below is worth to the keys of a level."""
    tried = level.trials > 0
    successes, trials = level.successes[tried].astype(np.float64), level.trials[tried].astype(np.float64)
    if not (trials > 1).any():
        return 2.0  # one trial a key: nothing tells how keys differ
    rows = level.last_row[tried]
    means = np.full(len(trials), mean)
    for lower, strength in reversed(below):
        # Without the key's own events: what the chain would say of it if it were new.
        if not len(lower.trials):
            continue
        code = lower.code_of_row[rows]
        others = np.where(code >= 0, np.maximum(lower.trials.take(code, mode="clip") - trials, 0), 0)
        won = np.where(code >= 0, np.maximum(lower.successes.take(code, mode="clip") - successes, 0), 0)
        means = (np.minimum(won, others) + strength * means) / (others + strength)
    means = np.clip(means, *MEAN_BOUNDS)
    if method == "likelihood":
        return fit_strength(successes, trials, means, STRENGTH_BOUNDS)
    spread = (trials * (successes / trials - means) ** 2 / (means * (1 - means))).sum()
    overdispersion = (spread - len(trials)) / (trials.sum() - len(trials))
    strength = 1 / overdispersion - 1 if overdispersion > 0 else STRENGTH_BOUNDS[1]
    return float(np.clip(strength, *STRENGTH_BOUNDS))
