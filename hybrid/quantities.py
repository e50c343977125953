"""Numbers and measured quantities in texts: "1-1/2 in.", "18 x 24 cm", "2TB", "500毫升", brought to one unit each."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import polars as pl

from hybrid.terms import Terms

INCH, POUND = 0.0254, 0.45359237
# One dimension each, spelling to size in its base unit. A quart and a gallon are the United States' ones.
UNITS: dict[str, dict[str, float]] = {
    "length": {
        **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres", "毫米"), 0.001),
        **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre", "centimetres", "厘米", "公分"), 0.01),
        **dict.fromkeys(("m", "meter", "meters", "metre", "metres", "米"), 1.0),
        **dict.fromkeys(("km", "kilometer", "kilometers", "公里", "千米"), 1000.0),
        **dict.fromkeys(("in", "inch", "inches", '"', "''", "′′", "”", "英寸", "寸"), INCH),
        **dict.fromkeys(("ft", "foot", "feet", "'", "′", "’", "英尺"), 12 * INCH),
        **dict.fromkeys(("yd", "yard", "yards"), 36 * INCH),
    },
    "area": {
        **dict.fromkeys(("sq ft", "sq. ft", "square feet", "square foot"), (12 * INCH) ** 2),
        **dict.fromkeys(("sq in", "sq. in"), INCH**2),
        **dict.fromkeys(("sq m", "square meters", "平方米", "平米"), 1.0),
    },
    "volume": {
        **dict.fromkeys(("ml", "milliliter", "milliliters", "millilitre", "millilitres", "cc", "毫升"), 0.001),
        **dict.fromkeys(("cl", "centiliter", "centilitre"), 0.01),
        **dict.fromkeys(("l", "liter", "liters", "litre", "litres", "升", "公升"), 1.0),
        **dict.fromkeys(("fl oz", "fl. oz", "fluid ounce", "fluid ounces"), 0.0295735295625),
        **dict.fromkeys(("qt", "quart", "quarts"), 0.946352946),
        **dict.fromkeys(("gal", "gallon", "gallons", "加仑"), 3.785411784),
        **dict.fromkeys(("cu ft", "cu. ft", "cubic feet", "cubic foot"), 28.316846592),
    },
    "mass": {
        **dict.fromkeys(("mg", "毫克"), 0.000001),
        **dict.fromkeys(("g", "gr", "gram", "grams", "克"), 0.001),
        **dict.fromkeys(("kg", "kgs", "kilo", "kilos", "kilogram", "kilograms", "千克", "公斤"), 1.0),
        **dict.fromkeys(("斤",), 0.5),
        **dict.fromkeys(("oz", "ounce", "ounces", "盎司"), POUND / 16),
        **dict.fromkeys(("lb", "lbs", "pound", "pounds", "磅"), POUND),
    },
    "data": {
        **dict.fromkeys(("mb", "megabyte", "megabytes"), 0.001),
        **dict.fromkeys(("gb", "gig", "gigabyte", "gigabytes"), 1.0),
        **dict.fromkeys(("tb", "terabyte", "terabytes"), 1000.0),
    },
    "power": {
        **dict.fromkeys(("w", "watt", "watts", "瓦"), 1.0),
        **dict.fromkeys(("kw", "kilowatt", "kilowatts", "千瓦"), 1000.0),
        **dict.fromkeys(("hp", "horsepower", "匹"), 745.7),
    },
    "voltage": dict.fromkeys(("v", "volt", "volts", "伏"), 1.0),
    "current": dict.fromkeys(("amp", "amps", "安"), 1.0),
    "charge": {"mah": 0.001, "毫安": 0.001, "ah": 1.0},
    "frequency": {"hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9},
    "heat": dict.fromkeys(("btu", "btus"), 1.0),
    "pieces": dict.fromkeys(
        (
            "pack",
            "packs",
            "pk",
            "ct",
            "count",
            "pc",
            "pcs",
            "piece",
            "pieces",
            "片",
            "包",
            "只",
            "支",
            "件",
            "个",
            "瓶",
            "盒",
        ),
        1.0,
    ),
}
_DIMENSIONS = tuple(UNITS)
_SIZES = {
    unit: (_DIMENSIONS.index(dimension), size) for dimension, sizes in UNITS.items() for unit, size in sizes.items()
}

_NUMBER = r"(?:[0-9]+[ -])?[0-9]+/[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]*\.?[0-9]+"
_FRACTION = r"^(?:([0-9]+)[ -])?([0-9]+)/([0-9]+)$"


def _one_of(units: list[str]) -> str:
    """Longer ones first, since the first that fits is taken."""
    return "|".join(re.escape(unit).replace(r"\ ", "[ -]") for unit in sorted(units, key=len, reverse=True))


# A unit in letters ends where its word does; signs and Chinese units end by themselves.
_SPELT = [unit for unit in _SIZES if unit[0].isascii() and unit[0].isalpha()]
_UNIT = rf"(?:(?:{_one_of(_SPELT)})\b|{_one_of([unit for unit in _SIZES if unit not in _SPELT])})"
# "24 x 30 x 12 in": the unit belongs to all three.
_QUANTITY = rf"(?:{_NUMBER})(?: ?[x×*] ?(?:{_NUMBER}))*(?:[ -]?{_UNIT})?"
_ONE_IN_ANOTHER = r"([0-9])[ -]?in[ -]?(?:1|one)\b"  # "2-in-1" is no length
_SMALLEST, _LARGEST = 1e-9, 1e15


@dataclass(frozen=True)
class Quantities:
    """Numbers and quantities of texts.

    Parameters
    ----------
    numbers : Terms
        Every number, whatever follows it.
    measured : Terms
        Numbers with a unit, in the dimension's base unit and to about one part in a thousand: "500ml" and "0.5 l" are one term.
    dimensions : Terms
        Dimensions of ``measured``, counted.
    """

    numbers: Terms
    measured: Terms
    dimensions: Terms

    @classmethod
    def of(cls, texts: pl.Series) -> Quantities:
        """Find the quantities of normalised texts."""
        found = texts.str.replace_all(_ONE_IN_ANOTHER, "$1 1").str.replace_all(r"([a-z])(\p{Han})", "$1 $2")
        found = found.str.extract_all(_QUANTITY)
        spelt = found.explode(empty_as_null=False).to_arrow().dictionary_encode()
        spellings = pl.Series(spelt.dictionary, dtype=pl.String)  # few, so each is read once
        said = Terms.of(spelt.indices.to_numpy(), found.list.len().to_numpy(), len(spellings))
        number = _read(spellings)
        at, value = number["spelling"].to_numpy(), number["value"].to_numpy()
        plain, code = np.unique(np.rint(np.log(value) * 1e7), return_inverse=True)
        numbers = said.through(Terms.of(code, np.bincount(at, minlength=len(spellings)), len(plain)))
        has = number["dimension"].is_not_null().to_numpy()
        dimension = number["dimension"].to_numpy()[has].astype(np.int64)
        step = np.rint(np.log(value[has] * number["size"].to_numpy()[has]) * 1e3).astype(np.int64)
        quantity, code = np.unique(step * len(UNITS) + dimension, return_inverse=True)
        measured = said.through(Terms.of(code, np.bincount(at[has], minlength=len(spellings)), len(quantity)))
        dimensions = Terms.of((quantity % len(UNITS))[measured.counts.indices], measured.sizes, len(UNITS))
        return cls(numbers, measured, dimensions)

    def compare(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Agreement of the pairs (``left[i]``, ``right[i]``) of texts.

        Returns
        -------
        numpy.ndarray of float64, shape (n_pairs, 3)
            The share of the first text's numbers that the second has, NaN without numbers; the share of its quantities that the
            second has; and the share that the second contradicts: it has that dimension, but not that value. Both NaN without quantities.
        """
        compared = np.full((len(left), 3), np.nan)
        asked = np.flatnonzero(self.numbers.sizes[left])
        has = left[asked], right[asked]
        compared[asked, 0] = self.numbers.n_shared(*has) / self.numbers.sizes[has[0]]
        asked = np.flatnonzero(self.measured.sizes[left])
        has = left[asked], right[asked]
        size = self.measured.sizes[has[0]]
        agreed = self.measured.n_shared(*has)
        counts = self.dimensions.counts.data
        comparable = [shared.sum(counts[shared.at]) for shared in self.dimensions.shared(*has[::-1])]
        compared[asked, 1] = agreed / size
        compared[asked, 2] = (np.concatenate([*comparable, np.zeros(0)]) - agreed) / size
        return compared


def _read(spellings: pl.Series) -> pl.DataFrame:
    """Numbers of each spelling, in order: ``spelling`` (its position), ``value``, and ``dimension`` and ``size`` of the unit, if any."""
    unit = pl.col("spelt").str.extract(rf"({_UNIT})$").str.replace_all("-", " ", literal=True)
    dimension, size = ({name: at[i] for name, at in _SIZES.items()} for i in (0, 1))
    numbers = (
        pl.DataFrame({"spelt": spellings})
        .with_row_index("spelling")
        .select("spelling", pl.col("spelt").str.extract_all(_NUMBER), unit=unit)
        .explode("spelt")
    )
    whole, above, below = (pl.col("spelt").str.extract(_FRACTION, group).cast(pl.Float64) for group in (1, 2, 3))
    plain = pl.col("spelt").str.replace_all(",", "", literal=True).cast(pl.Float64, strict=False)
    value = pl.coalesce(plain, whole.fill_null(0) + above / below)
    return numbers.select(
        pl.col("spelling").cast(pl.Int64),
        value=value.fill_nan(0).clip(_SMALLEST, _LARGEST),
        dimension=pl.col("unit").replace_strict(dimension, default=None, return_dtype=pl.Int64),
        size=pl.col("unit").replace_strict(size, default=None, return_dtype=pl.Float64),
    )
