"""Rates per examined impression: what results would have got had every position been looked at alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import polars as pl

from features.click_model import examination
from features.errors import ColumnError, DeclarationError
from features.event_log import KIND
from features.family import Declared, Key, as_key, key_name
from features.history import Batch, History
from features.ranges import range_sums
from features.rates import BetaPrior, totals
from features.timeline import Timeline
from features.windowed import SpanFamily


@dataclass(frozen=True, kw_only=True, eq=False)
class DebiasedRates(SpanFamily):
    """``{key}__{rate}_debiased__{window}``: successes per examined trial in the window, smoothed, Float64.

    A trial at a position counts as far as that position is examined (``features.click_model.examination``, fitted to the log and kept),
    a trial without a position as far as trials are on average. With ``s`` successes, the examined trials ``e`` and a beta prior::

        (s + mean * strength) / (e + strength)

    The rate is one at the first position, and is higher than the plain one. The prior's mean is the log's successes per examined trial,
    and its strength that of the plain rate's prior in examined trials.

    Parameters
    ----------
    position : str, default "position"
        Numeric column of the log: on trials (impressions) a whole number from 1, or null.
    of : str or sequence of str, default "item"
        The key whose attraction the click model holds apart from positions: what stands in the list.
    match : sequence of str, optional
        A success without a position has that of the latest trial before it with the same key, such as ``("user", "item")``. Default:
        such a success is left out when propensities are fitted. It counts in the rates either way.
    deepest : int, default 20
        This position and those below it share one propensity.
    rates : mapping from name to (success event, trial event), optional
        Default: those of the ``BehaviorFeatures``.
    propensities : mapping from rate to a list of positive numbers, optional
        How often each position is examined, from the first. Default: fitted to the log.
    average : mapping from rate to float, optional
        Propensity of a trial without a position. Default: the mean over the log's trials with one.
    priors : mapping from ``{key}__{rate}`` to BetaPrior, optional
        Default: fitted to the log.
    """

    name: ClassVar[str] = "debiased rate"

    position: str = "position"
    of: str | Sequence[str] = "item"
    match: Sequence[str] | None = None
    deepest: int = 20
    rates: Mapping[str, Sequence[str]] | None = None
    propensities: Mapping[str, Sequence[float]] = field(default_factory=dict)
    average: Mapping[str, float] = field(default_factory=dict)
    priors: Mapping[str, BetaPrior] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.deepest < 1:
            raise DeclarationError(f"debiased rate: deepest={self.deepest!r} must be a position, at least 1")
        for rate, examined in self.propensities.items():
            if isinstance(examined, str) or not examined or not all(0 < one < np.inf for one in examined):
                raise DeclarationError(
                    f"debiased rate: propensities[{rate!r}] must be a list of numbers above 0, not {examined!r}"
                )
        self._set(
            of=as_key(self.of),
            match=None if self.match is None else as_key(self.match),
            propensities={rate: tuple(examined) for rate, examined in self.propensities.items()},
            priors={name: BetaPrior.of(prior) for name, prior in self.priors.items()},
        )

    def bound(self, declared: Declared) -> Self:
        rates = declared.rates if self.rates is None else declared.checked_rates(self.rates)
        if not rates:
            raise DeclarationError("debiased rate: no rate is declared; give rates={'ctr': ('click', 'view')}")
        return super(DebiasedRates, dataclasses.replace(self, rates=rates)).bound(declared)

    def log_parts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.of, *(self.match or ()))))

    def value_columns(self) -> tuple[str, ...]:
        return (self.position,)

    def fitted(self, history: History) -> Self:
        propensities, average, priors = dict(self.propensities), dict(self.average), dict(self.priors)
        for rate, (success, trial) in (self.rates or {}).items():
            if rate not in propensities:
                propensities[rate] = self._examination(history, success, trial)
            if rate not in average:
                everything = history.timeline(())
                placed = self._positions(everything, trial)
                weights = _weights(placed[placed > 0], propensities[rate], 1.0)
                average[rate] = float(weights.mean()) if len(weights) else 1.0
            for key in map(as_key, self.keys or ()):
                name = f"{key_name(key)}__{rate}"
                if name not in priors:
                    timeline = history.timeline(key)
                    weights = _weights(self._positions(timeline, trial), propensities[rate], average[rate])
                    priors[name] = _prior(*totals(timeline, success, trial), float(weights.sum()))
        return dataclasses.replace(self, propensities=propensities, average=average, priors=priors)

    def columns(self, key: Key) -> list[str]:
        return [
            f"{key_name(key)}__{rate}_debiased__{window.name}" for rate in self.rates or () for window in self.spans()
        ]

    def compute(self, key: Key, batch: Batch) -> Iterator[np.ndarray]:
        standing = batch.standing(key)
        for rate, (success, trial) in (self.rates or {}).items():
            prior = self.priors[f"{key_name(key)}__{rate}"]
            weights = _weights(self._positions(standing.timeline, trial), self.propensities[rate], self.average[rate])
            before = standing.timeline.kinds_before(trial)
            for window in self.spans():
                start, stop = before[standing.start(window)], before[standing.stop]
                examined = range_sums(weights, start, stop)
                yield standing.give(prior.smooth(standing.count(success, window), examined))

    def _positions(self, timeline: Timeline, trial: str) -> np.ndarray:
        """Position of each trial of a timeline, Int64, 0 for none; checked and kept."""
        place = (DebiasedRates, self.position, trial)
        if place not in timeline.kept:
            held = np.diff(timeline.kinds_before(trial)) > 0
            timeline.kept[place] = self._checked(timeline.values(self.position).filter(pl.Series(held)), trial)
        kept: np.ndarray = timeline.kept[place]
        return kept

    def _checked(self, positions: pl.Series, event: str) -> np.ndarray:
        known = positions.drop_nulls()
        for what, bad in (("below 1", (known < 1).sum()), ("that are no whole number", (known != known.floor()).sum())):
            if bad:
                raise ColumnError(
                    f"column {self.position!r} of events has {bad:,} positions {what} in {len(positions):,} events {event!r}; "
                    "positions count 1, 2, 3 ..., null where there is none"
                )
        return positions.fill_null(0).cast(pl.Int64).to_numpy()

    def _examination(self, history: History, success: str, trial: str) -> list[float]:
        """How often each position is examined, from the table of results and positions."""
        shown = self._cells(history, trial)
        if not len(shown[0]):
            n_trials = int((history.log[KIND] == trial).sum())
            raise ColumnError(
                f"column {self.position!r} of events is null in all {n_trials:,} events {trial!r} with the key "
                f"{key_name(self.of)!r}; debiased rates need the positions of impressions, from 1"
            )
        clicked = self._cells(history, success, trial)
        if not len(clicked[0]) and (history.log[KIND] == success).any():
            raise ColumnError(
                f"no event {success!r} has a position in column {self.position!r}; log it there too, or name with match= "
                f"the key that joins it to its {trial!r}, such as match=('user', 'item')"
            )
        results, positions = (np.concatenate(both) for both in zip(shown, clicked, strict=True))
        cells, cell = np.unique(results * self.deepest + positions, return_inverse=True)
        is_click = np.arange(len(cell)) >= len(shown[0])
        impressions = np.bincount(cell[~is_click], minlength=len(cells)).astype(np.float64)
        clicks = np.bincount(cell[is_click], minlength=len(cells)).astype(np.float64)
        return examination(cells // self.deepest, cells % self.deepest, impressions, clicks).tolist()

    def _cells(self, history: History, event: str, trial: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Result and position (from 0, the deepest last) of each event of a kind that has both.

        With ``trial``, an event without a position takes that of the trial that it matches.
        """
        timeline = history.timeline(as_key(self.of))
        held = np.diff(timeline.kinds_before(event)) > 0
        positions = history.log[self.position]
        if trial is not None and self.match is not None:
            columns = [history.column(part) for part in self.match]
            placed = history.log.select(*columns, KIND, self.position).with_columns(
                pl.when(pl.col(KIND) == trial).then(pl.col(self.position)).forward_fill().over(columns).alias("__shown")
            )
            joined = pl.all_horizontal(pl.col(columns).is_not_null())
            positions = placed.select(
                pl.col(self.position).fill_null(pl.when(joined).then(pl.col("__shown")))
            ).to_series()
        at = self._checked(positions.gather(timeline.rows).filter(pl.Series(held)), event)
        known = at > 0
        return timeline.codes[held][known], np.minimum(at[known], self.deepest) - 1


def _weights(positions: np.ndarray, propensities: Sequence[float], average: float) -> np.ndarray:
    """How far each trial is examined; one below the last known position as that one."""
    of_position = np.array([average, *propensities])
    return of_position[np.minimum(positions, len(propensities))]


def _prior(successes: np.ndarray, trials: np.ndarray, examined: float) -> BetaPrior:
    """A prior over examined trials, as strong as the plain rate's is in trials."""
    plain = BetaPrior.fit(successes, trials)
    total = float(trials.sum())
    if not total or not examined:
        return plain
    mean = float(np.clip(successes.sum() / examined, 1e-6, 1 - 1e-6))
    return BetaPrior(mean, plain.strength * examined / total)
