"""Statistics of other rows' labels by key, never of the row's own label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import GroupKFold
from sklearn.utils.validation import check_is_fitted

from features.credibility import FLAT_STRENGTH, Totals
from features.encoded import EncodedLog
from features.errors import ColumnError, DeclarationError, TimestampError
from features.event_log import KIND, TIME, has_zone, key_values, microseconds
from features.family import Key, as_key, key_name
from features.frames import Frame, answer_in_kind, closest, require_columns, require_rows, to_polars
from features.timeline import MICROSECONDS, Moments, Timeline
from features.window import Window

LABEL = "__label"
_FOLDS = ("time", "group")
_FIRST_FIT = 64  # labels, before which a strength would be guessed from next to nothing


class LabelStatistics(TransformerMixin, BaseEstimator):
    """Smoothed mean and count of the labels of other rows with the same key.

    - ``{key}__label_mean``: ``(sum + strength * mean) / (count + strength)``, Float64, where sum and count are over the key's labels,
      and mean is that of all labels that the row may know; null where it may know none.
    - ``{key}__label_count``: number of the key's labels, Int32.

    With ``folds="time"`` a row may know the labels of the training rows whose ``timestamp + horizon`` is at most its own timestamp
    (before it, for a horizon of "0s"), in training as in use, so that ``fit_transform`` is ``fit`` and ``transform``. With
    ``folds="group"`` a training row may know the labels of the other folds, where no group is in two folds, and a new row all labels:
    here ``fit_transform(examples, y)`` is not ``fit(examples, y).transform(examples)``, which would show each row its own label.
    Everything that a row's features are made of, mean and strength too, comes from labels that the row may know.

    Parameters
    ----------
    keys : sequence of str or tuple of str
        Columns of the examples. A row with a null in a key has no labels of that key.
    folds : {"time", "group"}, default "time"
    timestamp : str, optional
        Column of the examples' times, for ``folds="time"``.
    horizon : str, optional
        How long after its timestamp a row's label is known, for ``folds="time"``: "7d" where the label says what happens in the seven
        days after. There is no default, since one that is too short leaks. "0s" where the label is known at once.
    groups : str or sequence of str, optional
        Column, or columns, whose values are the groups, for ``folds="group"``; nulls are refused.
    n_folds : int, default 5
        For ``folds="group"``; cut by scikit-learn's ``GroupKFold``.
    strength : float, optional
        How many labels the mean is worth. Default: estimated for each key by moments, from 0.01 to 1e6: the variance of labels within
        keys over that of keys' means (H. Buehlmann and E. Straub, "Glaubwuerdigkeit fuer Schadensaetze", 1970). For labels 0 and 1
        that is the alpha + beta of a beta prior; it needs no other estimate, and one that asked first whether all labels are 0 or 1
        would let a row's own label decide. With ``folds="time"`` it is estimated anew whenever the known labels have doubled, from 64
        on, and is 2 before.

    Attributes
    ----------
    n_labels_ : int
        Training rows.
    log_ : polars.DataFrame
        What ``transform`` reads, a row a training row: the columns of the keys, ``__time`` from which on its label is known, and
        ``__label``.

    Examples
    --------
    >>> import polars as pl
    >>> from datetime import datetime
    >>> from features import LabelStatistics
    >>> rows = pl.DataFrame({"item": ["hat"] * 3, "ts": [datetime(2026, 1, day) for day in (1, 2, 9)]})
    >>> statistics = LabelStatistics(["item"], timestamp="ts", horizon="7d", strength=1)
    >>> statistics.fit_transform(rows, [1, 0, 1])["item__label_count"].to_list()
    [0, 0, 2]
    """

    def __init__(
        self,
        keys: Sequence[str | Sequence[str]],
        *,
        folds: str = "time",
        timestamp: str | None = None,
        horizon: str | None = None,
        groups: str | Sequence[str] | None = None,
        n_folds: int = 5,
        strength: float | None = None,
    ) -> None:
        self.keys = keys
        self.folds = folds
        self.timestamp = timestamp
        self.horizon = horizon
        self.groups = groups
        self.n_folds = n_folds
        self.strength = strength

    def fit(self, examples: Frame, y: Any) -> Self:
        """Keep the labels by key.

        Parameters
        ----------
        examples : frame with n_examples rows
            With the columns of the keys and, by ``folds``, of the timestamp or the groups; in any order.
        y : array-like of shape (n_examples,)
            Numbers or booleans.

        Raises
        ------
        ColumnError, TimestampError, EmptyFrameError, DeclarationError
        """
        self._read(examples, y)
        return self

    def transform(self, examples: Frame) -> Frame:
        """Statistics of rows that were not trained on; by time, of any rows.

        Returns
        -------
        frame of the same kind, n_examples rows in the same order
            Two columns a key, as ``get_feature_names_out`` names them.
        """
        check_is_fitted(self, "log_")
        frame = self._checked(examples, [])
        if self.folds == "time":
            return answer_in_kind(pl.DataFrame(self._as_of(frame)), examples)
        every = np.ones(self.n_labels_, dtype=bool)
        return answer_in_kind(pl.DataFrame(self._from(every, frame)), examples)

    def fit_transform(self, examples: Frame, y: Any) -> Frame:
        """Fit, and the statistics of the training rows from labels that each may know.

        Returns
        -------
        frame of the same kind, n_examples rows in the same order
        """
        frame = self._read(examples, y)
        if self.folds == "time":
            return answer_in_kind(pl.DataFrame(self._as_of(frame)), examples)
        found = [(held, pl.DataFrame(self._from(~held, frame.filter(held)))) for held in self._folds(frame)]
        rows = np.concatenate([np.flatnonzero(held) for held, _ in found])
        return answer_in_kind(pl.concat([part for _, part in found])[np.argsort(rows)], examples)

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Names of the features, an array of str."""
        names = [f"{key_name(key)}__label_{what}" for key in self._keys() for what in ("mean", "count")]
        return np.array(names, dtype=object)

    def required_columns(self) -> list[str]:
        """Columns that rows to ``transform`` must have; those to ``fit`` need ``group_columns`` too."""
        timed = [self.timestamp] if self.folds == "time" and self.timestamp else []
        return list(dict.fromkeys([*(name for key in self._keys() for name in key), *timed]))

    def group_columns(self) -> list[str]:
        """Columns of the groups, empty where the labels are parted by time."""
        return list(as_key(self.groups)) if self.groups is not None and self.folds == "group" else []

    def check_examples(self, examples: Frame) -> None:
        """Raise for a declaration that means nothing, and for examples that ``transform`` could not use."""
        self._check_declaration()
        self._checked(examples, [])

    def declaration(self) -> dict[str, Any]:
        """Everything fitted but ``log_``, as JSON can hold it; ``restore`` reads it."""
        check_is_fitted(self, "log_")
        return {**self.get_params(deep=False), "has_zone": self.has_zone_}

    @classmethod
    def restore(cls, declaration: Mapping[str, Any], log: pl.DataFrame) -> Self:
        """Rebuild a fitted transformer from ``declaration()`` and ``log_``."""
        statistics = cls(**{name: value for name, value in declaration.items() if name != "has_zone"})
        statistics.has_zone_ = declaration["has_zone"]
        statistics._hold(log)
        return statistics

    def _read(self, examples: Frame, y: Any) -> pl.DataFrame:
        """Check and keep examples and labels; returns the examples as ``_checked``."""
        self._check_declaration()
        given = to_polars(examples, "examples")
        if self.timestamp is not None and self.timestamp in given.columns:
            self.has_zone_: bool | None = has_zone(given[self.timestamp])
        elif self.folds == "group":
            self.has_zone_ = None
        frame = self._checked(examples, self.group_columns())
        labels = _labels(y, frame.height)
        known = frame[TIME] + self._delay() if self.folds == "time" else pl.repeat(0, frame.height, eager=True)
        keys = list(dict.fromkeys(name for key in self._keys() for name in key))
        log = frame.select(*keys, known.alias(TIME), pl.Series(LABEL, labels))
        self._hold(log.sort(TIME, maintain_order=True) if self.folds == "time" else log)
        return frame

    def _hold(self, log: pl.DataFrame) -> None:
        """Keep labels, sorted by the time from which on they are known."""
        self.log_ = log
        self.n_labels_ = log.height
        self.labels_ = log[LABEL].to_numpy()
        encoded = EncodedLog(log.with_columns(pl.lit("label").alias(KIND)))
        self.timelines_ = {key: Timeline(encoded.log, key, encoded) for key in ((), *self._keys())}
        self.strengths_ = {key: self._strengths(key) for key in self._keys()} if self.folds == "time" else {}

    def _as_of(self, frame: pl.DataFrame) -> Iterator[pl.Series]:
        """The features of rows from the labels known by their times."""
        moments = Moments(frame[TIME].to_numpy())
        counts, sums = _totals_before(self.timelines_[()], frame, moments)
        means = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
        for key in self._keys():
            levels = self.strengths_[key]
            strengths = levels.values[np.searchsorted(levels.counts, counts, side="right") - 1]
            yield from self._smoothed(key, *_totals_before(self.timelines_[key], frame, moments), means, strengths)

    def _from(self, known: np.ndarray, frame: pl.DataFrame) -> Iterator[pl.Series]:
        """The features of rows from some of the training rows; ``known`` says which."""
        labels = self.labels_[known]
        mean = labels.mean() if len(labels) else np.nan
        for key in self._keys():
            timeline = self.timelines_[key]
            totals = Totals.of(_codes_by_row(timeline, len(known))[known], labels, timeline.keys.height)
            codes = timeline.codes_of(frame)
            counts = np.where(codes >= 0, totals.counts.take(codes, mode="clip"), 0) if len(timeline) else 0 * codes
            sums = np.where(codes >= 0, totals.sums.take(codes, mode="clip"), 0.0) if len(timeline) else 0.0 * codes
            yield from self._smoothed(key, counts, sums, mean, self._strength(totals))

    def _smoothed(
        self, key: Key, counts: np.ndarray, sums: np.ndarray, mean: Any, strength: Any
    ) -> Iterator[pl.Series]:
        smoothed = (sums + strength * mean) / (counts + strength)
        yield pl.Series(f"{key_name(key)}__label_mean", smoothed, nan_to_null=True)
        yield pl.Series(f"{key_name(key)}__label_count", counts.astype(np.int32))

    def _strength(self, totals: Totals) -> float:
        return totals.strength() if self.strength is None else float(self.strength)

    def _strengths(self, key: Key) -> _Strengths:
        """The strength that each number of known labels gives; at most log2(n_labels) estimates over twice the labels."""
        timeline = self.timelines_[key]
        if self.strength is not None:
            return _Strengths(np.zeros(1, dtype=np.int64), np.array([float(self.strength)]))
        codes, times = _codes_by_row(timeline, self.n_labels_), self.timelines_[()].times
        counts, values = [0], [FLAT_STRENGTH]
        upto = _FIRST_FIT
        while upto <= self.n_labels_:
            # All labels of one time or none, so that their order among themselves says nothing.
            first = int(np.searchsorted(times, times[upto - 1], side="right"))
            counts.append(first)
            values.append(self._strength(Totals.of(codes[:first], self.labels_[:first], timeline.keys.height)))
            upto = max(2 * upto, first + 1)
        return _Strengths(np.array(counts), np.array(values))

    def _folds(self, frame: pl.DataFrame) -> Iterator[np.ndarray]:
        """The rows of each fold, as masks."""
        columns = self.group_columns()
        absent = frame.filter(pl.any_horizontal(pl.col(columns).is_null())).height
        if absent:
            raise ColumnError(
                f"groups {columns} of examples have nulls in {absent:,} of {frame.height:,} rows, which might belong together; "
                "drop those rows or give each its group"
            )
        distinct = frame.select(columns).unique(maintain_order=True).with_row_index("number")
        numbers = (
            frame.select(columns).join(distinct, on=columns, how="left", maintain_order="left")["number"].to_numpy()
        )
        if distinct.height < self.n_folds:
            raise DeclarationError(
                f"{distinct.height:,} groups in {columns} cannot fill n_folds={self.n_folds} folds; declare fewer"
            )
        for _, rows in GroupKFold(self.n_folds).split(numbers, groups=numbers):
            held = np.zeros(len(numbers), dtype=bool)
            held[rows] = True
            yield held

    def _checked(self, examples: Frame, grouped: Sequence[str]) -> pl.DataFrame:
        """The columns that are needed, keys in their comparable dtypes and ``__time`` in microseconds."""
        frame = to_polars(examples, "examples")
        require_columns(frame, [*self.required_columns(), *grouped], "examples")
        require_rows(frame, "examples")
        names = [*(name for key in self._keys() for name in key), *grouped]
        columns = [key_values(frame[name], "examples") for name in dict.fromkeys(names)]
        if self.folds == "time":
            name = str(self.timestamp)
            columns.append(microseconds(frame[name], "examples").alias(TIME))
            if has_zone(frame[name]) != getattr(self, "has_zone_", has_zone(frame[name])):
                raise TimestampError(
                    f"timestamp column {name!r} of examples and that of the fitted rows must both have a time zone or neither"
                )
        return pl.DataFrame(columns)

    def _keys(self) -> list[Key]:
        if isinstance(self.keys, str) or not self.keys:
            raise DeclarationError(f"keys must be a list with at least one key, not {self.keys!r}")
        keys = [as_key(key) for key in self.keys]
        if len(set(map(key_name, keys))) < len(keys):
            raise DeclarationError(f"keys {self.keys!r} hold one twice")
        return keys

    def _delay(self) -> int:
        """Microseconds after its timestamp from which on a label is known, so that "strictly before" means what is documented."""
        seconds = 0 if self.horizon == "0s" else Window.of(str(self.horizon)).seconds
        if seconds is None:
            raise DeclarationError('horizon="all" must be a length of time such as "7d", or "0s"')
        return seconds * MICROSECONDS - (seconds > 0)

    def _check_declaration(self) -> None:
        self._keys()
        if self.folds not in _FOLDS:
            raise DeclarationError(f"folds={self.folds!r} is unknown{closest(str(self.folds), _FOLDS)}")
        if self.folds == "time":
            if self.timestamp is None or self.horizon is None or self.groups is not None:
                raise DeclarationError(
                    f'folds="time" needs timestamp (a column, not {self.timestamp!r}) and horizon (how long after it a label is known, '
                    f'such as "7d", or "0s" for at once, not {self.horizon!r}) and takes no groups'
                )
            self._delay()
        elif self.groups is None or self.timestamp is not None or self.horizon is not None:
            raise DeclarationError(
                'folds="group" needs groups, the columns of the groups, and takes neither timestamp nor horizon'
            )
        if not isinstance(self.n_folds, int) or self.n_folds < 2:
            raise DeclarationError(f"n_folds={self.n_folds!r} must be a whole number, at least 2")
        if self.strength is not None and not (isinstance(self.strength, int | float) and 0 < self.strength < np.inf):
            raise DeclarationError(f"strength={self.strength!r} must be a number above 0, or None to estimate it")


@dataclass(frozen=True)
class _Strengths:
    """Strengths by the number of labels that they need to be known."""

    counts: np.ndarray
    values: np.ndarray


def _totals_before(timeline: Timeline, frame: pl.DataFrame, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Count and sum of the labels of each row's key known before its time."""
    standing = timeline.stand(frame, moments)
    counts = standing.stop - standing.start(Window.all())
    sums = np.where(counts > 0, timeline.running_sum("label", LABEL)[standing.stop], 0.0)
    return standing.give(counts), standing.give(sums)


def _codes_by_row(timeline: Timeline, n_rows: int) -> np.ndarray:
    """The code of the key of each row of the log, -1 for none."""
    codes = np.full(n_rows, -1, dtype=np.int64)
    codes[timeline.rows] = timeline.codes
    return codes


def _labels(y: Any, n_rows: int) -> np.ndarray:
    """Labels as finite Float64."""
    if not isinstance(y, pl.Series):
        array = np.asarray(y)
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1:
            raise ColumnError(f"y must be one column of labels, not of shape {array.shape}")
        y = pl.Series("y", array.tolist() if array.dtype == object else array, strict=False)
    labels = y
    if len(labels) != n_rows:
        raise ColumnError(f"y has {len(labels):,} labels for {n_rows:,} rows of examples")
    if not labels.dtype.is_numeric() and labels.dtype != pl.Boolean:
        raise ColumnError(f"labels must be numbers or booleans, not {labels.dtype}; say which one is 1 (y == ...)")
    numbers = labels.cast(pl.Float64).fill_nan(None)
    bad = numbers.len() - int(numbers.is_finite().sum())
    if bad:
        raise ColumnError(f"y has {bad:,} null, NaN or infinite labels in {n_rows:,} rows; drop those rows")
    return numbers.to_numpy()
