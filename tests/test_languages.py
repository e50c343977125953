"""The languages of reports: every sentence of the code has its translation, and no English is left on a Chinese page."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from shop import hybrid, shop

from hybrid.errors import ParameterError
from hybrid.languages import catalogue, languages, say, speaking
from tests.hostile_shop import searches, small_model
from tuning import tune

ROOT = Path(__file__).parent.parent
CHINESE = catalogue("zh")


def said(path: Path) -> Iterator[str]:
    """Every message that a file says: the text, or both texts of an if, in the call of `say`."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        for message in re.findall(r'say\("((?:[^"\\]|\\.)*)"', text):
            yield ast.literal_eval(f'"{message}"')
        return
    nodes = list(ast.walk(ast.parse(text)))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "hybrid.languages"]
    speakers = {"say", "message"} & {name.name for node in imports for name in node.names}
    if path.parent.name == "languages":
        speakers = {"say", "message"}
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in speakers:
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
    with pytest.raises(ParameterError, match="lang must be 'en', 'zh' or 'both', not 'de'"):
        languages("de")


class Words(HTMLParser):
    """All that a page says, aloud too; code, styles and scripts are no words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.silent = 0
        self.said: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.silent += tag in ("style", "script", "code")
        self.said += [
            value or "" for name, value in attrs if name in ("aria-label", "data-label", "data-all", "data-some")
        ]

    def handle_endtag(self, tag: str) -> None:
        self.silent -= tag in ("style", "script", "code")

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.said.append(data)


def chinese_pages(folder: Path) -> Iterator[str]:
    """Reports of two classes, of three, with a baseline and without refits, of one class and of a few rows; studies long and short."""
    frame, y = searches()
    model = small_model().fit(frame[:200], y[:200])
    other = model.predict_proba(frame[200:])[:, ::-1]
    wide = np.where(np.arange(400) % 3 == 0, "looks", y)
    three = small_model().fit(frame[:200], wide[:200])
    one = np.flatnonzero(y == y[0])[:40]
    reports = [
        model.report(frame[200:], y[200:], baseline={"the other": other}, ablation_folds=2),
        model.report(frame, y, slices=["a price"], ablation_folds=2),
        three.report(frame[200:], wide[200:], ablation_folds=0),
        model.report(frame[one], y[one], groups_of_rows="query"),
        model.report(frame[200:220], y[200:220], ablation_folds=2),
    ]
    for report in reports:
        yield report.save(folder / "report.html", lang="zh").read_text(encoding="utf-8")
    for trials in (1, 14):
        study = tune(small_model(), frame, y, cv="stratified", folds=2, n_trials=trials)
        study.report(folder / "study.html", lang="zh")
        yield (folder / "study.html").read_text(encoding="utf-8")


def test_a_chinese_page_has_no_english_sentence(tmp_path: Path) -> None:
    for html in chinese_pages(tmp_path):
        said = "\n".join(Words(html).said).replace("use query text", "")  # a parameter's name
        assert not re.findall(r"[A-Za-z’]+(?: [A-Za-z’]+){2,}", said)
        assert '<html lang="zh-Hans">' in html


def test_a_chinese_report_of_behaviour_and_a_head_has_no_english_word_in_its_values(tmp_path: Path) -> None:
    X, y, events = shop(900)
    unknown = np.arange(900) % 3 == 0
    price = X["price"].set(pl.Series(unknown), None)
    X, y = X.with_columns(price), np.where(unknown, np.random.default_rng(0).random(900) < 0.5, y)
    model = hybrid(head="auto").fit(X[:450], y[:450], events=events)
    report = model.report(X[450:], y[450:], slices=["price", "category"], query="query", ablation_folds=2)
    html = report.save(tmp_path / "report.html", lang="zh").read_text(encoding="utf-8")
    said = "\n".join(Words(html).said)
    for chinese in ("留出的对数损失：margin ", "price 缺失", f"xgboost，{model.booster_.best_iteration} 轮"):
        assert chinese in said
    own = {*X["query"].unique(), *model.head_.losses}  # what comes from the data, and an option's values
    said = re.sub("|".join(sorted(own)), "", said)
    assert not re.findall(r"[A-Za-z’]+(?: [A-Za-z’]+){2,}", said)
    assert not re.findall(r"\d [a-z]{2,}|\b(?:or|to) -?\d|[^（a-z](?:known|missing)\b", said)
    again = json.loads(report.save(tmp_path / "report.json").read_text(encoding="utf-8"))
    assert again["provenance"]["why so"] == model.head_.reason
    assert model.head_.reason.startswith("held-out log loss: margin ")
