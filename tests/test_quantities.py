"""Numbers and quantities: which spellings are one quantity, and how those of two texts compare."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid.quantities import UNITS, Quantities
from hybrid.texts import normalised

NAN = math.nan
UNIT = {unit: (dimension, size) for dimension, sizes in UNITS.items() for unit, size in sizes.items()}


def compare(query: str, title: str) -> list[float]:
    """Numbers, quantities and quantities that differ, of one pair."""
    texts = Quantities.of(normalised(pl.Series([query, title])))
    return texts.compare(np.array([0]), np.array([1]))[0].tolist()


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("500ml", "shampoo 0.5 l"),
        ("500 ML shampoo", "洗发水500毫升装"),
        ("洗发水５００毫升", "shampoo 500ml"),
        ("2tb drive", "2000 GB drive"),
        ('1/2" pipe', "0.5 in. pipe"),
        ("3-1/2 inch screws", "3.5in screws"),
        ("3½ inch screws", "screws, 3 1/2-inch"),
        ("2 foot shelf", "24 in. shelf"),
        ("18-volt drill", "drill 18V"),
        ("6 pack", "soda (6-Pack)"),
        ("rug 5'x7'", "5 ft. x 7 ft. rug"),
        ("24x30 in", "30 in. W x 24 in. H"),
        ("1,000 sq ft", "covers 1000 sq. ft."),
        ("16 fl oz", "16 fl. oz. can"),
        ("2斤", "1公斤"),
        ("55寸电视", "55 inch tv"),
        (".5 gal", "1/2 gallon"),
        ("500g", "500 g装"),
    ],
)
def test_one_quantity_however_it_is_written(query, title):
    assert compare(query, title)[1:] == [1, 0]
    assert compare(title, query)[1:] == [1, 0]


@pytest.mark.parametrize(
    ("query", "title", "expected"),
    [
        ("18 x 18 tile", "18 in. x 18 in. tile", [1, NAN, NAN]),
        ("18 x 12 tile", "18 in. x 18 in. tile", [0.5, NAN, NAN]),
        ("500ml", "250 ml", [0, 0, 1]),
        ("500ml", "bottle of 500", [1, 0, 0]),
        ("500ml", "500 g", [1, 0, 0]),
        ("2 in x 4 in x 8 ft", "2 in. x 6 in. x 8 ft.", [2 / 3, 2 / 3, 1 / 3]),
        ("xbox360", "x box 360", [1, NAN, NAN]),
        ("madden nfl 12", "Madden NFL 13", [0, NAN, NAN]),
        ("2-in-1 tool", "2 in. tool", [0.5, NAN, NAN]),
        ("2011", "2012", [0, NAN, NAN]),
        ("no number", "1 in.", [NAN, NAN, NAN]),
        ("1 in.", "no number", [0, 0, 0]),
        ("1 in.", "", [0, 0, 0]),
        ("", "", [NAN, NAN, NAN]),
        ("12 institutes", "12 in.", [1, NAN, NAN]),
    ],
)
def test_shares_of_the_querys_numbers_and_quantities(query, title, expected):
    assert compare(query, title) == pytest.approx(expected, nan_ok=True)


quantity = st.tuples(st.sampled_from([1, 2, 3, 5, 8, 12, 18, 24, 500]), st.sampled_from(sorted(UNIT)))


def written(said: list[tuple[int, str]]) -> str:
    return " and ".join(f"{number} {unit}" for number, unit in said)


@given(st.lists(quantity, max_size=4), st.lists(quantity, max_size=4))
@settings(max_examples=150, deadline=None)
def test_shares_equal_those_of_sets(query, title):
    def measured(said: list[tuple[int, str]]) -> set[tuple[str, int]]:
        return {(UNIT[unit][0], round(1e3 * math.log(number * UNIT[unit][1]))) for number, unit in said}

    asked, held = measured(query), measured(title)
    differ = {one for one in asked if one not in held and one[0] in {dimension for dimension, _ in held}}
    numbers = {number for number, _ in query}
    expected = [
        len(numbers & {number for number, _ in title}) / len(numbers) if query else NAN,
        len(asked & held) / len(asked) if query else NAN,
        len(differ) / len(asked) if query else NAN,
    ]
    assert compare(written(query), written(title)) == pytest.approx(expected, nan_ok=True)


@given(st.lists(st.text(alphabet="0123456789/.,x×*- '\"inmlft毫升½²٣\n", max_size=30), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_anything_made_of_digits_and_signs_is_read(texts):
    found = Quantities.of(normalised(pl.Series(texts)))
    each = np.arange(len(texts))
    own = found.compare(each, each)
    assert np.isin(own[~np.isnan(own)], (0, 1)).all()
    assert (own[:, 0] == 1).tolist() == [any(c in "0123456789½²" for c in text) for text in texts]
