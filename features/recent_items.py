"""Recent interest: how close a candidate is to the items that a key last turned to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import polars as pl

from features.errors import DeclarationError
from features.family import Declared, Key, as_key, key_name
from features.history import Batch
from features.timeline import MICROSECONDS, Timeline
from features.vectors import IdVectors, VectorFamily
from features.window import Window
from features.windowed import KindFamily

_FLOATS = 2**24  # numbers in one intermediate array: 64 MiB
_SMALLEST = 1e-9  # length of a mean vector below which its direction means nothing


@dataclass(frozen=True, kw_only=True, eq=False)
class RecentItems(KindFamily, VectorFamily):
    """Vectors of the items of a key's last events, pooled and compared with the candidate's.

    The last ``last`` events before the example are those of the declared kinds whose item has a vector; others hold no place. Event
    number ``a`` from the newest (0, 1, ...) weighs ``2 ** (-4 a / last)``, so that the weight halves every ``last / 4`` events; with
    ``half_life`` an event at ``s`` weighs ``2 ** (-(t - s) / half_life)`` instead. Events of one time stand in the log's order.

    - ``{key}__recent_cosine``: cosine of the weighted mean to the candidate's vector; 0 where the recent vectors cancel out.
    - ``{key}__recent_max_cosine``: largest cosine of any of the recent items to the candidate.
    - ``{key}__recent_spread``: 1 less the length of the plain mean of the recent unit vectors, from 0 (all the same) towards 1.
    - ``{key}__recent_chunk{i}_cosine``, with ``chunks``: cosine of the plain mean of the i-th chunk of events, 1 the newest.

    All Float64, computed in single precision. Null where the key has no such event yet (or none in the chunk), and, but for the
    spread, where the candidate has no vector. Pooling a sequence of behaviour chunk by chunk keeps a short and a longer interest apart
    at a fixed number of features; it is the usual way to present long behaviour sequences to a ranking model.

    Parameters
    ----------
    part : str, default "item"
        The role or column whose values have vectors; the examples' own value is the candidate. The family describes the keys that it
        is no part of.
    last : int, default 20
        How many events count.
    half_life : str, optional
        A length such as "7d". Default: weights by rank.
    chunks : (m, c), optional
        Also the last ``c`` chunks of ``m`` events each, counted from the newest.
    label : str, default "recent"
        The word in the names of the columns, for two such families over different vectors or lengths.
    """

    name: ClassVar[str] = "recent interest"

    last: int = 20
    half_life: str | None = None
    chunks: Sequence[int] | None = None
    label: str = "recent"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.last, int) or self.last < 1:
            raise DeclarationError(f"{self.name}: last={self.last!r} must be a whole number of events, at least 1")
        if self.half_life is not None and Window.of(self.half_life).seconds is None:
            raise DeclarationError(f"{self.name}: half_life={self.half_life!r} must be a length of time such as '7d'")
        if self.chunks is not None:
            chunks = tuple(self.chunks) if isinstance(self.chunks, Sequence) else ()
            if len(chunks) != 2 or not all(isinstance(size, int) and size > 0 for size in chunks):
                raise DeclarationError(
                    f"{self.name}: chunks={self.chunks!r} must be (events in a chunk, number of chunks), such as (5, 4)"
                )
            self._set(chunks=chunks)

    def describes(self, key: Key) -> bool:
        return self.part not in key

    def bound(self, declared: Declared) -> Self:
        bound = super().bound(declared)
        for key in map(as_key, bound.keys or ()):
            if self.part in key:
                raise DeclarationError(
                    f"{self.name}: key {key_name(key)!r} holds the part {self.part!r}, whose vectors are compared; leave it out"
                )
        return bound

    def log_parts(self) -> tuple[str, ...]:
        return (self.part,)

    def example_parts(self) -> tuple[str, ...]:
        return (self.part,)

    def columns(self, key: Key) -> list[str]:
        measures = ["cosine", "max_cosine", "spread", *(f"chunk{i + 1}_cosine" for i in range(self.n_chunks))]
        return [f"{key_name(key)}__{self.label}_{measure}" for measure in measures]

    def compute(self, key: Key, batch: Batch) -> Iterator[np.ndarray]:
        found = np.full((len(self.columns(key)), len(batch)), np.nan)
        if len(batch.history.timeline((self.part,))):
            histories = _Histories.of(self, key, batch)
            for low, high in histories.blocks():
                histories.compare(histories.pool(low, high), found)
        yield from found

    @property
    def n_chunks(self) -> int:
        """How many chunks are kept apart."""
        return self.chunks[1] if self.chunks else 0

    @property
    def reach(self) -> int:
        """How many events back the features look."""
        return max(self.last, self.chunks[0] * self.chunks[1] if self.chunks else 0)

    def weights(self, ages: np.ndarray) -> np.ndarray:
        """Weights of the last events of some histories, newest first.

        Parameters
        ----------
        ages : numpy.ndarray of shape (n_histories, reach)
            Microseconds from each event to the newest of its history. Whatever the example's own time, it scales all weights of a
            history alike and leaves the direction of their mean.
        """
        rank = np.arange(ages.shape[1])
        if self.half_life is None:
            fading = np.broadcast_to(0.5 ** (rank * 4 / self.last), ages.shape)
        else:
            fading = 0.5 ** (ages / ((Window.of(self.half_life).seconds or 0) * MICROSECONDS))
        return np.where(rank < self.last, fading, 0.0)

    def chunk_weights(self) -> np.ndarray:
        """A row a chunk: which of the last events belong to it, newest first."""
        rank, (size, _) = np.arange(self.reach), self.chunks or (1, 0)
        return (rank // size == np.arange(self.n_chunks)[:, None]).astype(np.float64)


def _vectors_of(items: Timeline, source: IdVectors) -> np.ndarray:
    """Vectors of the log's items by their code, looked up once."""
    place = (RecentItems, id(source))
    if place not in items.kept:
        items.kept[place] = source, source.of(items.keys.to_series())  # the source too: it keeps its id
    vectors: np.ndarray = items.kept[place][1]
    return vectors


@dataclass(frozen=True, eq=False)
class _Events:
    """The events of a timeline that count: how many of them are among its first i, their items' codes and their times."""

    before: np.ndarray
    items: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, family: RecentItems, timeline: Timeline, items: Timeline, source: IdVectors) -> _Events:
        """Found once for a timeline and vectors."""
        place = (RecentItems, family.part, family.kinds(), id(source))
        if place not in timeline.kept:
            code_of_row = np.full(max(timeline.rows.max(initial=0), items.rows.max(initial=0)) + 1, -1)
            code_of_row[items.rows] = items.codes
            code = code_of_row[timeline.rows]
            has_vector = np.append(_vectors_of(items, source).any(axis=1), False)  # the last is code -1, no item
            counts = has_vector[code] & timeline.of_kinds(family.kinds())
            before = np.concatenate([[0], np.cumsum(counts)])
            timeline.kept[place] = source, cls(before, code[counts], timeline.times[counts])
        events: _Events = timeline.kept[place][1]
        return events


@dataclass(frozen=True, eq=False)
class _Pool:
    """Histories ``low`` to ``high`` of a batch: the codes of their last items, which of those there are, and their pooled vectors.

    ``means`` are of shape (1 + n_chunks, n_histories, dimension), of unit length: the weighted mean, then each chunk's; ``has`` tells
    which of them are of any event.
    """

    low: int
    high: int
    items: np.ndarray
    present: np.ndarray
    spread: np.ndarray
    means: np.ndarray
    has: np.ndarray


@dataclass(frozen=True, eq=False)
class _Histories:
    """The distinct histories of a batch's examples; many candidates share one, a user at one moment, and each is pooled once.

    ``first`` and ``stop`` bound a history among the events that count; ``order`` are the examples that have one, sorted by it, and
    ``of_example`` is the history of each of these. ``candidate`` is each example's row of ``candidates``, -1 where its item is null.
    """

    family: RecentItems
    events: _Events
    vectors: np.ndarray
    candidates: np.ndarray
    candidate: np.ndarray
    first: np.ndarray
    stop: np.ndarray
    order: np.ndarray
    of_example: np.ndarray
    cosines: np.ndarray | None

    @classmethod
    def of(cls, family: RecentItems, key: Key, batch: Batch) -> _Histories:
        standing, items = batch.standing(key), batch.history.timeline((family.part,))
        source = family.source(batch.history.vectors)
        events, vectors = _Events.of(family, standing.timeline, items, source), _vectors_of(items, source)
        first = standing.give(events.before[standing.start(Window.all())])
        stop = standing.give(events.before[standing.stop])
        seen = np.flatnonzero(stop > first)
        order = seen[np.argsort(stop[seen], kind="stable")]
        begins = (
            np.diff(stop[order], prepend=-1) > 0
        )  # events lie key by key, so the last of them tells the whole history
        asked = batch.values(family.part)
        distinct = asked.drop_nulls().unique(maintain_order=True)
        places = pl.int_range(len(distinct), eager=True)
        candidate = asked.replace_strict(distinct, places, default=-1, return_dtype=pl.Int64).fill_null(-1).to_numpy()
        items.codes_of(distinct.to_frame(items.columns[0]))  # the dtypes must agree
        candidates = source.of(distinct) if len(distinct) else vectors[:0]
        # All cosines at once cost less than those that are asked for, one by one, where few items meet many examples.
        n_cosines = len(candidates) * len(vectors)
        cosines = candidates @ vectors.T if n_cosines <= min(_FLOATS, 8 * family.last * len(order)) else None
        history = np.cumsum(begins) - 1
        return cls(
            family, events, vectors, candidates, candidate, first[order][begins], stop[order][begins], order, history, cosines
        )  # fmt: skip

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Ranges of histories whose vectors fit into memory."""
        step = max(1, _FLOATS // (self.family.reach * max(1, self.vectors.shape[1])))
        for low in range(0, len(self.stop), step):
            yield low, min(low + step, len(self.stop))

    def pool(self, low: int, high: int) -> _Pool:
        """Pool the vectors of some histories."""
        family, first, stop = self.family, self.first[low:high, None], self.stop[low:high, None]
        places = stop - 1 - np.arange(family.reach)
        present = places >= first
        places = np.maximum(places, 0)
        ages = np.where(present, self.events.times[stop - 1] - self.events.times[places], 0)
        items = self.events.items[places]
        plain = np.arange(family.reach) < family.last
        weights = np.concatenate([
            [family.weights(ages)], [np.broadcast_to(plain, ages.shape)],
            np.broadcast_to(family.chunk_weights()[:, None], (family.n_chunks, *ages.shape)),
        ]) * present  # fmt: skip
        sums = np.matmul(weights.astype(np.float32).transpose(1, 0, 2), self.vectors[items]).transpose(1, 0, 2)
        lengths = np.linalg.norm(sums, axis=2)
        return _Pool(
            low,
            high,
            items[:, : family.last],
            present[:, : family.last],
            1 - np.minimum(lengths[1] / np.maximum(weights[1].sum(axis=1), 1), 1),
            np.delete(sums / np.maximum(lengths, _SMALLEST)[:, :, None], 1, axis=0),
            np.delete(weights, 1, axis=0).sum(axis=2) > 0,
        )

    def compare(self, pool: _Pool, found: np.ndarray) -> None:
        """Fill in the features of the examples with these histories."""
        begin, end = np.searchsorted(self.of_example, [pool.low, pool.high])
        found[2, self.order[begin:end]] = pool.spread[self.of_example[begin:end] - pool.low]
        asked = begin + np.flatnonzero(self.candidate[self.order[begin:end]] >= 0)
        asked = asked[self.candidates[self.candidate[self.order[asked]]].any(axis=1)]
        width = pool.items.shape[1] * (1 if self.cosines is not None else self.vectors.shape[1])
        step = max(1, _FLOATS // max(1, width, self.vectors.shape[1]))
        for at in range(0, len(asked), step):
            rows = self.order[asked[at : at + step]]
            history, candidate = self.of_example[asked[at : at + step]] - pool.low, self.candidate[rows]
            vectors = self.candidates[candidate]
            to_mean, *to_chunks = (
                np.where(has[history], np.einsum("ed,ed->e", mean[history], vectors), np.nan)
                for mean, has in zip(pool.means, pool.has, strict=True)
            )
            items = pool.items[history]
            if self.cosines is not None:
                to_items = self.cosines[candidate[:, None], items]
            else:
                to_items = np.matmul(self.vectors[items], vectors[:, :, None])[:, :, 0]
            found[0, rows] = to_mean
            found[1, rows] = np.where(pool.present[history], to_items, -np.inf).max(axis=1)
            for place, cosine in enumerate(to_chunks, start=3):
                found[place, rows] = cosine
