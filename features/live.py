"""The incremental twin of behaviour features: events come one by one, features are asked for now."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from features.event_log import has_zone, key_values, sorted_by_time
from features.frames import Frame, answer_in_kind, require_columns, require_rows, to_polars

if TYPE_CHECKING:
    from features.behavior import BehaviorFeatures


class LiveFeatures:
    """Features as of now, from the fitted log and every event observed since.

    The arithmetic is the batch's own: a request gathers the events of the keys that it asks about and transforms those, so a
    request costs time with the history of its keys, not with the log; only families that read the whole log (similar keys, a rate
    that backs off to all events) make it cost more. Made by ``BehaviorFeatures.live()``.

    Examples
    --------
    >>> import polars as pl
    >>> from datetime import datetime
    >>> from features import BehaviorFeatures, EventLog
    >>> events = pl.DataFrame({"user": ["ann"], "ts": [datetime(2026, 1, 1)]})
    >>> live = BehaviorFeatures(EventLog(user="user", timestamp="ts"), ["user"], ["1h"]).fit(events).live()
    >>> live.observe(pl.DataFrame({"user": ["ann"], "ts": [datetime(2026, 1, 2, 12)]}))
    >>> live.features(pl.DataFrame({"user": ["ann"]}), now=datetime(2026, 1, 2, 12, 30))["user__event__1h"].to_list()
    [1]
    """

    def __init__(self, behavior: BehaviorFeatures) -> None:
        self._behavior = behavior.with_log(behavior.log_)
        self._observed: list[pl.DataFrame] = []
        self._n_observed = 0

    def observe(self, events: Frame) -> None:
        """Take in events of any time, in any order.

        Raises
        ------
        ColumnError, TimestampError, EmptyFrameError
            As ``BehaviorFeatures.fit``; nothing of the frame is then taken in.
        """
        log = self._behavior.read(events)
        self._observed.append(log)
        self._n_observed += log.height
        # Merging costs the whole log, so it waits until the new events are a tenth of it: constant work an event, spread.
        if self._n_observed > max(10_000, self._behavior.log_.height // 10):
            self._merge()

    def features(self, candidates: Frame, now: datetime) -> Frame:
        """Features of each candidate as of ``now``.

        Parameters
        ----------
        candidates : frame with the key columns of the log
        now : datetime.datetime
            With a time zone exactly if the log has one. Events at or after it do not count.

        Returns
        -------
        frame of the same kind, one row a candidate, in order
            Equal to ``BehaviorFeatures.transform`` over all events fitted and observed.
        """
        frame = to_polars(candidates, "candidates")
        behavior = self._behavior
        require_columns(frame, behavior.key_columns(), "candidates")
        require_rows(frame, "candidates")
        keyed = frame.select(key_values(frame[name], "candidates") for name in behavior.key_columns())
        examples = keyed.with_columns(pl.lit(now).alias(behavior.log.timestamp))
        behavior.check_zone(has_zone(examples[behavior.log.timestamp]), "now")
        return answer_in_kind(self._behind(keyed).compute(examples), candidates)

    def _behind(self, keyed: pl.DataFrame) -> BehaviorFeatures:
        """The features over as much of the log as these keys need."""
        behavior = self._behavior
        needed = {reads for key, family in behavior.plan() for reads in [family.reads(key)]}
        if None in needed:
            self._merge()
            return self._behavior
        keys = {key for reads in needed for key in reads or ()}
        rows = np.unique(np.concatenate([behavior.history_.timeline(key).rows_of(keyed) for key in sorted(keys)]))
        log = sorted_by_time(pl.concat([behavior.log_[rows], *self._observed]))
        return behavior.with_log(log)

    def _merge(self) -> None:
        if self._observed:
            self._behavior = self._behavior.with_log(pl.concat([self._behavior.log_, *self._observed]))
            self._observed, self._n_observed = [], 0
