from __future__ import annotations

import socket
import zipfile
from contextlib import closing
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from sdsearch.stages.sample import sample_study
from sdsearch.stages.score import score_study
from sdsearch_eval.scenes.scenes import render_scene, split_seed
from tests.browser.serving import PATIENCE, served
from tests.fakes import label_by_params, make_study

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

TOML = """
[space]
labels = 16
[ranker]
kind = "gnn"
[protocol]
samples = 8
steps = 2
recovery = { steps = 1, batch_size = 2 }
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_study(tmp_path_factory.mktemp("app") / "study", TOML)
    sample_study(made)
    label_by_params(made)
    for label in made.labels.read_all():
        made.labels.write(label.model_copy(update={"protocol_key": made.protocol_key}))
    score_study(made)
    return made.root


@pytest.fixture(scope="module")
def address(study: Path) -> Iterator[str]:
    with served(study) as found:
        yield found


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1300, "height": 1100}, accept_downloads=True)
    opened.goto(address)
    opened.wait_for_selector("#editor canvas")  # drawn by the page itself, once it is alive
    yield opened
    opened.close()


def brush(page: Page) -> None:
    canvas = page.locator("#editor canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 30, y)
    page.mouse.down()
    page.mouse.move(x + 30, y + 5, steps=8)
    page.mouse.up()


def upload(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "<b>scene.png"
    large = Image.fromarray(render_scene(split_seed("test", 3)).image).resize((512, 512))
    large.save(path)
    page.locator("#editor input[type=file]").first.set_input_files(path)
    page.wait_for_timeout(2000)


def test_an_image_is_brushed_and_inpainted_by_the_teacher_and_a_new_design(
    page: Page, study: Path, tmp_path: Path
) -> None:
    # A design under the slider, taken home as a zip.
    page.get_by_role("tab", name="Scores and designs").click()
    assert page.locator("#net svg .sds-slot").count() == 46
    page.locator("#share input[type=number]").fill("0.5")
    page.locator("#share input[type=number]").press("Enter")
    page.locator("#design").click()
    page.wait_for_selector("#designed strong", timeout=PATIENCE)
    name = page.locator("#designed strong").inner_text()
    params = int(page.locator("#designed p").first.inner_text().split()[1].replace(",", ""))
    assert params <= 0.5 * 3_279_428
    page.locator("#export").click()
    page.wait_for_selector("#download a", timeout=PATIENCE)
    with page.expect_download() as coming:
        page.locator("#download a").first.click()
    packed = tmp_path / "design.zip"
    coming.value.save_as(packed)
    with zipfile.ZipFile(packed) as archive:
        assert f"{name}/model_index.json" in archive.namelist()
        assert f"{name}/unet/diffusion_pytorch_model.safetensors" in archive.namelist()
    # Both are now offered on the first page.
    page.get_by_role("tab", name="Inpaint").click()
    upload(page, tmp_path)
    brush(page)
    page.locator("#prompt textarea").fill("a red house by a lake")
    page.locator("#inpaint").click()
    page.wait_for_selector("#results img", timeout=PATIENCE)
    page.wait_for_function("document.querySelectorAll('#results button img').length >= 2")
    said = page.locator("#costs").inner_text()
    assert said.count("ms a UNet call") == 2


def test_without_a_brush_stroke_the_page_says_what_to_do(page: Page, tmp_path: Path) -> None:
    page.locator("#inpaint").click()
    page.wait_for_selector("text=upload an image", timeout=PATIENCE)
    upload(page, tmp_path)
    page.locator("#inpaint").click()
    page.wait_for_selector("text=brush over what is to be repainted first", timeout=PATIENCE)


@pytest.mark.parametrize("path", ["/etc/passwd", "study.toml", "{study}/study.toml", "../.lock"])
def test_no_file_of_the_machine_can_be_asked_for(address: str, study: Path, path: str) -> None:
    asked = path.format(study=study)
    with closing(HTTPConnection(address.removeprefix("http://"), timeout=20)) as connection:
        connection.request("GET", f"/gradio_api/file={asked}")
        answer = connection.getresponse()
        answer.read()
    assert answer.status in (403, 404)


def test_it_is_served_to_this_machine_alone(address: str) -> None:
    port = int(address.rsplit(":", 1)[1])
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for other in others - {"127.0.0.1"}:
        with pytest.raises(OSError), socket.create_connection((other, port), timeout=2):  # noqa: PT011
            pass
