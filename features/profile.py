"""Profile: how recent, frequent and valuable a key is, what it favours, and the segment that this makes it part of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import polars as pl

from features.errors import DeclarationError
from features.event_log import EventLog
from features.family import Key, as_key, key_name
from features.frames import Frame
from features.history import Batch, History
from features.segments import Segments
from features.timeline import MICROSECONDS, Moments, Standing, Timeline
from features.window import Window
from features.windowed import KindFamily

_MONTH = 30 * 86_400  # seconds
_EVER = Window.all()


@dataclass(frozen=True, kw_only=True, eq=False)
class Profile(KindFamily):
    """Recency, frequency, monetary value and favourites of a key, over its events of the declared kinds together before the example.

    - ``{key}__recency``: seconds since the last event; ``{key}__tenure``: since the first. Null without an event.
    - ``{key}__frequency``: events per 30 days since the first one; a key seen for less counts as seen for 30 days. 0 without an event.
    - ``{key}__monetary``, with ``value``: its mean over the events that have one; null without such an event.
    - ``{key}__favourite_{attribute}_match``: 1 where no value of the attribute is more frequent among the key's events than the
      candidate's, else 0; null where the key has no event with a value, or the candidate has none.
    - ``{key}__favourite_{attribute}_share``: share of the most frequent value in the key's events that have one; null without any.
    - ``{key}__segment``: code of the nearest centre, 0 the one with the largest frequency times value; null without an event.

    All Float64. The centres come from k-means on the standardised logarithms ``ln(1 + x)`` of recency in days, frequency and monetary
    (its sign kept) of all keys at the log's end: they are learned from the whole log, as the priors of rates are.

    Parameters
    ----------
    value : str, optional
        Numeric column of the log, such as a price. Default: no monetary value.
    attributes : sequence of str, default ("category",)
        Roles or columns of log and examples. One that is part of a key is left out for that key.
    segments : int, default 6
        How many, at most; 0 leaves segments out.
    random_state : int, default 0
        Seed of the k-means.
    centres : mapping from key's name to Segments, optional
        Default: fitted.
    """

    name: ClassVar[str] = "profile"

    value: str | None = None
    attributes: Sequence[str] = ("category",)
    segments: int = 6
    random_state: int = 0
    centres: Mapping[str, Segments] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.attributes, str):
            raise DeclarationError(f"profile: attributes={self.attributes!r} must be a list: [{self.attributes!r}]")
        if not isinstance(self.segments, int) or self.segments < 0:
            raise DeclarationError(f"profile: segments={self.segments!r} must be a whole number, 0 for none")
        self._set(
            attributes=tuple(self.attributes),
            centres={name: Segments.of(centres) for name, centres in self.centres.items()},
        )

    def log_parts(self) -> tuple[str, ...]:
        return tuple(self.attributes)

    def value_columns(self) -> tuple[str, ...]:
        return () if self.value is None else (self.value,)

    def example_parts(self) -> tuple[str, ...]:
        return tuple(self.attributes)

    def fitted(self, history: History) -> Self:
        centres = dict(self.centres)
        for key in map(as_key, self.keys or ()) if self.segments else ():
            if key_name(key) not in centres:
                measures = self.measures(at_end(history, key).standing(key))
                centres[key_name(key)] = Segments.fit(self.clustered(measures), self.segments, self.random_state)
        return dataclasses.replace(self, centres=centres)

    def columns(self, key: Key) -> list[str]:
        name = key_name(key)
        found = [f"{name}__{measure}" for measure in ("recency", "frequency", "tenure")]
        found += [f"{name}__monetary"] if self.value is not None else []
        for attribute in self.foreign(key):
            found += [f"{name}__favourite_{attribute}_match", f"{name}__favourite_{attribute}_share"]
        return found + ([f"{name}__segment"] if self.segments else [])

    def compute(self, key: Key, batch: Batch) -> Iterator[np.ndarray]:
        standing = batch.standing(key)
        measures = self.measures(standing)
        for values in measures.values():
            yield standing.give(values)
        for attribute in self.foreign(key):
            top, total = (
                standing.give(values) for values in self._favourite(standing, batch.history, (*key, attribute))
            )
            pair = batch.standing((*key, attribute))
            own = pair.give(sum((pair.count(kind, _EVER) for kind in self.kinds()), np.zeros(len(batch), np.int64)))
            known = (top > 0) & batch.values(attribute).is_not_null().to_numpy()
            yield np.where(known, (own == top).astype(np.float64), np.nan)
            yield np.divide(top, total, out=np.full(len(batch), np.nan), where=total > 0)
        if self.segments:
            yield standing.give(self.centres[key_name(key)].nearest(self.clustered(measures)))

    def measures(self, standing: Standing) -> dict[str, np.ndarray]:
        """Recency, frequency, tenure and, where there is a value, monetary, in the standing's order."""
        timeline = standing.timeline
        of_kinds = timeline.of_kinds(self.kinds())
        first, last = standing.start(_EVER), standing.stop
        before = _running(of_kinds)
        n_events = before[last] - before[first]
        seen = n_events > 0
        times = np.append(timeline.times[of_kinds], 0)
        tenure = np.where(seen, (standing.times - times[before[first]]) / MICROSECONDS, np.nan)
        measures = {
            "recency": np.where(seen, (standing.times - times[before[last] - 1]) / MICROSECONDS, np.nan),
            "frequency": np.where(seen, n_events * _MONTH / np.maximum(tenure, _MONTH), 0.0),
            "tenure": tenure,
        }
        if self.value is not None:
            known = _running(of_kinds & timeline.values(self.value).is_not_null().to_numpy())
            n_known = known[last] - known[first]
            sums = sum(timeline.running_sum(kind, self.value)[last] for kind in self.kinds())
            measures["monetary"] = np.where(n_known > 0, sums / np.maximum(n_known, 1), np.nan)
        return measures

    def favourites(self, history: History, key: Key, attribute: str) -> pl.DataFrame:
        """The most frequent value of an attribute by key over the whole log, the first in order where several are."""
        pairs = history.timeline((*key, attribute))
        own, column = list(history.names.columns_of(key)), history.column(attribute)
        n_events = np.bincount(pairs.codes[pairs.of_kinds(self.kinds())], minlength=pairs.keys.height)
        counted = pairs.keys.with_columns(n_events=n_events).filter(pl.col("n_events") > 0)
        counted = counted.sort("n_events", column, descending=[True, False])
        return counted.unique(own, keep="first", maintain_order=True).select(
            *own, pl.col(column).alias(f"favourite_{attribute}")
        )

    def _favourite(self, standing: Standing, history: History, pair: Key) -> tuple[np.ndarray, np.ndarray]:
        """Events with the key's most frequent value, and with any, in the standing's order."""
        top, known = _largest_so_far(standing.timeline, history.timeline(pair), self.kinds())
        first, last = standing.start(_EVER), standing.stop
        return np.where(last > first, top[last], 0), known[last] - known[first]

    def foreign(self, key: Key) -> list[str]:
        """The attributes that are no part of a key."""
        return [attribute for attribute in self.attributes if attribute not in key]

    def clustered(self, measures: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The measures that segments are made from."""
        return [measures[name] for name in ("recency", "frequency", "monetary") if name in measures]


def profiles(
    events: Frame,
    log: EventLog,
    *,
    key: str | Sequence[str] = "user",
    value: str | None = None,
    attributes: Sequence[str] = ("category",),
    kinds: Sequence[str] | None = None,
    segments: int = 6,
    random_state: int = 0,
) -> pl.DataFrame:
    """The profile of every key just behind the log's last event, one row each.

    Parameters
    ----------
    events : frame
        The log.
    log : EventLog
        Its columns.
    key : str or sequence of str, default "user"
    value, attributes, segments, random_state
        As those of ``Profile``.
    kinds : sequence of str, optional
        Kinds of event. Default: all.

    Returns
    -------
    polars.DataFrame
        The key's columns, by which it is sorted; ``recency`` and ``tenure`` in seconds; ``frequency`` in events per 30 days;
        ``monetary`` where there is a value; ``favourite_{attribute}``, the most frequent value, the first in order among equals;
        ``segment``, its code, and ``segment_name``, such as "frequent, recent, high value", different for every segment. Keys without
        an event of the kinds are left out.

    Raises
    ------
    ColumnError, TimestampError, EmptyFrameError, DeclarationError
    """
    parts = as_key(key)
    family = Profile(
        keys=[parts], events=kinds, value=value, attributes=attributes, segments=segments, random_state=random_state
    )
    history = History(log.read(events, log.columns_of((*parts, *family.attributes)), family.value_columns()), log)
    family = dataclasses.replace(family, events=history.kinds(kinds, "profiles"))
    family = family.fitted(history)
    batch = at_end(history, parts)
    standing = batch.standing(parts)
    measures = {name: standing.give(values) for name, values in family.measures(standing).items()}
    found = batch.examples.with_columns(pl.Series(name, values, nan_to_null=True) for name, values in measures.items())
    for attribute in family.foreign(parts):
        favourites = family.favourites(history, parts, attribute)
        found = found.join(favourites, on=list(log.columns_of(parts)), how="left", maintain_order="left")
    if segments:
        centres = family.centres[key_name(parts)]
        code = pl.Series(centres.nearest(family.clustered(measures)), nan_to_null=True).cast(pl.Int64)
        found = found.with_columns(segment=code, segment_name=pl.Series(centres.names(), dtype=pl.String).gather(code))
    return found.drop_nulls("recency").sort(log.columns_of(parts))


def at_end(history: History, key: Key) -> Batch:
    """Every key of a log as an example just behind the log's last event."""
    keys = history.timeline(key).keys
    last = history.timeline(key).clock.max(initial=0) + 1
    return Batch(history, keys, Moments(np.full(keys.height, last, dtype=np.int64)))


def _running(matches: np.ndarray) -> np.ndarray:
    """How many of the first i match, of shape (n + 1,)."""
    return np.concatenate([[0], np.cumsum(matches)])


def _largest_so_far(timeline: Timeline, pairs: Timeline, kinds: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Among the key's own of the first i events: how many have the most frequent value, and (over all keys) how many have any."""
    place = (Profile, pairs.columns, tuple(kinds))
    if place not in timeline.kept:
        counted = pairs.of_kinds(kinds)
        running = _running(counted)
        begins = np.diff(pairs.codes, prepend=-1) > 0
        first = np.flatnonzero(begins)[np.cumsum(begins) - 1] if len(pairs) else np.zeros(0, dtype=np.int64)
        of_row = np.zeros(max(timeline.rows.max(initial=0), pairs.rows.max(initial=0)) + 1, dtype=np.int64)
        of_row[pairs.rows[counted]] = (running[1:] - running[first])[counted]
        nth = of_row[timeline.rows]  # the event is the nth of its key and value; 0 without a value
        # A key's largest count only grows; raised by a key's number, those of the keys before never reach it.
        raised = timeline.codes * (int(nth.max(initial=0)) + 1)
        top = np.maximum.accumulate(raised + nth) - raised
        timeline.kept[place] = np.concatenate([[0], top]), _running(nth > 0)
    kept: tuple[np.ndarray, np.ndarray] = timeline.kept[place]
    return kept
