"""Recent interest: how close a candidate is to what the user last turned to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from features.behavior import BehaviorFeatures
from features.event_log import TIME, key_values, microseconds
from features.timeline import Moments, Timeline
from features.window import Window
from hybrid.encoder import Embedded, TextEncoder
from hybrid.errors import ParameterError
from hybrid.matrix import Column, FeatureMatrix
from hybrid.texts import role_text

GROUP = "recent interest"
_USER, _TEXT = "user", "text"
_FLOATS = 2**24  # numbers in one intermediate array: 64 MiB


@dataclass(frozen=True)
class RecentInterest:
    """The items of each user's last events, as texts.

    Parameters
    ----------
    log : polars.DataFrame
        Columns ``user``, ``text`` and ``__time`` (microseconds), sorted by time.
    n_events : int
        How many of the user's last events count. The weight halves every ``n_events / 4`` events into the past.
    """

    log: pl.DataFrame
    n_events: int

    @classmethod
    def read(
        cls, events: pl.DataFrame, behavior: BehaviorFeatures, columns: tuple[str, ...], n_events: int
    ) -> RecentInterest:
        """Take user, item text and time from a log that carries the item text's columns itself."""
        if behavior.log.user is None:
            raise ParameterError("recent_interest needs the user of each event: declare EventLog(user=...)")
        log = pl.DataFrame([
            key_values(events[behavior.log.user], "events").alias(_USER),
            role_text(events, columns, "events").alias(_TEXT),
            microseconds(events[behavior.log.timestamp], "events").alias(TIME),
        ])  # fmt: skip
        return cls(log.drop_nulls().sort(TIME, maintain_order=True), n_events)

    def matrix(
        self,
        examples: pl.DataFrame,
        behavior: BehaviorFeatures,
        candidates: Embedded,
        encoder: TextEncoder,
        role: str,
        device: str,
    ) -> FeatureMatrix:
        """Cosine of the candidate to the weighted mean of the recent items, and the largest cosine to any of them.

        Events strictly before the example count. NaN where the user has none.
        """
        held = encoder.encode_distinct(self.log[_TEXT], role=role, device=device)
        timeline = Timeline(self.log, [_USER])
        users = key_values(examples[behavior.log.columns_of(("user",))[0]], "examples").alias(_USER).to_frame()
        times = microseconds(examples[behavior.log.timestamp], "examples").to_numpy()
        standing = timeline.stand(users, Moments(times))
        first, stop = standing.give(standing.start(Window.all())), standing.give(standing.stop)
        text_at = torch.from_numpy(held.index[timeline.rows])
        # Rows that see the same events (a user at one moment, with many candidates) share one history.
        # A user without an event yet stops where another user's events end, so those are told apart.
        seen = stop > first
        ends, row, history = np.unique(np.where(seen, stop, 0), return_index=True, return_inverse=True)
        ages = np.arange(self.n_events)
        places = ends[:, None] - 1 - ages
        present = torch.from_numpy(places >= first[row, None])
        recent = (
            text_at[torch.from_numpy(np.maximum(places, 0))]
            if len(text_at)
            else torch.zeros(places.shape, dtype=torch.int64)
        )
        weights = present * torch.from_numpy(0.5 ** (ages * 4 / self.n_events)).float()
        cosine = self._to_mean(held, recent, weights, candidates, torch.from_numpy(history))
        largest = self._to_nearest(held, recent, present, candidates, torch.from_numpy(history))
        unseen = torch.from_numpy(~seen).to(cosine.device)
        measured = torch.stack([cosine, largest], dim=1).masked_fill(unseen[:, None], torch.nan)
        return FeatureMatrix(measured if measured.is_cuda else measured.numpy(), interest_columns())

    def _to_mean(
        self, held: Embedded, recent: torch.Tensor, weights: torch.Tensor, candidates: Embedded, history: torch.Tensor
    ) -> torch.Tensor:
        """Cosine of each row's candidate to the weighted mean of its history."""
        device = held.vectors.device
        means = torch.empty((len(recent), held.vectors.shape[1]), device=device)
        step = max(1, _FLOATS // (self.n_events * held.vectors.shape[1]))
        for start in range(0, len(recent), step):
            block = slice(start, start + step)
            means[block] = torch.einsum("ned,ne->nd", held.vectors[recent[block].to(device)], weights[block].to(device))
        means /= means.norm(dim=1, keepdim=True).clamp_min(1e-9)
        index = torch.from_numpy(candidates.index)
        cosine = torch.empty(len(index), device=device)
        step = max(1, _FLOATS // held.vectors.shape[1])
        for start in range(0, len(index), step):
            block = slice(start, start + step)
            cosine[block] = (means[history[block].to(device)] * candidates.vectors[index[block].to(device)]).sum(dim=1)
        return cosine

    def _to_nearest(
        self, held: Embedded, recent: torch.Tensor, present: torch.Tensor, candidates: Embedded, history: torch.Tensor
    ) -> torch.Tensor:
        """Largest cosine of each row's candidate to any item of its history, from the cosines of distinct texts, a slab at a time."""
        device = held.vectors.device
        index = torch.from_numpy(candidates.index)
        largest = torch.full((len(index),), -1.0, device=device)
        slab = max(1, _FLOATS // max(1, len(held.vectors)))
        for low in range(0, len(candidates.vectors), slab):
            cosines = candidates.vectors[low : low + slab] @ held.vectors.T
            inside = torch.nonzero((index >= low) & (index < low + slab))[:, 0]
            for rows in inside.split(max(1, _FLOATS // self.n_events)):
                past = recent[history[rows]].to(device)
                found = cosines[(index[rows] - low).to(device)[:, None], past]
                absent = ~present[history[rows]].to(device)
                largest[rows.to(device)] = found.masked_fill(absent, -1.0).amax(dim=1)
        return largest


def interest_columns() -> tuple[Column, ...]:
    """The two columns of the group."""
    return (Column("recent_interest__cosine", GROUP), Column("recent_interest__max_cosine", GROUP))
