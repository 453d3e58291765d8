from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sdsearch.report.outcome import summarize_outcome
from sdsearch.report.page import write_report
from sdsearch.stages.build import build_study
from sdsearch.stages.sample import sample_study
from sdsearch_eval.data.sample import Sample
from sdsearch_eval.pictures.comparison import collect_gallery
from tests.fakes import label_by_params, make_study, measured

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

EVIL = "<img src=x onerror=alert(1)>"
TOML = """
[space]
labels = 16
[ranker]
kind = "gnn"
[build]
top = 2
budget = { params = { share = 0.6 } }
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a study with fake labels, real scores and designs, and an evil caption."""
    study = make_study(tmp_path_factory.mktemp("study"), TOML)
    sample_study(study)
    label_by_params(study)
    for place, design in enumerate(build_study(study)):
        study.labels.write(measured(design.architecture, 150.0 + place, 2.0))
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (2, 64, 64, 3), np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[8:40, 8:40] = 255
    samples = [Sample(f"scene-{i}", pixels[i], EVIL, mask) for i in range(2)]
    study.compare_dir.mkdir()
    columns = {"tiny teacher": pixels, "tiny autobuild-1": 255 - pixels}
    (study.compare_dir / "gallery.json").write_text(collect_gallery(samples, columns))
    return write_report(study, summarize_outcome(study))


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    """The report, opened from disk; any request, error or dialog fails the test."""
    opened = browser.new_page(viewport={"width": 1000, "height": 900})
    trouble: list[str] = []
    opened.on("console", lambda said: trouble.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
    opened.on(
        "request",
        lambda asked: (
            None
            if asked.url.startswith(("file:", "data:"))
            else trouble.append(f"asked for {asked.url}")
        ),
    )
    opened.goto(report.as_uri())
    yield opened
    opened.close()
    assert trouble == []


def test_the_answer_comes_first_and_all_parts_are_there(page: Page) -> None:
    headings = page.locator("h1, h2").all_inner_texts()
    assert headings[:2] == [
        "Which smaller UNet inpaints as well?",
        "Who found the better architectures?",
    ]
    assert "% of its parameters" in page.locator(".answer").inner_text()
    assert page.locator("svg circle").count() > 16
    assert page.locator(".unet .sds-slot").count() == 46
    assert page.locator("polyline.front").count() == 1


def test_the_slider_uncovers_the_other_image(page: Page) -> None:
    slide, slider = page.locator(".slide").first, page.locator(".slide + input").first
    slider.fill("80")
    assert slide.evaluate("e => e.style.getPropertyValue('--cut')") == "80%"
    cut = slide.locator(".over").evaluate("e => getComputedStyle(e).clipPath")
    assert "80%" in cut
    before = slide.locator(".under").get_attribute("src")
    page.select_option("#left", "original")
    assert slide.locator(".under").get_attribute("src") != before


def test_blocks_tell_their_numbers_to_pointer_and_keyboard(page: Page) -> None:
    block = page.locator(".unet .sds-slot").nth(2)
    block.focus()
    said = page.locator("#said").inner_text()
    assert said.startswith("down.0.attn.0: kept")
    assert "removing it changes the target by" in said
    page.locator(".unet .sds-slot").nth(5).hover()
    assert page.locator("#said").inner_text() != said


def test_a_caption_with_markup_stays_text(page: Page) -> None:
    assert page.locator("img[onerror]").count() == 0
    assert EVIL in page.locator(".scenes").inner_text()


def test_labels_are_sorted_by_a_click_on_their_column(page: Page) -> None:
    table = page.locator("table.sortable")
    button = table.locator("th button", has_text="fd_efflite0")
    column = table.locator("th").all_inner_texts().index("fd_efflite0")
    for order in ("ascending", "descending"):
        button.click()
        cells = [row.locator("td").nth(column) for row in table.locator("tbody tr").all()]
        values = [float(cell.inner_text().split()[0]) for cell in cells]
        assert values == sorted(values, reverse=order == "descending")
        assert button.locator("..").get_attribute("aria-sort") == order


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_on_a_narrow_screen(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(page: Page, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page.emulate_media(color_scheme=scheme)
    found = Axe().run(page).response["violations"]
    grave = [
        (one["id"], [node["target"] for node in one["nodes"]][:3])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert grave == [], json.dumps(grave, indent=1)
