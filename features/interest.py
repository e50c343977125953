"""Interest: how a key's events spread over categories, lately and before, and where the candidate's category stands in that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from features.distribution import Categories, Spread
from features.errors import DeclarationError
from features.family import Declared, Key, as_key, key_name
from features.history import Batch
from features.window import Window
from features.windowed import KindFamily


@dataclass(frozen=True, kw_only=True, eq=False)
class Interest(KindFamily):
    """A key's distribution over categories in a short and in a long window, and how far the one has moved from the other.

    With ``n_c`` the key's events in category ``c`` in a window (all declared kinds together, those without a category left out) and
    ``p_c = n_c / sum n``:

    - ``{key}__{category}_entropy__{window}``, each window: ``-sum p_c ln p_c`` in nats; 0 for one category only.
    - ``{key}__{category}_top_share__{window}``, each window: the largest ``p_c``.
    - ``{key}__{category}_shift__{short}_{long}``: Jensen-Shannon divergence between the two windows in bits, from 0 (no change) to 1 (no
      category in common), as J. Lin defines it ("Divergence measures based on the Shannon entropy", 1991). The short window lies inside
      the long one.
    - ``{key}__{category}_share__{window}``, each window: the share of the candidate's category.
    - ``{key}__{category}_share_change__{short}_{long}``: the short window's less the long window's.
    - ``{key}__{category}_rank__{long}``: 1 and the number of categories with more events than the candidate's in the long window.

    All Float64. Null where a window that is needed holds no event; the last three also where the candidate has no category.

    A batch costs, in time, its distinct (key, moment) pairs times the categories that the key ever met: meant for categories, not for
    thousands of items. Memory is bounded.

    Parameters
    ----------
    category : str, default "category"
        Role or column of log and examples. The family describes the keys that it is no part of.
    short, long : str, default "7d" and "90d"
        Two windows, the short one shorter; the long one may be "all".
    """

    name: ClassVar[str] = "interest"

    category: str = "category"
    short: str | Window = "7d"
    long: str | Window = "90d"

    def __post_init__(self) -> None:
        super().__post_init__()
        short, long = Window.of(self.short), Window.of(self.long)
        if short.seconds is None or (long.seconds is not None and short.seconds >= long.seconds):
            raise DeclarationError(
                f"{self.name}: short={short.name!r} must be a shorter window than long={long.name!r}"
            )
        self._set(short=short, long=long)

    def describes(self, key: Key) -> bool:
        return self.category not in key

    def bound(self, declared: Declared) -> Self:
        bound = super().bound(declared)
        for key in map(as_key, bound.keys or ()):
            if not self.describes(key):
                raise DeclarationError(
                    f"{self.name}: key {key_name(key)!r} holds the category {self.category!r} itself; leave it out of the key"
                )
        return bound

    def log_parts(self) -> tuple[str, ...]:
        return (self.category,)

    def example_parts(self) -> tuple[str, ...]:
        return (self.category,)

    def columns(self, key: Key) -> list[str]:
        short, long = (Window.of(window).name for window in (self.short, self.long))
        names = [
            *(f"entropy__{window}" for window in (short, long)),
            *(f"top_share__{window}" for window in (short, long)),
            f"shift__{short}_{long}",
            *(f"share__{window}" for window in (short, long)),
            f"share_change__{short}_{long}",
            f"rank__{long}",
        ]
        return [f"{key_name(key)}__{self.category}_{name}" for name in names]

    def compute(self, key: Key, batch: Batch) -> Iterator[np.ndarray]:
        standing = batch.standing(key)
        categories = Categories.of(batch.history, key, self.category)
        # Many candidates share a key and a moment; examples stand sorted by them.
        begins = (np.diff(standing.codes, prepend=-2) != 0) | (np.diff(standing.times, prepend=0) != 0)
        of_example = np.cumsum(begins) - 1
        candidate, absent = np.empty((2, len(batch)), dtype=np.int64)
        place = standing.give(np.arange(len(batch)))
        candidate[place] = categories.pairs.codes_of(batch.examples)
        absent[place] = batch.values(self.category).is_null().to_numpy()
        found = np.full((9, len(batch)), np.nan)
        for spread in categories.spreads(standing.codes[begins], standing.times[begins]):
            first, last = np.searchsorted(of_example, [spread.low, spread.high])
            at = of_example[first:last] - spread.low
            begin = np.searchsorted(spread.moment, at)
            pair = candidate[first:last]
            row = np.where(pair >= 0, begin + categories.place[pair] if len(categories.place) else 0, -1)
            measured = self._measure(spread, at, row)
            measured[5:, absent[first:last] > 0] = np.nan
            found[:, first:last] = measured
        for values in found:
            yield standing.give(values)

    def _measure(self, spread: Spread, at: np.ndarray, row: np.ndarray) -> np.ndarray:
        """The features of examples, given the moment of each and the row of its candidate's category, -1 where the key never had it."""
        counts = spread.counts(self.kinds(), [Window.of(self.short), Window.of(self.long)])
        shares = [spread.shares(count) for count in counts]
        of_moment = [
            *(spread.entropy(share) for share in shares),
            *(spread.largest(share) for share in shares),
            spread.divergence(*shares),
        ]
        known = [np.where(np.isnan(top[at]), np.nan, 0.0) for top in of_moment[2:4]]
        short, long = (
            zero + np.where(row >= 0, np.append(share, 0.0)[row], 0.0)
            for zero, share in zip(known, shares, strict=True)
        )
        others = spread.total(counts[1] > 0)[at]
        rank = known[1] + np.where(row >= 0, np.append(spread.ranks(counts[1]), 0.0)[row], others + 1)
        return np.stack([*(values[at] for values in of_moment), short, long, short - long, rank])
