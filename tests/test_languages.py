"""The languages of reports: every sentence of the code has its translation, and no English is left on a Chinese page."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hybrid.errors import ParameterError
from hybrid.languages import catalogue, say, speaking

ROOT = Path(__file__).parent.parent
CHINESE = catalogue("zh")


def said(path: Path) -> Iterator[str]:
    """Every message that a file says: the text, or both texts of an if, in the call of `say`."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        for message in re.findall(r'say\("((?:[^"\\]|\\.)*)"', text):
            yield ast.literal_eval(f'"{message}"')
        return
    if "from hybrid.languages import" not in text and path.parent.name != "languages":
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("say", "message"):
            argument = node.args[0]
            for option in (argument.body, argument.orelse) if isinstance(argument, ast.IfExp) else (argument,):
                if isinstance(option, ast.Constant):
                    yield option.value


MESSAGES = {
    message: path.name
    for package in ("hybrid", "tuning")
    for path in sorted((ROOT / package).rglob("*"))
    if path.suffix in (".py", ".html")
    for message in said(path)
}


def placeholders(message: str) -> list[str]:
    return sorted(re.findall(r"\{+(\w+)\}+", message))


def test_every_message_is_translated_with_the_same_placeholders() -> None:
    assert len(MESSAGES) > 80
    assert {message: file for message, file in MESSAGES.items() if message not in CHINESE} == {}
    for message, translation in CHINESE.items():
        assert placeholders(translation) == placeholders(message), message


def test_a_translation_that_looks_english_is_a_name() -> None:
    same = {message for message, text in CHINESE.items() if not re.search(r"[\u4e00-\u9fff，、（）：]", text)}
    assert not {message for message in same if len(re.findall(r"[A-Za-z]{3,}", message)) > 2}


def test_speaking_lasts_as_long_as_its_block() -> None:
    with speaking("zh"):
        with speaking("en"):
            assert say("{n} rows", n=3) == "3 rows"
        assert say("{n} rows", n=3) == "3 行"
    assert say("{n} rows", n=3) == "3 rows"


def test_an_unknown_language_is_named() -> None:
    with pytest.raises(ParameterError, match="lang must be one of 'en', 'zh', not 'de'"), speaking("de"):
        pass
