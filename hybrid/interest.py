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
_BLOCK = 8_192


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
        text_at = held.index[timeline.rows]
        measured = torch.full((len(times), 2), float("nan"), device=candidates.vectors.device)
        ages = np.arange(self.n_events)
        weights = torch.from_numpy(0.5 ** (ages * 4 / self.n_events)).float().to(measured.device)
        for start in range(0, len(times), _BLOCK):
            rows = slice(start, min(start + _BLOCK, len(times)))
            places = stop[rows, None] - 1 - ages
            present = torch.from_numpy(places >= first[rows, None]).to(measured.device)
            recent = held.vectors[torch.from_numpy(text_at.take(places, mode="clip")).to(measured.device)]
            candidate = candidates.vectors[torch.from_numpy(candidates.index[rows]).to(measured.device)]
            cosines = torch.einsum("ned,nd->ne", recent, candidate)
            mean = torch.einsum("ned,ne->nd", recent, present * weights)
            length = mean.norm(dim=1).clamp_min(1e-9)
            seen = present.any(dim=1)
            measured[rows, 0] = torch.where(seen, (mean * candidate).sum(dim=1) / length, torch.nan)
            measured[rows, 1] = torch.where(seen, cosines.masked_fill(~present, -1.0).amax(dim=1), torch.nan)
        return FeatureMatrix(measured if measured.is_cuda else measured.numpy(), interest_columns())


def interest_columns() -> tuple[Column, ...]:
    """The two columns of the group."""
    return (Column("recent_interest__cosine", GROUP), Column("recent_interest__max_cosine", GROUP))
