"""What holds for every family of behaviour features: a name in the API, a section in the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

import features
from features.families import FAMILIES

PAGE = Path(__file__).parents[1] / "docs" / "behaviour-features.md"
BY_PARAMETER = {"count", "sum", "distinct count", "recency", "gap"}  # declared by parameters of BehaviorFeatures


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - BY_PARAMETER))
def test_every_family_is_documented_and_public(name):
    page = PAGE.read_text(encoding="utf-8")
    kind = FAMILIES[name]
    assert getattr(features, kind.__name__) is kind
    assert f'`{kind.__name__}` ("{name}")' in page
