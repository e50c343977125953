"""Interest migration: who turned from which categories to which, period by period."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from scipy import sparse

from features.distribution import Categories, Spread
from features.errors import DeclarationError, EmptyFrameError, TimestampError
from features.event_log import EventLog, has_zone, microseconds
from features.family import as_key
from features.frames import Frame, to_polars
from features.history import History
from features.timeline import MICROSECONDS
from features.window import Window

_MONDAY = 4 * 86_400 * MICROSECONDS  # 5 January 1970, the first Monday that times are counted from
_LEAST = 1e-12  # a share that differs by less has not moved


@dataclass(frozen=True, eq=False)
class InterestMigration:
    """What ``interest_migration`` found.

    Parameters
    ----------
    users : polars.DataFrame
        A row a key and period in which it had an event, sorted: the key's columns; ``period``, its start; ``events``; ``entropy`` of the
        period's distribution over categories, in nats; ``shift``, the Jensen-Shannon divergence in bits between it and the window
        before the period; ``gaining`` and ``losing``, the categories whose share rose and fell most against that window; and ``top``,
        the one with the largest share of the period. Shift, gaining and losing are null where that window is empty, gaining and losing
        also where nothing moved.
    matrix : polars.DataFrame
        ``from`` and ``to``, two categories; ``weight``, how much share moved from the one to the other, summed over keys and periods (1 is
        the whole interest of one key in one period); ``events``, the same with each period's share times its events; ``net``, these
        events less those that moved back. Sorted by weight, largest first.
    """

    users: pl.DataFrame
    matrix: pl.DataFrame


def interest_migration(
    events: Frame,
    log: EventLog,
    *,
    category: str = "category",
    key: str | Sequence[str] = "user",
    kinds: Sequence[str] | None = None,
    period: str | Window = "1w",
    long: str | Window = "90d",
    since: datetime | None = None,
    until: datetime | None = None,
) -> InterestMigration:
    """Compare each key's distribution over categories in each period with that in the window before the period.

    What moved between two categories is not observed, only each one's gain and loss, so a proportional rule fills in the rest: with
    gains ``g`` and losses ``l``, which sum to the same ``G``, the share ``l_a g_b / G`` moved from ``a`` to ``b``. Periods with few events
    move back and forth by chance: ``weight`` sums that up, ``net`` cancels it. Net is of events, since in shares a category that is
    bought alone, on small errands, would seem to gain from all others for ever.

    Parameters
    ----------
    events : frame
        The log.
    log : EventLog
        Its columns.
    category : str, default "category"
        Role or column whose values are the categories; events without one are left out.
    key : str or sequence of str, default "user"
    kinds : sequence of str, optional
        Kinds of event. Default: all.
    period : str, default "1w"
        Length of the periods. They follow each other from a Monday at midnight, in UTC where timestamps have a time zone.
    long : str, default "90d"
        The window before each period; "all" for everything before.
    since, until : datetime.datetime, optional
        Report only the periods that begin at or after the one and before the other, with a time zone exactly if the log has one. Earlier
        events still count in the windows before them.

    Raises
    ------
    ColumnError, TimestampError, EmptyFrameError, DeclarationError

    Examples
    --------
    >>> import polars as pl
    >>> from datetime import datetime
    >>> events = pl.DataFrame({
    ...     "user": ["ann"] * 2, "category": ["tents", "skis"], "ts": [datetime(2026, 8, 3), datetime(2026, 10, 12)],
    ... })
    >>> moved = interest_migration(events, EventLog(user="user", timestamp="ts"))
    >>> moved.matrix.row(0)
    ('tents', 'skis', 1.0, 1.0, 1.0)
    """
    span, before, parts = Window.of(period), Window.of(long), as_key(key)
    if span.seconds is None:
        raise DeclarationError("interest migration: period='all' must be a length of time such as '1w'")
    if category in parts:
        raise DeclarationError(f"interest migration: the key holds the category {category!r} itself")
    history = History(log.read(events, log.columns_of((*parts, category))), log)
    categories = Categories.of(history, parts, category)
    kinds = history.kinds(kinds, "interest migration")
    length = span.seconds * MICROSECONDS
    codes, ends = _periods(categories, kinds, length)
    stamps = to_polars(events, "events")[log.timestamp]
    asked = (ends - length >= _bound(since, stamps, -np.inf)) & (ends - length < _bound(until, stamps, np.inf))
    codes, ends = codes[asked], ends[asked]
    names = categories.pairs.keys[history.column(category)]
    flow = _Flow(names)
    rows = [_measure(spread, kinds, span, before, names, flow) for spread in categories.spreads(codes, ends)]
    if not rows:
        raise EmptyFrameError(f"interest migration: no event of the periods has a key and a category in {category!r}")
    starts = pl.from_epoch(pl.Series("period", ends - length), time_unit="us")
    if isinstance(stamps.dtype, pl.Datetime) and stamps.dtype.time_zone is not None:
        starts = starts.dt.replace_time_zone("UTC").dt.convert_time_zone(stamps.dtype.time_zone)
    users = pl.concat([categories.own.keys[codes].with_columns(starts), pl.concat(rows)], how="horizontal")
    return InterestMigration(users.sort(*log.columns_of(parts), "period"), flow.matrix())


def _bound(asked: datetime | None, stamps: pl.Series, default: float) -> float:
    """A bound of the periods in microseconds, as the log's times are."""
    if asked is None:
        return default
    bound = pl.Series("bound", [asked])
    if has_zone(bound) != has_zone(stamps):
        words = ("have none", "have a time zone")
        raise TimestampError(
            f"interest migration: timestamps of events {words[has_zone(stamps)]}, the bound {asked} is not so"
        )
    return int(microseconds(bound, "bound")[0])


def _periods(categories: Categories, kinds: Sequence[str], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Key code and end of each period in which a key had an event."""
    pairs = categories.pairs
    held = pairs.of_kinds(kinds)
    periods = (pairs.times[held] - _MONDAY) // length
    first = periods.min(initial=0)
    stride = int(periods.max(initial=0) - first) + 1
    codes, places = np.divmod(np.unique(categories.owner[pairs.codes[held]] * stride + (periods - first)), stride)
    return codes, (places + first + 1) * length + _MONDAY


def _measure(
    spread: Spread, kinds: Sequence[str], span: Window, before: Window, names: pl.Series, flow: _Flow
) -> pl.DataFrame:
    """A row for each period of a block; what moved is added to the flow."""
    (counts,) = spread.counts(kinds, [span])
    (past,) = spread.counts(kinds, [before], earlier=(span.seconds or 0) * MICROSECONDS)
    share, had = spread.shares(counts), spread.shares(past)
    change = share - had
    flow.add(spread, change, counts)
    alphabet = names.rank("dense").to_numpy()[spread.pair]
    foremost = {
        "gaining": (change, spread.largest(change) > _LEAST),
        "losing": (-change, spread.largest(-change) > _LEAST),
        "top": (share, np.ones(spread.high - spread.low, dtype=bool)),
    }
    begins = np.flatnonzero(np.diff(spread.moment, prepend=-1))
    found = {}
    for name, (values, is_any) in foremost.items():
        pair = spread.pair[np.lexsort((alphabet, -values, spread.moment))[begins]]
        found[name] = names.gather(pl.Series(pair).set(pl.Series(~is_any), None))
    return pl.DataFrame({
        "events": spread.total(counts).astype(np.int64),
        "entropy": spread.entropy(share),
        "shift": pl.Series(spread.divergence(share, had), nan_to_null=True),
        **found,
    })  # fmt: skip


class _Flow:
    """Share that moved between categories, summed up."""

    def __init__(self, names: pl.Series) -> None:
        self._categories = names.unique().sort()
        self._code = names.rank("dense").to_numpy().astype(np.int64) - 1
        self._moved = [sparse.csr_array((len(self._categories),) * 2, dtype=np.float64)] * 2

    def add(self, spread: Spread, change: np.ndarray, counts: np.ndarray) -> None:
        """Distribute the losses of each moment over its gains, in proportion; once in shares and once in events."""
        moved = np.where(np.abs(change) > _LEAST, change, 0.0)  # False for NaN, where there was nothing before
        gains, losses = np.maximum(moved, 0.0), np.maximum(-moved, 0.0)
        gained = spread.total(gains)[spread.moment]
        parts = np.divide(gains, gained, out=np.zeros(len(gains)), where=gained > 0)
        lost = losses, losses * spread.total(counts)[spread.moment]
        self._moved = [
            moved + self._by_moment(spread, values).T @ self._by_moment(spread, parts)
            for moved, values in zip(self._moved, lost, strict=True)
        ]

    def _by_moment(self, spread: Spread, values: np.ndarray) -> sparse.csr_array:
        """A matrix of moments by categories."""
        shape = spread.high - spread.low, len(self._categories)
        table = sparse.csr_array((values, (spread.moment, self._code[spread.pair])), shape)
        table.eliminate_zeros()
        return table

    def matrix(self) -> pl.DataFrame:
        """The pairs of categories between which anything moved."""
        shares, events = (self._pairs(moved) for moved in self._moved)
        events = events.rename({"moved": "events"})
        back = events.select(source="target", target="source", back="events")
        places = ["source", "target"]
        both = shares.join(events, on=places, how="left").join(back, on=places, how="left")
        both = both.sort("moved", *places, descending=[True, False, False])
        return both.select(
            self._categories.gather(both["source"]).alias("from"),
            self._categories.gather(both["target"]).alias("to"),
            pl.col("moved").alias("weight"),
            "events",
            (pl.col("events") - pl.col("back").fill_null(0.0)).alias("net"),
        )

    @staticmethod
    def _pairs(moved: sparse.csr_array) -> pl.DataFrame:
        found = moved.tocoo()
        found.eliminate_zeros()
        source, target = found.coords
        return pl.DataFrame({"source": source, "target": target, "moved": found.data})
