"""Smoothed rates: successes per trial, drawn to the log's mean where trials are few."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from features.family import Family, key_name
from features.timeline import Standing, Timeline
from features.window import Window

_MEAN_BOUNDS = (1e-6, 1 - 1e-6)
_STRENGTH_BOUNDS = (1e-2, 1e6)


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
    def fit(cls, successes: np.ndarray, trials: np.ndarray) -> BetaPrior:
        """Fit by moments to the totals of keys.

        The overdispersion of the beta-binomial is Kleinman's moment estimator with weights equal to the trials (J. C. Kleinman,
        "Proportions with extraneous variance", JASA 68, 1973). Keys that differ no more than chance give the strongest prior, 1e6;
        a log without trials gives the flat one, mean 0.5 and strength 2.

        Parameters
        ----------
        successes, trials : numpy.ndarray of shape (n_keys,)
            Successes beyond the trials of a key (a click without an impression) are cut to the trials.
        """
        tried = trials > 0
        n = trials[tried].astype(np.float64)
        s = np.minimum(successes[tried], n)
        total = n.sum()
        if total == 0:
            return cls(0.5, 2.0)
        mean = float(np.clip(s.sum() / total, *_MEAN_BOUNDS))
        free = len(n) - 1
        room = total - (n * n).sum() / total - free
        if room <= 0:  # every key has one trial, or there is one key: nothing tells how keys differ
            return cls(mean, 2.0)
        spread = (n * (s / n - mean) ** 2).sum() / (mean * (1 - mean))
        overdispersion = (spread - free) / room
        strength = 1 / overdispersion - 1 if overdispersion > 0 else _STRENGTH_BOUNDS[1]
        return cls(mean, float(np.clip(strength, *_STRENGTH_BOUNDS)))


@dataclass(frozen=True)
class Rates(Family):
    """``{key}__{rate}__{window}``: smoothed successes per trial in the window, Float64; the prior's mean where there are no trials.

    Parameters
    ----------
    rates : tuple of (name, success event, trial event)
    windows : tuple of Window
    priors : mapping from ``{key}__{rate}`` to BetaPrior
    """

    name: ClassVar[str] = "rate"
    rates: tuple[tuple[str, str, str], ...]
    windows: tuple[Window, ...]
    priors: Mapping[str, BetaPrior]

    def columns(self, key: tuple[str, ...]) -> list[str]:
        return [f"{key_name(key)}__{rate}__{window.name}" for rate, _, _ in self.rates for window in self.windows]

    def compute(self, key: tuple[str, ...], standing: Standing) -> Iterator[np.ndarray]:
        for rate, success, trial in self.rates:
            prior = self.priors[f"{key_name(key)}__{rate}"]
            for window in self.windows:
                yield standing.give(prior.smooth(standing.count(success, window), standing.count(trial, window)))


def fit_prior(timeline: Timeline, success: str, trial: str) -> BetaPrior:
    """The prior of a rate from the whole log of a key."""
    ends = np.flatnonzero(np.diff(timeline.codes, append=-1)) + 1
    successes = np.diff(timeline.kinds_before(success)[ends], prepend=0)
    trials = np.diff(timeline.kinds_before(trial)[ends], prepend=0)
    return BetaPrior.fit(successes, trials)
