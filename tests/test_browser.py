"""Reports in a browser: they open from disk, alone, on a phone and a desk, and do what a reader clicks.

They need Debian's Chromium or Google Chrome, which `apt-get install chromium` brings.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, expect, sync_playwright
from playwright.sync_api import Page as Tab

from hybrid import ImportanceReport
from hybrid.charts import Series, box, line_chart, spark
from hybrid.numerals import number
from hybrid.pages import (
    Cell,
    Code,
    Details,
    Figure,
    KeyFigure,
    Matrix,
    Page,
    Points,
    Section,
    Table,
    Tabs,
    Text,
    render,
)
from tests.hostile_shop import HOSTILE, searches, small_model
from tuning import tune

AMOUNTS = [9.5, 1200.0, -3.0, 10.0, 2e-7, float("nan"), 0.25, 100.0, -20.0, 33.0, 47.0, 61.0, 5.0, 80.0]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome is found: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    arguments = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as started:
        yield started.chromium.launch(executable_path=CHROMIUM, args=arguments)


@pytest.fixture(scope="module")
def report() -> ImportanceReport:
    frame, y = searches()
    fitted = small_model().fit(frame[:200], y[:200])
    return fitted.report(frame[200:], y[200:], ablation_folds=2, title=f"Title {HOSTILE}")


def everything() -> str:
    """A page with every kind of block."""
    rows = [
        [f"row {i}", Cell(number(value), "a third" if i % 3 == 0 else "other", share=i / 20)]
        for i, value in enumerate(AMOUNTS)
    ]
    pictures = [
        [HOSTILE, Cell("", picture=spark([1, 5, 2])), "unbroken" * 40],
        *([f"column {i}", Cell("", picture=box(0, 1, 2, i, 9 + i)), "b"] for i in range(4)),
    ]
    sizes = np.arange(-40.0, 41.0, 10.0)
    lines = [Series(f"series {i}", [1, 2, 3], [i, i + 1, i], [i - 1] * 3, [i + 1] * 3) for i in range(4)]
    chart = line_chart(lines, title="Lines", x_label="x", y_label="y")
    sections = [
        Section("Sorted", [Table("Amounts.", ["name", "amount"], rows)]),
        Section("Same", [Table("Pictures.", ["name", "distribution", "group"], pictures, words=(0, 2))]),
        Section("Shades", [Matrix("All shades.", ["a"] * 9, ["long name"] * 9, [sizes.tolist()] * 9, "down, across")]),
        Section("Same", [Tabs([("First", [Figure([chart], "How to read.")]), ("Second", [Text(["Behind a tab."])])])]),
        Section("Kept back", [Details("More of it", [Points([("Lead.", "Inside details.")])])]),
        Section("Lines", [Code('[model]\nbooster = "xgboost"', "To copy.")]),
    ]
    figures = [KeyFigure("loss", "0.1", "note"), KeyFigure("rows", "5")]
    return render(Page("Everything", "Every kind of block", ["One.", "Two."], figures, sections))


@pytest.fixture(scope="module")
def files(report: ImportanceReport, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    frame, y = searches()
    tune(small_model(), frame, y, cv="stratified", folds=2, n_trials=12).report(folder / "study.html", title=HOSTILE)
    report.save(folder / "report.html")
    report.save(folder / "chinese.html", lang="zh")
    report.save(folder / "both.html", lang="both")
    (folder / "everything.html").write_text(everything(), encoding="utf-8")
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture
def opened(browser: Browser, files: dict[str, Path]) -> Iterator[Callable[..., Tab]]:
    """Opens a page as a reader does who is offline, and sees to it that nothing went wrong by the end."""
    contexts, wrong = [], []

    def open_page(name: str | Path, width: int = 1440, **options: object) -> Tab:
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)  # type: ignore[arg-type]
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: wrong.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        tab.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        path = files[name] if isinstance(name, str) else name
        tab.on("request", lambda request: None if request.url == path.as_uri() else wrong.append(request.url))
        tab.goto(path.as_uri())
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


@pytest.mark.parametrize("name", ["report", "study", "everything"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_the_screen_and_pass_axe(opened: Callable[..., Tab], name: str, scheme: str) -> None:
    tab = opened(name, color_scheme=scheme)
    for summary in tab.locator("summary").all():
        summary.click()
    for width in (390, 1440):
        tab.set_viewport_size({"width": width, "height": 900})
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        if scheme == "light":
            found = Axe().run(tab)
            assert not found.violations_count, found.generate_report()
    found = Axe().run(tab, options={"runOnly": ["color-contrast"], "resultTypes": ["violations"]})
    assert not found.violations_count, found.generate_report()
    paper = colour(tab.locator("body"), "backgroundColor")
    assert paper == {"light": (255, 255, 255), "dark": (20, 23, 27)}[scheme]
    for kind in ("chart-title", "tick", "label", "value"):  # axe does not judge text within charts
        for text in tab.locator(f"svg .{kind}").all()[:1]:
            assert contrast(colour(text, "fill"), paper) >= 4.5


def colour(element: Locator, style: str) -> tuple[int, ...]:
    value = element.evaluate(f"(element) => getComputedStyle(element).{style}")
    return tuple(int(part) for part in re.findall(r"\d+", value)[:3])


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Contrast by the formula of WCAG 2."""

    def luminance(rgb: tuple[int, ...]) -> float:
        shares = [part / 255 for part in rgb]
        red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", ["report", "study", "everything"])
def test_names_from_data_are_shown_and_not_run(opened: Callable[..., Tab], name: str) -> None:
    tab = opened(name)
    assert tab.evaluate("[document.scripts.length, document.images.length, typeof window.hacked]") == [
        1,
        0,
        "undefined",
    ]
    assert HOSTILE in tab.locator("body").inner_text()


def test_a_script_that_got_in_would_not_run(browser: Browser, files: dict[str, Path], tmp_path: Path) -> None:
    attack = f"{HOSTILE}<style>body {{ opacity: 0 }}</style><a href='javascript:window.hacked=1'>here</a>"
    html = files["everything"].read_text(encoding="utf-8").replace("</main>", f"{attack}</main>")
    (tmp_path / "attacked.html").write_text(html, encoding="utf-8")
    tab = browser.new_page()
    refused: list[str] = []
    tab.on("console", lambda message: refused.append(message.text))
    tab.goto((tmp_path / "attacked.html").as_uri())
    tab.get_by_role("link", name="here").click()
    assert tab.evaluate("typeof window.hacked") == "undefined"
    assert tab.evaluate("getComputedStyle(document.body).opacity") == "1"
    assert any("Content Security Policy" in message for message in refused)
    tab.close()


def column(table: Locator, place: int) -> list[str]:
    """Texts of one column's cells that are shown, without their small print."""
    cells = table.locator(f"tbody tr:visible > :nth-child({place})")
    return cells.evaluate_all(
        "(cells) => cells.map((cell) => (cell.querySelector('div') ?? cell).firstChild.textContent.trim())"
    )


def test_a_click_on_a_heading_sorts_by_value(opened: Callable[..., Tab]) -> None:
    tab = opened("everything")
    table = tab.locator("#sorted table")
    heading = table.get_by_role("columnheader", name="amount")
    known = sorted(amount for amount in AMOUNTS if amount == amount)
    for order, state in ((known[::-1], "descending"), (known, "ascending")):
        heading.get_by_role("button").click()
        assert heading.get_attribute("aria-sort") == state
        assert column(table, 2) == [*map(number, order), "n/a"]
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") is None
    assert column(table, 2) == [*map(number, AMOUNTS)]


def test_tables_sort_by_keyboard_and_words_by_the_alphabet(opened: Callable[..., Tab]) -> None:
    tab = opened("everything")
    table = tab.locator("#sorted table")
    button = table.get_by_role("columnheader", name="name").get_by_role("button")
    button.focus()
    tab.keyboard.press("Enter")
    tab.keyboard.press("Space")
    assert column(table, 1) == [f"row {i}" for i in reversed(range(14))]  # row 10 after row 9
    assert button.evaluate("(button) => button === document.activeElement")
    pictures = tab.locator("#same table")
    assert pictures.get_by_role("button").all_inner_texts() == ["name", "group"]


def test_the_reports_columns_sort_as_its_frame_does(opened: Callable[..., Tab], report: ImportanceReport) -> None:
    table = opened("report").locator("table", has_text="mean |SHAP|").filter(has_text="a price")
    table.get_by_role("button", name="gain").click()
    numeric = report.columns.filter(~pl.col("column").str.starts_with("query"))
    gains = dict(numeric.select("column", "gain").iter_rows())
    shown = [gains[name] for name in column(table, 1) if name in gains]
    assert len(shown) == 16
    assert shown == sorted(shown, reverse=True)


def test_a_word_filters_the_rows(opened: Callable[..., Tab]) -> None:
    tab = opened("everything")
    part = tab.locator("#sorted")
    box, says = part.get_by_label("Filter"), part.locator("output")
    assert says.inner_text() == "14 rows"
    box.fill("THIRD row")
    thirds = range(0, 14, 3)
    assert column(part.locator("table"), 1) == [f"row {i}" for i in thirds]
    assert says.inner_text() == "5 of 14 rows"
    part.get_by_role("columnheader", name="amount").get_by_role("button").click()
    assert column(part.locator("table"), 2) == [*map(number, sorted((AMOUNTS[i] for i in thirds), reverse=True))]
    box.fill("nothing has this")
    assert column(part.locator("table"), 1) == []
    box.fill("")
    assert len(column(part.locator("table"), 1)) == 14
    assert tab.get_by_label("Filter").count() == 1  # no box for few rows


def test_tabs_by_click_and_by_arrow(opened: Callable[..., Tab]) -> None:
    tab = opened("everything")
    first, second = tab.get_by_role("tab", name="First"), tab.get_by_role("tab", name="Second")
    behind = tab.get_by_text("Behind a tab.")
    assert not behind.is_visible()
    second.click()
    assert behind.is_visible()
    assert not tab.get_by_text("How to read.").is_visible()
    tab.keyboard.press("ArrowRight")
    assert first.get_attribute("aria-selected") == "true"
    assert first.evaluate("(button) => button === document.activeElement")
    tab.keyboard.press("End")
    assert "Behind a tab." in tab.get_by_role("tabpanel", name="Second").inner_text()


def test_a_chinese_page_sorts_and_filters(opened: Callable[..., Tab]) -> None:
    tab = opened("chinese")
    assert tab.evaluate("document.documentElement.lang") == "zh-Hans"
    assert tab.get_by_role("navigation", name="目录").get_by_role("link").first.inner_text() == "模型有多好"
    table = tab.locator("table", has_text="增益").filter(has_text="a price")
    heading = table.get_by_role("columnheader", name="增益")
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    bar = tab.locator(".filter", has=tab.get_by_label("筛选")).first
    rows = len(column(table, 1))
    bar.get_by_label("筛选").fill("查询")
    assert bar.locator("output").inner_text() == f"{rows} 行中的 1 行"
    tab.set_viewport_size({"width": 390, "height": 900})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_click_changes_the_language(opened: Callable[..., Tab]) -> None:
    tab = opened("both")
    english, chinese = (tab.get_by_role("button", name=name, exact=True) for name in ("English", "中文"))
    assert tab.get_by_role("heading", name="Columns", exact=True).is_visible()
    chinese.click()
    assert tab.get_by_role("heading", name="列", exact=True).is_visible()
    assert tab.get_by_role("heading", name="Columns", exact=True).count() == 0
    assert tab.evaluate("document.documentElement.lang") == "zh-Hans"
    assert chinese.get_attribute("aria-pressed") == "true"
    found = Axe().run(tab)
    assert not found.violations_count, found.generate_report()
    english.click()
    assert tab.get_by_role("heading", name="Columns", exact=True).is_visible()
    assert opened("both", locale="zh-CN").get_by_role("heading", name="列", exact=True).is_visible()
    whole = opened("both", java_script_enabled=False)
    assert whole.get_by_role("heading", name="Columns", exact=True).is_visible()
    assert whole.get_by_role("heading", name="列", exact=True).is_visible()


def test_without_its_script_the_page_is_complete(opened: Callable[..., Tab]) -> None:
    tab = opened("everything", java_script_enabled=False)
    for text in ("How to read.", "Behind a tab.", "First", "Second"):
        assert tab.get_by_text(text, exact=True).is_visible()
    assert tab.locator("button:visible, input:visible").count() == 0
    assert len(column(tab.locator("#sorted table"), 1)) == 14


def test_paper_shows_all_and_no_controls(opened: Callable[..., Tab]) -> None:
    tab = opened("everything", color_scheme="dark")
    assert not tab.get_by_text("Inside details.").is_visible()
    tab.emulate_media(media="print", color_scheme="dark")
    for text in ("How to read.", "Behind a tab.", "Inside details."):
        assert tab.get_by_text(text).bounding_box()["height"] > 10
    for control in ("nav", ".filter", "[role=tablist]", ".skip"):
        assert not tab.locator(control).first.is_visible()
    assert contrast(colour(tab.locator("body"), "color"), (255, 255, 255)) > 10


def test_the_menu_leads_and_marks_the_place(opened: Callable[..., Tab]) -> None:
    tab = opened("everything", reduced_motion="reduce")
    tab.keyboard.press("Tab")
    skip = tab.get_by_role("link", name="Skip to the first section")
    assert skip.evaluate("(link) => link === document.activeElement && link.getBoundingClientRect().width > 50")
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.tagName") == "MAIN"
    menu = tab.get_by_role("navigation", name="Sections")
    assert menu.get_by_role("link").all_inner_texts() == ["Sorted", "Same", "Shades", "Same", "Kept back", "Lines"]
    link = menu.get_by_role("link", name="Same").nth(1)
    link.click()
    expect(menu.locator("[aria-current]")).to_have_attribute("href", "#same-4")
    assert abs(tab.locator("#same-4").bounding_box()["y"]) < 10
    assert menu.locator("[aria-current]").count() == 1
