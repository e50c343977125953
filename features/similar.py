"""Semantic back-off: what similar queries, or similar items, did before."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import polars as pl

from features.errors import DeclarationError
from features.expansion import blocks, within
from features.family import Declared, Key, key_name
from features.history import Batch, History
from features.neighbors import ROUNDING, NeighborIndex
from features.rates import BetaPrior, fitted_priors, rate_totals
from features.timeline import Moments, Standing, Timeline
from features.vectors import IdVectors, VectorFamily
from features.window import Window
from features.windowed import WindowedFamily

_EXPANDED = 4_000_000  # (example, neighbour) pairs held at once
_CANDIDATES = 10  # times n_neighbors: how many are looked at to find those that had an event before the example


@dataclass(frozen=True, kw_only=True, eq=False)
class Similar(WindowedFamily, VectorFamily):
    """Counts and rates of a key, summed over the nearest neighbours of one of its parts and weighted by similarity.

    For an example at ``t`` the neighbours of its query (``part="query"``) are the ``n_neighbors`` queries nearest by cosine among those
    that had an event before ``t``, itself included. A neighbour of cosine ``c`` weighs ``((c - min_similarity) / (1 - min_similarity))
    ** power``; only events before ``t`` are counted. This is a kernel regression (Nadaraya and Watson, 1964) over keys.

    - ``{key}__similar_{event}__{window}``: weighted count, Float64.
    - ``{key}__similar_{event}_share__{window}``, for keys of several parts: that count over the weighted count of the part alone (of
      all that searches like this one led to, the share that led to this item); null where the neighbours have no such event.
    - ``{key}__similar_{rate}__{window}``: weighted successes per weighted trials, smoothed by the key's beta prior.

    Parameters
    ----------
    part : str, default "query"
        The role or column whose values have vectors. The family describes the keys that it is part of.
    n_neighbors : int, default 50
    min_similarity : float in [0, 1), default 0.5
        Less similar keys do not count.
    power : float, default 2.0
        How fast weights fall with similarity.
    label : str, default "similar"
        The word in the names of the columns, for two such families over different vectors.
    exact_up_to : int, default 50,000
        With more keys in the log the neighbours come from an approximate index (the extra ``neighbors``).
    rates : mapping from name to (success event, trial event), optional
        Default: those of the ``BehaviorFeatures``.
    priors : mapping from ``{key}__{rate}`` to BetaPrior, optional
        Default: fitted to the log.
    """

    name: ClassVar[str] = "similar"

    part: str = "query"
    n_neighbors: int = 50
    min_similarity: float = 0.5
    power: float = 2.0
    label: str = "similar"
    exact_up_to: int = 50_000
    rates: Mapping[str, Sequence[str]] | None = None
    priors: Mapping[str, BetaPrior] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_neighbors < 1 or not 0 <= self.min_similarity < 1 or not self.power >= 0:
            raise DeclarationError(
                f"similar: n_neighbors={self.n_neighbors!r} must be at least 1, min_similarity={self.min_similarity!r} in [0, 1) "
                f"and power={self.power!r} at least 0"
            )
        self._set(priors={name: BetaPrior.of(prior) for name, prior in self.priors.items()})

    def describes(self, key: Key) -> bool:
        return self.part in key

    def bound(self, declared: Declared) -> Self:
        rates = declared.rates if self.rates is None else declared.checked_rates(self.rates)
        bound = super(Similar, dataclasses.replace(self, rates=rates)).bound(declared)
        for key in bound.keys or ():
            if self.part not in key:
                raise DeclarationError(f"similar: key {key_name(key)!r} has no part {self.part!r}")
        return bound

    def totals(self, key: Key, history: History) -> dict[str, np.ndarray]:
        return rate_totals(self.rates or {}, self.priors, key, history)

    def fitted_to(self, totals: Mapping[str, np.ndarray]) -> Self:
        return dataclasses.replace(self, priors={**self.priors, **fitted_priors(totals)})

    def reads(self, key: Key) -> None:
        return None

    def columns(self, key: Key) -> list[str]:
        name = key_name(key)
        found = [f"{name}__{self.label}_{event}__{window.name}" for event, window in self.pairs()]
        if len(key) > 1:
            found += [f"{name}__{self.label}_{event}_share__{window.name}" for event, window in self.pairs()]
        return found + [f"{name}__{self.label}_{rate}__{w.name}" for rate in self.rates or () for w in self.spans()]

    def compute(self, key: Key, batch: Batch) -> Iterator[np.ndarray]:
        events = dict.fromkeys([*self.kinds(), *(kind for pair in (self.rates or {}).values() for kind in pair)])
        wanted = [(event, window) for event in events for window in self.spans()]
        neighborhoods = self._neighborhoods(batch)
        alone = neighborhoods.counts_of_part(wanted)
        counts = alone if len(key) == 1 else neighborhoods.counts_of_key(key, wanted)
        of_example = neighborhoods.of_example
        if len(key) == 1:
            counts = {pair: count[of_example] for pair, count in counts.items()}
        for pair in self.pairs():
            yield counts[pair]
        if len(key) > 1:
            for pair in self.pairs():
                whole = alone[pair][of_example]
                yield np.divide(counts[pair], whole, out=np.full(len(whole), np.nan), where=whole > 0)
        for rate, (success, trial) in (self.rates or {}).items():
            prior = self.priors[f"{key_name(key)}__{rate}"]
            for window in self.spans():
                yield prior.smooth(counts[success, window], counts[trial, window])

    def _neighborhoods(self, batch: Batch) -> _Neighborhoods:
        """The neighbours of each example, found once for all keys of a batch."""
        place = (Similar, id(self))
        if place not in batch.kept:
            batch.kept[place] = _Neighborhoods.find(self, batch)
        found: _Neighborhoods = batch.kept[place]
        return found

    def known(self, history: History) -> _Known:
        """The part's values in a log, with the index over their vectors; made once."""
        source, timeline = self.source(history.vectors), history.timeline((self.part,))
        place = (Similar, id(source), self.exact_up_to)
        if place not in timeline.kept:
            # In the order of first appearance, so that a log that ends earlier knows the first of them, in the same order.
            keys = timeline.keys.to_series()
            order = pl.DataFrame([keys.alias("key"), pl.Series("first", timeline.first_times)]).with_row_index("code")
            codes = order.sort("first", "key")["code"].to_numpy().astype(np.int64)
            index = NeighborIndex(source.of(keys.gather(codes)), self.exact_up_to)
            timeline.kept[place] = _Known(source, index, codes, timeline.first_times[codes])
        known: _Known = timeline.kept[place]
        return known


@dataclass(frozen=True, eq=False)
class _Known:
    """Values of a part in the order of their first events: an index of their vectors, their codes, and the times of those events.

    ``source`` is kept so that no other object gets its id.
    """

    source: IdVectors
    index: NeighborIndex
    codes: np.ndarray
    first_times: np.ndarray


@dataclass(frozen=True, eq=False)
class _Neighborhoods:
    """Weighted neighbours of each distinct (value of the part, time) among the examples.

    ``of_example`` is the neighbourhood of each example, and ``member``, ``code`` and ``weight`` say of each neighbour which
    neighbourhood it belongs to, sorted, which code of the part it is and what it weighs. ``times`` are those of the neighbourhoods.
    """

    family: Similar
    batch: Batch
    of_example: np.ndarray
    times: np.ndarray
    member: np.ndarray
    code: np.ndarray
    weight: np.ndarray

    @classmethod
    def find(cls, family: Similar, batch: Batch) -> _Neighborhoods:
        timeline = batch.history.timeline((family.part,))
        asked = batch.values(family.part)
        distinct = asked.drop_nulls().unique(maintain_order=True)
        places = pl.int_range(len(distinct), eager=True)
        target = asked.replace_strict(distinct, places, default=-1, return_dtype=pl.Int64).fill_null(-1).to_numpy()
        pairs, of_example = np.unique(np.stack([target, batch.times]), axis=1, return_inverse=True)
        of_example = of_example.reshape(-1)
        pair_target, pair_time = pairs[0].astype(np.int64), pairs[1].astype(np.int64)
        if not len(distinct) or not len(timeline):
            none = np.zeros(0, dtype=np.int64)
            return cls(family, batch, of_example, pair_time, none, none, np.zeros(0))
        timeline.codes_of(distinct.to_frame(timeline.columns[0]))  # the dtypes must agree
        vectors = family.source(batch.history.vectors).of(distinct)
        member, code, cosine = _nearest_seen(family, batch.history, vectors, pair_target, pair_time)
        closeness = np.clip((cosine - family.min_similarity) / (1 - family.min_similarity), 0, 1)
        return cls(family, batch, of_example, pair_time, member, code, closeness**family.power)

    def counts_of_part(self, wanted: Sequence[tuple[str, Window]]) -> dict[tuple[str, Window], np.ndarray]:
        """Weighted counts of the part's own events, by neighbourhood."""
        timeline = self.batch.history.timeline((self.family.part,))
        standing = Standing(timeline, self.code, Moments(self.times[self.member]))
        return {
            (event, window): np.bincount(
                self.member, self.weight * standing.give(standing.count(event, window)), minlength=len(self.times)
            )
            for event, window in wanted
        }

    def counts_of_key(self, key: Key, wanted: Sequence[tuple[str, Window]]) -> dict[tuple[str, Window], np.ndarray]:
        """Weighted counts of a key's events with the part replaced by each neighbour, by example."""
        batch, part = self.batch, self.family.part
        timeline, alone = batch.history.timeline(key), batch.history.timeline((part,))
        pairs = _PairCodes.of(timeline, alone, batch.history.column(part))
        others = pairs.others_of(batch.examples)
        counts = {pair: np.zeros(len(batch)) for pair in wanted}
        starts = np.searchsorted(self.member, np.arange(len(self.times) + 1))
        sizes = np.where(others >= 0, np.diff(starts)[self.of_example], 0)
        for low, high in blocks(sizes, _EXPANDED):
            size = sizes[low:high]
            row = np.repeat(np.arange(low, high), size)
            at = np.repeat(starts[self.of_example[low:high]], size) + within(size)
            code = pairs.find(others[row], self.code[at])
            held = code >= 0
            row, at, code = row[held], at[held], code[held]
            standing = Standing(timeline, code, Moments(batch.times[row]))
            for event, window in wanted:
                weighted = self.weight[at] * standing.give(standing.count(event, window))
                counts[event, window][low:high] += np.bincount(row - low, weighted, minlength=high - low)
        return counts


def _nearest_seen(
    family: Similar, history: History, vectors: np.ndarray, target: np.ndarray, time: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The neighbours of each (target, time) among the keys seen before the time: its place, sorted, their codes and cosines.

    Most find theirs among the candidates that are near at any time. Where later keys fill that list, it is no list of the keys of that
    time, and those are searched themselves: else keys of the future would push out the past's.
    """
    known = family.known(history)
    index, first_times = known.index, known.first_times
    n, floor = family.n_neighbors, max(family.min_similarity, 1e-6)
    lists = index.search(vectors, _CANDIDATES * n, floor)
    lengths = np.diff(lists.starts)
    sizes = np.where(target >= 0, lengths[target], 0)
    members, ats = [], []
    for low, high in blocks(sizes, _EXPANDED):
        size = sizes[low:high]
        member = np.repeat(np.arange(low, high), size)
        at = np.repeat(lists.starts[target[low:high]], size) + within(size)
        seen = first_times[lists.places[at]] < time[member]
        member, at = member[seen], at[seen]
        nearest = within(np.bincount(member - low, minlength=high - low)) < n
        members.append(member[nearest])
        ats.append(at[nearest])
    member, at = np.concatenate(members), np.concatenate(ats)
    near, cosine = lists.places[at], lists.similarity[at]

    found = np.bincount(member, minlength=len(time))
    weakest = np.full(len(time), -np.inf)
    weakest[found > 0] = cosine[np.cumsum(found)[found > 0] - 1]
    full = (target >= 0) & (sizes >= _CANDIDATES * n)
    edge = np.full(len(time), -np.inf)
    edge[full] = lists.similarity[lists.starts[target[full] + 1] - 1]
    short = np.flatnonzero(full & ((found < n) | (weakest <= edge + ROUNDING)))
    if not len(short):
        return member, known.codes[near], cosine
    again = index.search_first(vectors[target[short]], np.searchsorted(first_times, time[short], side="left"), n, floor)
    kept = ~np.isin(member, short)
    member = np.concatenate([member[kept], np.repeat(short, np.diff(again.starts))])
    order = np.argsort(member, kind="stable")
    near, cosine = np.concatenate([near[kept], again.places]), np.concatenate([cosine[kept], again.similarity])
    return member[order], known.codes[near[order]], cosine[order]


@dataclass(frozen=True, eq=False)
class _PairCodes:
    """Codes of a key from the code of one part and a code of all others."""

    others: pl.DataFrame
    n_part: int
    needles: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, timeline: Timeline, part: Timeline, column: str) -> _PairCodes:
        place = (_PairCodes, column)
        if place not in timeline.kept:
            keys = timeline.keys
            names = [name for name in keys.columns if name != column]
            others = keys.select(names).unique(maintain_order=True).with_row_index("other")
            other = keys.join(others, on=names, how="left", maintain_order="left")["other"].to_numpy().astype(np.int64)
            needles = other * part.keys.height + part.codes_of(keys.select(column))
            order = np.argsort(needles)
            timeline.kept[place] = cls(others, part.keys.height, needles[order], order)
        found: _PairCodes = timeline.kept[place]
        return found

    def others_of(self, examples: pl.DataFrame) -> np.ndarray:
        """Code of the other parts of each example; -1 where they never occur."""
        names = self.others.columns[1:]
        if any(examples[name].dtype != self.others[name].dtype for name in names):
            return np.full(examples.height, -1, dtype=np.int64)
        found = examples.select(names).join(self.others, on=names, how="left", maintain_order="left")["other"]
        return found.cast(pl.Int64).fill_null(-1).to_numpy()

    def find(self, others: np.ndarray, parts: np.ndarray) -> np.ndarray:
        """Codes of the key; -1 for combinations that never occur."""
        if not len(self.needles):
            return np.full(len(others), -1, dtype=np.int64)
        needles = others * self.n_part + parts
        at = np.minimum(np.searchsorted(self.needles, needles), len(self.needles) - 1)
        return np.where(self.needles[at] == needles, self.codes[at], -1)
