"""Takes the pictures of reports for the documentation: ``python docs/report_pictures.py REPORT.html`` writes them to docs/images.

The report is one in both languages (``report.save(path, lang="both")``). Needs Chromium, pngquant and a Chinese font:
``apt-get install chromium pngquant fonts-noto-cjk``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import FloatRect, Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
WIDTH, TALLEST = 1200, 1100
SECTIONS = {
    "report-groups": "en-which-evidence-carries-it",
    "report-errors": "en-where-it-errs",
    "report-slices": "en-where-it-is-better-or-worse",
    "report-columns": "en-columns",
}


def take(report: Path) -> None:
    """The first screen in both languages, and the start of each section."""
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": WIDTH, "height": TALLEST}, reduced_motion="reduce")
        tab.goto(report.resolve().as_uri())
        picture(tab, "report", {"x": 0, "y": 0, "width": WIDTH, "height": TALLEST})
        tab.get_by_role("tab", name="department").click()
        tab.evaluate("scrollTo(0, 0)")
        for name, section in SECTIONS.items():
            box = tab.locator(f'[id="{section}"]').bounding_box()
            assert box is not None
            height = min(box["height"], TALLEST)
            picture(tab, name, {"x": 0, "y": box["y"], "width": WIDTH, "height": height})
        tab.get_by_role("button", name="中文").click()
        picture(tab, "report-zh", {"x": 0, "y": 0, "width": WIDTH, "height": TALLEST})
        browser.close()


def picture(tab: Page, name: str, clip: FloatRect) -> None:
    """A piece of the page, with as few colours as still look the same."""
    file = IMAGES / f"{name}.png"
    tab.screenshot(path=file, clip=clip, full_page=True)
    subprocess.run(["pngquant", "--force", "--output", file, "--strip", "64", file], check=True)


if __name__ == "__main__":
    take(Path(sys.argv[1]))
