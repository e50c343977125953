"""Smoothed rates: successes per trial, drawn to the log's mean where trials are few."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from features.beta_binomial import fit_beta
from features.errors import DeclarationError
from features.family import Declared, Key, key_name
from features.history import Batch, History
from features.timeline import Timeline
from features.windowed import SpanFamily

METHODS = ("likelihood", "moments")
MEAN_BOUNDS = (1e-6, 1 - 1e-6)
STRENGTH_BOUNDS = (1e-2, 1e6)


@dataclass(frozen=True)
class BetaPrior:
    """A beta prior of a rate.

    Parameters
    ----------
    mean : float
        The rate of all keys together.
    strength : float
        How many trials the prior is worth: ``alpha + beta``.
    """

    mean: float
    strength: float

    @classmethod
    def of(cls, declared: BetaPrior | Mapping[str, Any]) -> BetaPrior:
        """A prior from ``{"mean": ..., "strength": ...}``; a prior is returned as it is."""
        return declared if isinstance(declared, BetaPrior) else BetaPrior(**declared)

    @property
    def alpha(self) -> float:
        return self.mean * self.strength

    @property
    def beta(self) -> float:
        return (1 - self.mean) * self.strength

    def smooth(self, successes: np.ndarray, trials: np.ndarray) -> np.ndarray:
        """``(successes + alpha) / (trials + alpha + beta)``."""
        return (successes + self.alpha) / (trials + self.strength)

    @classmethod
    def fit(cls, successes: np.ndarray, trials: np.ndarray, method: str = "likelihood") -> BetaPrior:
        """Fit to the totals of keys.

        By moments, the mean is the rate of all trials together and the overdispersion of the beta-binomial is Kleinman's estimator with
        weights equal to the trials (J. C. Kleinman, "Proportions with extraneous variance", JASA 68, 1973). By likelihood, both make
        the totals most likely (``fit_beta``): a key of a million trials then says as much about how keys differ as any other
        that is well known, where by moments it outweighs them. Keys that differ no more than chance give the strongest prior, 1e6.
        Where nothing tells how keys differ (one key, or one trial each) the strength is 2, and the mean of a log without trials 0.5.

        Parameters
        ----------
        successes, trials : numpy.ndarray of shape (n_keys,)
            Successes beyond the trials of a key (a click without an impression) are cut to the trials.
        method : {"likelihood", "moments"}, default "likelihood"
        """
        checked_method("method", method)
        tried = trials > 0
        n = trials[tried].astype(np.float64)
        s = np.minimum(successes[tried], n)
        total = n.sum()
        if total == 0:
            return cls(0.5, 2.0)
        mean = float(np.clip(s.sum() / total, *MEAN_BOUNDS))
        free = len(n) - 1
        room = total - (n * n).sum() / total - free
        if room <= 0:  # every key has one trial, or there is one key: nothing tells how keys differ
            return cls(mean, 2.0)
        spread = (n * (s / n - mean) ** 2).sum() / (mean * (1 - mean))
        overdispersion = (spread - free) / room
        strength = 1 / overdispersion - 1 if overdispersion > 0 else STRENGTH_BOUNDS[1]
        prior = cls(mean, float(np.clip(strength, *STRENGTH_BOUNDS)))
        if method == "moments":
            return prior
        return cls(*fit_beta(s, n, (prior.mean, prior.strength), MEAN_BOUNDS, STRENGTH_BOUNDS))


@dataclass(frozen=True, kw_only=True, eq=False)
class Rates(SpanFamily):
    """``{key}__{rate}__{window}``: smoothed successes per trial in the window, Float64; the prior's mean where there are no trials.

    Parameters
    ----------
    rates : mapping from name to (success event, trial event), optional
        Default: those of the ``BehaviorFeatures``.
    priors : mapping from ``{key}__{rate}`` to BetaPrior, optional
        Default: fitted to the totals of the keys in the log.
    fit : {"likelihood", "moments"}, default "likelihood"
        How those are fitted (``BetaPrior.fit``).
    strength : float, optional
        How many trials each fitted prior is worth, in place of what its fit says; its mean stays.
    """

    name: ClassVar[str] = "rate"

    rates: Mapping[str, Sequence[str]] | None = None
    priors: Mapping[str, BetaPrior] = field(default_factory=dict)
    fit: str = "likelihood"
    strength: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_method("rate: fit", self.fit)
        if self.strength is not None and not 0 < self.strength < math.inf:
            raise DeclarationError(f"rate: the prior's strength must be a number above 0, not {self.strength!r}")
        self._set(priors={name: BetaPrior.of(prior) for name, prior in self.priors.items()})

    def bound(self, declared: Declared) -> Self:
        rates = declared.rates if self.rates is None else declared.checked_rates(self.rates)
        filled = dataclasses.replace(self, rates=rates)
        return super(Rates, filled).bound(declared)

    def totals(self, key: Key, history: History) -> dict[str, np.ndarray]:
        return rate_totals(self.rates or {}, self.priors, key, history)

    def fitted_to(self, totals: Mapping[str, np.ndarray]) -> Self:
        learned = fitted_priors(totals, self.fit)
        if self.strength is not None:
            learned = {name: BetaPrior(prior.mean, self.strength) for name, prior in learned.items()}
        return dataclasses.replace(self, priors={**self.priors, **learned})

    def columns(self, key: Key) -> list[str]:
        return [f"{key_name(key)}__{rate}__{window.name}" for rate in self.rates or () for window in self.spans()]

    def compute(self, key: Key, batch: Batch) -> Iterator[np.ndarray]:
        standing = batch.standing(key)
        for rate, (success, trial) in (self.rates or {}).items():
            prior = self.priors[f"{key_name(key)}__{rate}"]
            for window in self.spans():
                yield standing.give(prior.smooth(standing.count(success, window), standing.count(trial, window)))


def checked_method(option: str, method: str) -> str:
    """A way to fit a prior."""
    if method not in METHODS:
        raise DeclarationError(f"{option}={method!r} must be one of {', '.join(map(repr, METHODS))}")
    return method


def rate_totals(
    rates: Mapping[str, Sequence[str]], given: Mapping[str, BetaPrior], key: Key, history: History
) -> dict[str, np.ndarray]:
    """Successes and trials over the whole log, of shape (n_values of the key with a trial, 2), by the name of each prior not given."""
    timeline, found = history.timeline(key), {}
    for rate, pair in rates.items():
        name = f"{key_name(key)}__{rate}"
        if name not in given:
            successes, trials = totals(timeline, *pair)
            found[name] = np.stack([successes, trials], axis=1)[trials > 0]
    return found


def totals(timeline: Timeline, success: str, trial: str) -> tuple[np.ndarray, np.ndarray]:
    """Successes and trials of each key over the whole log."""
    successes = np.diff(timeline.kinds_before(success)[timeline.ends], prepend=0)
    trials = np.diff(timeline.kinds_before(trial)[timeline.ends], prepend=0)
    return successes, trials


def fitted_priors(totals: Mapping[str, np.ndarray], method: str = "likelihood") -> dict[str, BetaPrior]:
    """The prior of each of ``rate_totals``."""
    return {name: BetaPrior.fit(counts[:, 0], counts[:, 1], method) for name, counts in totals.items()}
