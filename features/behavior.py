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
from features.event_log import KIND, TIME, EventLog, has_zone, key_values, microseconds, sorted_by_time
from features.families import FAMILIES
from features.family import BehaviorColumn, Declared, Family, Key, as_key, declare, key_name
from features.frames import Frame, answer_in_kind, closest, require_columns, require_rows, to_polars
from features.history import Batch, History
from features.live import LiveFeatures
from features.rates import BetaPrior, Rates
from features.recency import Gaps, Recency
from features.timeline import MICROSECONDS, Moments
from features.vectors import IdVectors, VectorFamily, VectorTable
from features.window import Window
from features.windowed import checked_windows


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
    prior_strength : float, optional
        How many trials the prior of each rate is worth, in place of what ``fit`` would estimate.
    distinct : sequence of str, default ()
        Roles or columns whose distinct values are counted for every key that they are no part of.
    recency : bool, default True
        Seconds since the last event of each kind.
    gap : bool, default True
        Mean seconds between events of each kind.
    families : sequence of Family or of mappings, default ()
        Further families of features, declared (``Decay(half_lives=["1d"])``) or as a table of options with the name of the family
        under ``"family"``. What a family leaves open (keys, events, windows, rates) it takes over from here.
    lag : str or None, default None
        How late events may become known, or how far clocks may differ: a length such as "5m". Every feature is then as of the
        example's timestamp less the lag.

    Attributes
    ----------
    log_ : polars.DataFrame
        The fitted log, checked and sorted by time.
    events_ : tuple of str
        The kinds of event counted.
    families_ : tuple of Family
        Every family, those that the options above declare first, with what each learned from the log.
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

    families_: tuple[Family, ...]

    def __init__(
        self,
        log: EventLog,
        keys: Sequence[str | Sequence[str]],
        windows: Sequence[str | Window] = ("1d", "7d", "30d", "all"),
        events: Sequence[str] | None = None,
        rates: Mapping[str, tuple[str, str]] | None = None,
        *,
        prior_strength: float | None = None,
        distinct: Sequence[str] = (),
        recency: bool = True,
        gap: bool = True,
        families: Sequence[Family | Mapping[str, Any]] = (),
        lag: str | None = None,
    ) -> None:
        self.log = log
        self.keys = keys
        self.windows = windows
        self.events = events
        self.rates = rates
        self.prior_strength = prior_strength
        self.distinct = distinct
        self.recency = recency
        self.gap = gap
        self.families = families
        self.lag = lag

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
        self._delay()
        log = self._read(events)
        self.bind(log[KIND].drop_nulls().unique().to_list(), has_zone(to_polars(events, "events")[self.log.timestamp]))
        self._hold(log)
        self.families_ = tuple(family.fitted(self.history_) for family in self.families_)
        return self

    def bind(self, kinds: Sequence[str], zone: bool) -> Self:
        """Take over the kinds of event that a log has and whether its times have a zone; ``families_`` are then to be fitted."""
        self.events_ = tuple(self.events) if self.events is not None else tuple(sorted(kinds))
        self._warn_of_absent_events(kinds)
        self.has_zone_ = zone
        declared = self._declared()
        bound = [family.bound(declared) for family in self._open_families()]
        self._require_different_names(bound)
        self.families_ = tuple(bound)
        self._text_vectors: dict[str, IdVectors] = {}
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
        check_is_fitted(self, "families_")
        frame = self.check_examples(examples)
        behavior = self if events is None else self.with_log(self.read(events))
        behavior._warn_of_late_log(frame)
        return answer_in_kind(behavior.compute(frame), examples)

    def columns(self) -> list[BehaviorColumn]:
        """Every feature with its key and family, in the order of the transformed frame."""
        check_is_fitted(self, "families_")
        return [BehaviorColumn(name, key, family.name) for key, family in self.plan() for name in family.columns(key)]

    def plan(self) -> list[tuple[Key, Family]]:
        """Each key with each family that describes it, in the order of the columns."""
        keys = [*self._keys(), *(as_key(key) for family in self.families_ for key in family.keys or ())]
        return [(key, family) for key in dict.fromkeys(keys) for family in self.families_ if key in (family.keys or ())]

    def open_plan(self) -> list[tuple[Key, Family]]:
        """Each key with each family that describes it as far as the declaration tells, before a log is seen."""
        return [
            (key, family)
            for family in self._open_families()
            for key in (self._keys() if family.keys is None else map(as_key, family.keys))
            if family.describes(key)
        ]

    @property
    def priors_(self) -> dict[str, BetaPrior]:
        """The prior of each rate by ``{key}__{rate}``."""
        return {
            name: prior
            for family in self.families_
            if isinstance(family, Rates)
            for name, prior in family.priors.items()
        }

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Names of the features, an array of str."""
        return np.array([column.name for column in self.columns()], dtype=object)

    def live(self) -> LiveFeatures:
        """The incremental twin: starts from the fitted log, then ``observe``s events as they come."""
        check_is_fitted(self, "families_")
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
        other._hold(sorted_by_time(log))
        return other

    def key_columns(self) -> list[str]:
        """Columns that examples must have beside the timestamp, each once: the parts of the keys and what families read of them."""
        families = self.families_ if hasattr(self, "families_") else self._open_families()
        parts = [part for key in self._keys() for part in key]
        for family in families:
            parts += [part for key in family.keys or () for part in as_key(key)]
            parts += family.example_parts()
        return list(dict.fromkeys(self.log.columns_of(parts)))

    def log_columns(self) -> tuple[list[str], list[str]]:
        """Columns that the log must have beside timestamp and event: those of keys and categories, and the numeric ones."""
        families = self._open_families()
        parts = [part for family in families for part in family.log_parts()]
        keys = list(dict.fromkeys([*self.key_columns(), *self.log.columns_of(parts)]))
        values = [*self.log.values, *(name for family in families for name in family.value_columns())]
        return keys, list(dict.fromkeys(values))

    def compute(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The features of examples that ``check_examples`` returned, without the warnings of ``transform``."""
        keyed = frame.select(key_values(frame[name], "examples") for name in self.key_columns())
        batch = self.batch(self.history_, keyed, microseconds(frame[self.log.timestamp], "examples").to_numpy())
        return pl.DataFrame(
            [
                _series(name, values)
                for key, family in self.plan()
                for name, values in zip(family.columns(key), family.compute(key, batch), strict=True)
            ]
        )

    def times_of(self, frame: pl.DataFrame) -> np.ndarray:
        """The time that each of checked examples is as of: its own less the lag, Int64 microseconds."""
        return microseconds(frame[self.log.timestamp], "examples").to_numpy() - self._delay()

    def _delay(self) -> int:
        """The lag in microseconds."""
        if self.lag is None:
            return 0
        try:
            length = Window.of(self.lag).seconds
        except DeclarationError:
            length = None
        if length is None:
            raise DeclarationError(f'lag={self.lag!r} must be a length of time such as "5m" or "1d", or None')
        return length * MICROSECONDS

    def batch(self, history: History, keyed: pl.DataFrame, times: np.ndarray) -> Batch:
        """Examples with these key values and times (microseconds, before the lag is taken off) against a log."""
        return Batch(history, keyed, Moments(times - self._delay()), checked_windows(self.windows))

    def _read(self, events: Frame) -> pl.DataFrame:
        log = self.log.read(events, *self.log_columns())
        for family in self._open_families():
            family.check_log(log)
        return log

    def _hold(self, log: pl.DataFrame) -> None:
        self.log_ = log.filter(pl.col(KIND).is_in(list(self.events_)))
        self.history_ = History(self.log_, self.log, self.has_zone_, self._text_vectors)

    def _open_families(self) -> list[Family]:
        """The families as declared, before a log is seen."""
        families: list[Family] = [Counts(keys=self.keys)]
        if self.log.values:
            families.append(Sums(keys=self.keys, values=tuple(self.log.values)))
        if self.distinct:
            families.append(Distinct(keys=self.keys, targets=tuple(self.distinct)))
        if self.rates:
            families.append(Rates(keys=self.keys, strength=self.prior_strength))
        if self.recency:
            families.append(Recency(keys=self.keys))
        if self.gap:
            families.append(Gaps(keys=self.keys))
        return families + [family.over(self.log) for family in self._further_families()]

    def _further_families(self) -> list[Family]:
        if isinstance(self.families, Mapping | Family | str):
            raise DeclarationError(f"families must be a list of families, not {self.families!r}")
        return [family if isinstance(family, Family) else declare(FAMILIES, family) for family in self.families]

    def _declared(self) -> Declared:
        declared = Declared(self.log, tuple(self._keys()), checked_windows(self.windows), self.events_, {})
        return dataclasses.replace(declared, rates=declared.checked_rates(self.rates or {}))

    def _keys(self) -> list[Key]:
        if isinstance(self.keys, str) or not self.keys:
            raise DeclarationError(f"keys must be a list with at least one key, not {self.keys!r}")
        keys = [as_key(key) for key in self.keys]
        for key in keys:
            if keys.count(key) > 1:
                raise DeclarationError(f"key {key_name(key)!r} is declared twice")
        return keys

    def _require_different_names(self, families: Sequence[Family]) -> None:
        seen: dict[str, Family] = {}
        for family in families:
            for key in family.keys or ():
                for name in family.columns(as_key(key)):
                    if name in seen:
                        raise DeclarationError(
                            f"the families {seen[name].name!r} and {family.name!r} both declare the feature {name!r}"
                        )
                    seen[name] = family

    def _warn_of_absent_events(self, seen: Sequence[str]) -> None:
        for kind in self.events_:
            if kind not in seen:
                warnings.warn(f"event {kind!r} never occurs in the log{closest(kind, seen)}", UserWarning, stacklevel=4)

    def _warn_of_late_log(self, frame: pl.DataFrame) -> None:
        begins = self.log_[TIME].min()  # None where no event is of a declared kind, which fit has warned of
        if isinstance(begins, int) and begins >= self.times_of(frame).max():
            first = pl.Series([begins]).cast(pl.Datetime("us"))[0]
            warnings.warn(
                f"the log begins at {first}, after every example: no feature of these examples has an event to count",
                UserWarning,
                stacklevel=4,  # scikit-learn wraps transform
            )

    def check_zone(self, zone: bool, what: str) -> None:
        """Raise TimestampError if timestamps with and without a time zone would be compared."""
        if zone != self.has_zone_:
            words = ("have a time zone", "have none")
            raise TimestampError(
                f"timestamps of {what} {words[not zone]} and those of the fitted events {words[not self.has_zone_]}; "
                "give both a zone (dt.replace_time_zone) or neither"
            )

    def declaration(self) -> dict[str, Any]:
        """Everything fitted but the log and tables of vectors, as JSON can hold it; ``restore`` reads it."""
        check_is_fitted(self, "families_")
        return {
            "log": dataclasses.asdict(self.log),
            "keys": [list(key) for key in self._keys()],
            "windows": [Window.of(window).name for window in self.windows],
            "events": list(self.events_),
            "rates": {name: list(pair) for name, pair in (self.rates or {}).items()},
            "prior_strength": self.prior_strength,
            "distinct": list(self.distinct),
            "recency": self.recency,
            "gap": self.gap,
            "lag": self.lag,
            "families": [{"family": family.name, **family.options()} for family in self._further_families()],
            "fitted": [{"family": family.name, **family.options()} for family in self.families_],
            "has_zone": self.has_zone_,
        }

    @classmethod
    def restore(
        cls, declaration: Mapping[str, Any], log: pl.DataFrame, tables: Mapping[str, pl.DataFrame] | None = None
    ) -> Self:
        """Rebuild fitted features from ``declaration()``, ``log_`` and ``tables()``."""
        declared = dict(declaration)
        fitted, zone = declared.pop("fitted"), declared.pop("has_zone")
        declared["keys"] = [tuple(key) if len(key) > 1 else key[0] for key in declared["keys"]]
        behavior = cls(**{**declared, "log": EventLog(**declared["log"])})
        behavior.events_ = tuple(declared["events"])
        behavior.has_zone_ = zone
        behavior.families_ = tuple(declare(FAMILIES, options) for options in fitted)
        behavior._text_vectors = {}
        for place, table in (tables or {}).items():
            behavior.give_vectors(int(place), VectorTable.read(table))
        behavior._hold(log)
        return behavior

    def tables(self) -> dict[str, pl.DataFrame]:
        """The tables of vectors that families were declared with, by the family's place in ``families_``."""
        return {
            str(place): family.vectors.frame()
            for place, family in enumerate(self.families_)
            if isinstance(family, VectorFamily) and isinstance(family.vectors, VectorTable)
        }

    def described_by(self, families: Sequence[Family]) -> Self:
        """This fitted log described by other families alone, which are bound and fitted here; timelines are shared."""
        other, declared = copy.copy(self), self._declared()
        other.families_ = tuple(family.over(self.log).bound(declared).fitted(self.history_) for family in families)
        return other

    def with_text_vectors(self, vectors: Mapping[str, IdVectors]) -> Self:
        """These fitted features with what ``vectors="text"`` stands for, by the role or column that the vectors are of."""
        other = copy.copy(self)
        other._text_vectors = dict(vectors)
        other._hold(other.log_)
        return other

    def give_vectors(self, place: int, vectors: IdVectors) -> None:
        """Give vectors to the family at a place in ``families_``."""
        families = list(self.families_)
        family = families[place]
        assert isinstance(family, VectorFamily)
        families[place] = family.with_vectors(vectors)
        self.families_ = tuple(families)

    def __getstate__(self) -> dict[str, Any]:
        # Timelines are rebuilt on demand; copies and pickles need not carry them.
        state = dict(super().__getstate__())
        if "history_" in state:
            state["history_"] = History(self.log_, self.log, self.has_zone_, self._text_vectors)
        return state


def _series(name: str, values: np.ndarray) -> pl.Series:
    return pl.Series(name, values, nan_to_null=True) if values.dtype.kind == "f" else pl.Series(name, values)
