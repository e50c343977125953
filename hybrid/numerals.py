"""Numbers as a reader sees them: as many digits as they deserve, a true minus sign, "n/a" for what could not be computed.

What writes one number gives a `Numeral`, a text by whose value a table can sort.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from hybrid.languages import say

THIN = "\u202f"


class Numeral(str):
    """A number as text that still knows its value, by which tables sort it."""

    value: float

    def __new__(cls, text: str, value: float) -> Numeral:
        self = super().__new__(cls, text)
        self.value = float(value)
        return self


def number(value: float, *, decimals: int | None = None) -> str:
    """Write a number.

    Parameters
    ----------
    value : float
        NaN becomes "n/a".
    decimals : int, optional
        Digits after the point; by default four significant ones, without trailing zeros.
    """
    return Numeral(_digits(value, decimals), value)


def _digits(value: float, decimals: int | None) -> str:
    if math.isnan(value):
        return say("n/a")
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if decimals is not None:
        text = f"{value:,.{decimals}f}"
    elif value and not 1e-4 <= abs(value) < 1e15:
        text = f"{value:.2e}"
    else:
        places = 3 - math.floor(math.log10(abs(value))) if value else 0
        text = f"{value:,.{max(places, 0)}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", "−").replace(",", THIN)


def count(value: int) -> str:
    """Write a count with thin spaces between thousands."""
    return Numeral(f"{value:,}".replace(",", THIN), value)


def percent(share: float, *, decimals: int = 0) -> str:
    """Write a share as a percentage; a share above zero never reads as 0 %."""
    if math.isnan(share):
        return Numeral(say("n/a"), share)
    while share and decimals < 4 and abs(share) * 100 < 0.5 * 10**-decimals:
        decimals += 1
    return Numeral(f"{number(100 * share, decimals=decimals)}{THIN}%", share)


def interval(value: float, low: float, high: float, *, decimals: int) -> str:
    """Write a value with its interval: "0.213 (0.210 to 0.216)"."""
    if math.isnan(low) or math.isnan(high):
        return number(value, decimals=decimals)
    return Numeral(f"{number(value, decimals=decimals)} ({span(low, high, decimals=decimals)})", value)


def span(low: float, high: float, *, decimals: int) -> str:
    """Write an interval alone: "0.210 to 0.216"."""
    return say("{low} to {high}", low=number(low, decimals=decimals), high=number(high, decimals=decimals))


def decimals_for(widths: Iterable[float]) -> int:
    """Digits after the point for values whose intervals have these widths: two significant ones of the median width and at least one of
    the narrowest, from 2 to 6."""
    usable = sorted(w for w in widths if math.isfinite(w) and w > 1e-9)
    if not usable:
        return 4
    median, narrowest = usable[len(usable) // 2], usable[0]
    return min(6, max(2, 1 - math.floor(math.log10(median)), -math.floor(math.log10(narrowest))))


def decimals_to_scale(largest: float) -> int:
    """Digits after the point that show four significant ones of the largest value, from 0 to 8."""
    return min(8, max(0, 3 - math.floor(math.log10(largest)))) if largest > 0 else 4


def listed(items: Sequence[str]) -> str:
    """Write names as a list: "a, b and c"."""
    if len(items) == 1:
        return items[0]
    return say("{items} and {last}", items=say(", ").join(items[:-1]), last=items[-1])
