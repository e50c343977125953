"""Imports run one way: features <- hybrid <- tuning <- intentree."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ORDER = ["features", "hybrid", "tuning", "intentree"]
ROOT = Path(__file__).parent.parent


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("package", ORDER)
def test_no_package_imports_one_that_builds_on_it(package):
    above = set(ORDER[ORDER.index(package) + 1 :])
    files = list((ROOT / package).rglob("*.py"))
    assert files
    wrong = {f"{path.relative_to(ROOT)} imports {name}" for path in files for name in imported(path) & above}
    assert not wrong
