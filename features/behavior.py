"""Behaviour features: declared once, fitted to a log, computed as of each example."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import polars as pl
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from features.counts import Counts, Sums
from features.distinct import Distinct
from features.errors import DeclarationError, TimestampError
from features.event_log import KIND, TIME, EventLog, has_zone, key_values, microseconds
from features.family import BehaviorColumn, Family, key_name
from features.frames import Frame, answer_in_kind, closest, require_columns, require_rows, to_polars
from features.live import LiveFeatures
from features.rates import BetaPrior, Rates, fit_prior
from features.recency import Gaps, Recency
from features.timeline import Moments, Timeline
from features.window import Window

Key = str | Sequence[str]


class BehaviorFeatures(TransformerMixin, BaseEstimator):
    """Behaviour features of examples, from events strictly before each example's timestamp.

    An event with the example's own timestamp does not count. A window of length w holds the events at ``s`` with
    ``t - w <= s < t``.

    Parameters
    ----------
    log : EventLog
        The columns of the log. Examples carry the keys and the timestamp under the same names.
    keys : sequence of str or tuple of str
        Whose behaviour: ``"user"``, ``"item"``, ``"query"``, ``"session"``, any other column that events and examples both have
        (``"category"``), or a tuple of these.
    windows : sequence of str or Window, default ("1d", "7d", "30d", "all")
    events : sequence of str, optional
        Kinds of event to count. Default: all kinds in the log that ``fit`` sees, sorted.
    rates : mapping from name to (success event, trial event), optional
        Smoothed by a beta prior that ``fit`` estimates for each key.
    distinct : sequence of str, default ()
        Roles or columns whose distinct values are counted for every key that they are no part of.
    recency : bool, default True
        Seconds since the last event of each kind.
    gap : bool, default True
        Mean seconds between events of each kind.

    Attributes
    ----------
    log_ : polars.DataFrame
        The fitted log, checked and sorted by time.
    events_ : tuple of str
        The kinds of event counted.
    priors_ : dict from ``{key}__{rate}`` to BetaPrior
        Mean and strength of each rate's prior.

    Examples
    --------
    >>> import polars as pl
    >>> from datetime import datetime
    >>> events = pl.DataFrame({
    ...     "user": ["ann", "ann", "bob"], "event": ["click"] * 3,
    ...     "ts": [datetime(2026, 1, 1, 9), datetime(2026, 1, 1, 10), datetime(2026, 1, 1, 10)],
    ... })
    >>> behavior = BehaviorFeatures(EventLog(user="user", event="event", timestamp="ts"), keys=["user"], windows=["1h", "all"])
    >>> examples = pl.DataFrame({"user": ["ann", "bob"], "ts": [datetime(2026, 1, 1, 10)] * 2})
    >>> behavior.fit(events).transform(examples)["user__click__all"].to_list()
    [1, 0]
    """

    def __init__(
        self,
        log: EventLog,
        keys: Sequence[Key],
        windows: Sequence[str | Window] = ("1d", "7d", "30d", "all"),
        events: Sequence[str] | None = None,
        rates: Mapping[str, tuple[str, str]] | None = None,
        *,
        distinct: Sequence[str] = (),
        recency: bool = True,
        gap: bool = True,
    ) -> None:
        self.log = log
        self.keys = keys
        self.windows = windows
        self.events = events
        self.rates = rates
        self.distinct = distinct
        self.recency = recency
        self.gap = gap

    def fit(self, events: Frame, y: object = None) -> Self:
        """Keep a log and fit the priors of the rates.

        Parameters
        ----------
        events : polars.DataFrame, pandas.DataFrame or pyarrow.Table
            The log, in any order.
        y : ignored

        Raises
        ------
        ColumnError, TimestampError, EmptyFrameError, DeclarationError
        """
        keys = self._keys()
        log = self._read(events)
        self.events_ = tuple(self.events) if self.events is not None else tuple(sorted(log[KIND].drop_nulls().unique()))
        self._check_events(log)
        self.has_zone_ = has_zone(to_polars(events, "events")[self.log.timestamp])
        self._hold(log)
        self.priors_: dict[str, BetaPrior] = {}
        for key in keys:
            for rate, (success, trial) in (self.rates or {}).items():
                self.priors_[f"{key_name(key)}__{rate}"] = fit_prior(self._timeline(key), success, trial)
        return self

    def transform(self, examples: Frame, events: Frame | None = None) -> Frame:
        """Compute the features of each example.

        Parameters
        ----------
        examples : frame with n_examples rows
            With the key and timestamp columns of the log; other columns are ignored. A null or unknown key has no events.
        events : frame, optional
            A log to use in place of the fitted one; the fitted priors stay.

        Returns
        -------
        frame of the same kind, n_examples rows in the same order
            One column a feature, as ``get_feature_names_out`` names them: counts Int32, all else Float64.
        """
        check_is_fitted(self, "log_")
        frame = self.check_examples(examples)
        behavior = self if events is None else self.with_log(self.read(events))
        moments = Moments(microseconds(frame[self.log.timestamp], "examples").to_numpy())
        keyed = frame.select(key_values(frame[name], "examples") for name in self.key_columns())
        windows = [Window.of(window) for window in self.windows]
        columns: list[pl.Series] = []
        for key in self._keys():
            standing = behavior._timeline(key).stand(keyed, moments)
            standing.locate(windows)
            for family in self._families():
                for name, values in zip(family.columns(key), family.compute(key, standing), strict=True):
                    columns.append(_series(name, values))
        return answer_in_kind(pl.DataFrame(columns), examples)

    def columns(self) -> list[BehaviorColumn]:
        """Every feature with its key and family, in the order of the transformed frame."""
        check_is_fitted(self, "events_")
        return [
            BehaviorColumn(name, key, family.name)
            for key in self._keys()
            for family in self._families()
            for name in family.columns(key)
        ]

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Names of the features, an array of str."""
        return np.array([column.name for column in self.columns()], dtype=object)

    def live(self) -> LiveFeatures:
        """The incremental twin: starts from the fitted log, then ``observe``s events as they come."""
        check_is_fitted(self, "log_")
        return LiveFeatures(self)

    def check_examples(self, examples: Frame) -> pl.DataFrame:
        """Convert examples to Polars and raise if they lack rows, keys or comparable timestamps."""
        frame = to_polars(examples, "examples")
        require_columns(frame, [*self.key_columns(), self.log.timestamp], "examples")
        require_rows(frame, "examples")
        microseconds(frame[self.log.timestamp], "examples")
        if hasattr(self, "has_zone_"):
            self.check_zone(has_zone(frame[self.log.timestamp]), "examples")
        return frame

    def read(self, events: Frame) -> pl.DataFrame:
        """Check a log against the declaration (and the fitted log's time zone) and return it as ``log_`` is kept."""
        log = self._read(events)
        self.check_zone(has_zone(to_polars(events, "events")[self.log.timestamp]), "events")
        return log

    def with_log(self, log: pl.DataFrame) -> Self:
        """This fitted declaration, priors and all, over another log that ``read`` returned."""
        other = copy.copy(self)
        other._hold(log.sort(TIME, maintain_order=True))
        return other

    def timelines(self) -> list[Timeline]:
        """The fitted log by key."""
        return [self._timeline(key) for key in self._keys()]

    def key_columns(self) -> list[str]:
        """Columns that make up the keys, each once."""
        return list(dict.fromkeys(column for key in self._keys() for column in self.log.columns_of(key)))

    def _read(self, events: Frame) -> pl.DataFrame:
        targets = [self._column(target) for target in self.distinct]
        return self.log.read(events, [*self.key_columns(), *targets])

    def _hold(self, log: pl.DataFrame) -> None:
        self.log_ = log.filter(pl.col(KIND).is_in(list(self.events_)))
        self._timelines: dict[tuple[str, ...], Timeline] = {}

    def _timeline(self, key: tuple[str, ...]) -> Timeline:
        if key not in self._timelines:
            self._timelines[key] = Timeline(self.log_, self.log.columns_of(key))
        return self._timelines[key]

    def _families(self) -> list[Family]:
        events, windows = self.events_, tuple(Window.of(window) for window in self.windows)
        families: list[Family] = [Counts(events, windows)]
        if self.log.values:
            families.append(Sums(events, tuple(self.log.values), windows))
        if self.distinct:
            families.append(Distinct(tuple((target, self._column(target)) for target in self.distinct), windows))
        if self.rates:
            rates = tuple((name, success, trial) for name, (success, trial) in self.rates.items())
            families.append(Rates(rates, windows, self.priors_))
        if self.recency:
            families.append(Recency(events))
        if self.gap:
            families.append(Gaps(events))
        return families

    def _keys(self) -> list[tuple[str, ...]]:
        if isinstance(self.keys, str) or not self.keys:
            raise DeclarationError(f"keys must be a list with at least one key, not {self.keys!r}")
        keys = [(key,) if isinstance(key, str) else tuple(key) for key in self.keys]
        for key in keys:
            if not key or len(set(key)) < len(key):
                raise DeclarationError(f"key {key!r} must name one or more different parts")
            if keys.count(key) > 1:
                raise DeclarationError(f"key {key_name(key)!r} is declared twice")
        names = [Window.of(window).name for window in self.windows]
        if len(set(names)) < len(names) or not names:
            raise DeclarationError(f"windows must be one or more different windows, not {names!r}")
        return keys

    def _column(self, name: str) -> str:
        return self.log.columns_of((name,))[0]

    def _check_events(self, log: pl.DataFrame) -> None:
        seen = log[KIND].drop_nulls().unique().to_list()
        for rate, pair in (self.rates or {}).items():
            if len(pair) != 2:
                raise DeclarationError(f"rate {rate!r} must be (success event, trial event), not {pair!r}")
            for kind in pair:
                if kind not in self.events_:
                    raise DeclarationError(
                        f"rate {rate!r} uses event {kind!r}, which is not declared{closest(kind, self.events_)}"
                    )
        for kind in self.events_:
            if kind not in seen:
                warnings.warn(f"event {kind!r} never occurs in the log{closest(kind, seen)}", UserWarning, stacklevel=3)

    def check_zone(self, zone: bool, what: str) -> None:
        """Raise TimestampError if timestamps with and without a time zone would be compared."""
        if zone != self.has_zone_:
            words = ("have a time zone", "have none")
            raise TimestampError(
                f"timestamps of {what} {words[not zone]} and those of the fitted events {words[not self.has_zone_]}; "
                "give both a zone (dt.replace_time_zone) or neither"
            )

    def declaration(self) -> dict[str, Any]:
        """Everything fitted but the log, as JSON can hold it; ``restore`` reads it."""
        check_is_fitted(self, "log_")
        return {
            "log": dataclasses.asdict(self.log),
            "keys": [list(key) for key in self._keys()],
            "windows": [Window.of(window).name for window in self.windows],
            "events": list(self.events_),
            "rates": {name: list(pair) for name, pair in (self.rates or {}).items()},
            "distinct": list(self.distinct),
            "recency": self.recency,
            "gap": self.gap,
            "priors": {name: [prior.mean, prior.strength] for name, prior in self.priors_.items()},
            "has_zone": self.has_zone_,
        }

    @classmethod
    def restore(cls, declaration: Mapping[str, Any], log: pl.DataFrame) -> Self:
        """Rebuild fitted features from ``declaration()`` and ``log_``."""
        declared = dict(declaration)
        priors, zone = declared.pop("priors"), declared.pop("has_zone")
        declared["keys"] = [tuple(key) if len(key) > 1 else key[0] for key in declared["keys"]]
        behavior = cls(**{**declared, "log": EventLog(**declared["log"])})
        behavior.events_ = tuple(declared["events"])
        behavior.has_zone_ = zone
        behavior.priors_ = {name: BetaPrior(mean, strength) for name, (mean, strength) in priors.items()}
        behavior._hold(log)
        return behavior

    def __getstate__(self) -> dict[str, Any]:
        # Timelines are rebuilt on demand; copies and pickles need not carry them.
        state = dict(super().__getstate__())
        if "_timelines" in state:
            state["_timelines"] = {}
        return state


def _series(name: str, values: np.ndarray) -> pl.Series:
    return pl.Series(name, values, nan_to_null=True) if values.dtype.kind == "f" else pl.Series(name, values)
