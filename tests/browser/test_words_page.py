"""The page of a study that paints from words: a prompt, seeds, and nothing to brush over."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.serving import PATIENCE, served
from tests.fakes import make_study

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

WORDS = Path(__file__).parents[2] / "assets" / "worlds" / "words-16"
STRANGE = "<b>bold_*1*"
TOML = f"""
[teacher]
pipeline = {str(WORDS)!r}
[protocol]
task = "text-to-image"
samples = 8
steps = 4
guidance = 2.0
recovery = {{ steps = 1, batch_size = 2 }}
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    study = make_study(tmp_path_factory.mktemp("words") / "study", TOML)
    # A pipeline that somebody has put there, whose name is no page's friend.
    shutil.copytree(WORDS, study.pipelines_dir / STRANGE)
    with served(study.root) as found:
        yield found


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1300, "height": 1100})
    opened.goto(address)
    opened.wait_for_selector("#paint")
    yield opened
    opened.close()


def wait_for_images(page: Page, count: int) -> None:
    page.wait_for_function(
        f"document.querySelectorAll('#results button img').length >= {count}", timeout=PATIENCE
    )


def test_a_prompt_is_painted_under_each_seed_by_each_pipeline(page: Page) -> None:
    assert page.locator("#editor").count() == 0
    page.get_by_label("Prompt: what the image shows").fill("a red house by a lake at noon")
    page.get_by_label("Seeds: an image for each").fill("3, 4")
    page.get_by_role("button", name="Paint", exact=True).click()
    wait_for_images(page, 4)
    page.wait_for_selector("#costs li", timeout=PATIENCE)
    said = page.locator("#costs li").all_inner_texts()
    assert [line.split(",")[0] for line in said] == ["seed 3", "seed 3", "seed 4", "seed 4"]
    assert all("ms a UNet call" in line and "s the whole image" in line for line in said)
    described = [one.get_attribute("alt") for one in page.locator("#results button img").all()]
    assert described == said, "who cannot see a picture hears what it is"


def test_the_keyboard_alone_paints(page: Page) -> None:
    page.get_by_label("Prompt: what the image shows").focus()
    page.keyboard.type("pine trees in a meadow")
    reached = []
    for _ in range(24):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "['prompt', 'seeds', 'pipelines', 'paint'].find("
                "id => document.getElementById(id).contains(document.activeElement)) ?? ''"
            )
        )
        if reached[-1] == "paint":
            break
    assert [name for name in dict.fromkeys(reached) if name] == ["seeds", "pipelines", "paint"]
    page.keyboard.press("Enter")
    wait_for_images(page, 4)


def test_enter_in_the_prompt_paints(page: Page) -> None:
    prompt = page.get_by_label("Prompt: what the image shows")
    prompt.fill("a lake at night")
    page.get_by_label("Seeds: an image for each").fill("0")
    prompt.press("Enter")
    wait_for_images(page, 2)
    assert prompt.input_value() == "a lake at night"


def test_every_input_has_a_label(page: Page) -> None:
    unnamed = page.evaluate(
        """[...document.querySelectorAll('input, textarea, select')]
           .filter(x => x.offsetParent && !x.labels?.length
                        && !x.getAttribute('aria-label') && !x.getAttribute('aria-labelledby'))
           .map(x => x.outerHTML)"""
    )
    assert unnamed == []


def test_names_and_messages_are_shown_as_they_are_written(page: Page) -> None:
    page.get_by_label("Prompt: what the image shows").fill("<i>a house</i>")
    page.get_by_label("Seeds: an image for each").fill("<b>one</b>")
    page.get_by_role("button", name="Paint", exact=True).click()
    page.wait_for_selector("[data-testid=toast-text]", timeout=PATIENCE)
    toast = page.locator("[data-testid=toast-text]").first
    assert "seeds must be numbers such as 0 1 2, but are '<b>one</b>'" in toast.inner_text()
    assert toast.locator("b").count() == 0
    page.get_by_label("Seeds: an image for each").fill("0")
    page.get_by_role("button", name="Paint", exact=True).click()
    page.wait_for_selector("#costs li", timeout=PATIENCE)
    said = page.locator("#costs li").all_inner_texts()
    assert f"seed 0, {STRANGE}: " in said[1]
    assert page.locator("#costs b, #costs em, #results i").count() == 0


def test_without_a_prompt_the_page_says_what_to_do(page: Page) -> None:
    page.get_by_role("button", name="Paint", exact=True).click()
    page.wait_for_selector("text=write what the image is to show", timeout=PATIENCE)


def test_examples_are_captions_that_fill_the_prompt(page: Page) -> None:
    examples = page.locator("button.gallery-item")
    assert examples.count() >= 4
    shown = examples.first.inner_text().strip().removesuffix("...")
    assert len(shown.split()) > 3
    examples.first.press("Enter")
    page.wait_for_function(
        "shown => document.querySelector('#prompt textarea').value.startsWith(shown)",
        arg=shown,
        timeout=PATIENCE,
    )
