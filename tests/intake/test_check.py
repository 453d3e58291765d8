"""`sdsearch check` of a study and of photos: what labels will read, before any hour is spent."""

from __future__ import annotations

import gc
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest
import typer
from PIL import Image

from sdsearch.cli.main import app
from sdsearch.errors import InputError
from sdsearch.labels.protocol import Protocol
from sdsearch.labels.recovery import RecoveryRecipe
from sdsearch.stages import compare
from sdsearch.study import opening
from sdsearch.study.requests import InspectRequest
from sdsearch_eval.data.sample import Sample
from sdsearch_eval.jobs import intake
from sdsearch_eval.jobs.intake import draw_contact_sheet
from tests.eval.desk import ask
from tests.fakes import make_study

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.model import FrozenModel


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four readable photos, one with a caption, and files that are none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(("a.png", "b.JPG", "c.webp", "d.tif")):
        Image.new("RGB", (96, 64), (60 * number, 90, 120)).save(folder / name)
    (folder / "metadata.csv").write_text("file_name,text\na.png,a lake\nz.png,nobody\n")
    (folder / "notes.md").write_text("taken in May")
    (folder / "e.heic").write_bytes(b"1")
    return folder


def inspect(folder: Path, **fields: object) -> int:
    return ask(InspectRequest.model_validate({"out": folder / "sheet.png", **fields}), folder)


def test_a_folder_of_photos_is_told_file_by_file_and_drawn_whole(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    protocol = Protocol(dataset=str(photos), masks="box", resolution=64)
    assert inspect(tmp_path, protocol=protocol) == 0
    said = capfd.readouterr().out
    assert "4 photos, 0 masks, 2 files left out" in said
    assert "pillow-heif" in said
    assert "captions of 1 of 4 photos" in said
    assert "'z.png'" in said
    assert "4 evaluated at 64 px" in said
    with Image.open(tmp_path / "sheet.png") as sheet:
        white = (np.asarray(sheet) == 255).all(axis=2)
    assert sheet.height > 4 * 160
    assert not white.all()


def test_photos_cropped_around_their_holes_are_told_and_drawn_in_their_own_pixels(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    protocol = Protocol(
        dataset=str(photos), masks="box", resolution=64, crop="hole", crop_padding=8
    )
    assert inspect(tmp_path, protocol=protocol) == 0
    assert "4 evaluated at 64 px, each the surroundings of its hole" in capfd.readouterr().out
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height > 4 * 160


def test_a_study_is_told_with_its_teacher_scheduler_and_protocol_key(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (photos / "metadata.csv").write_text("file_name,text\na.png," + "lake " * 50 + "\n")
    protocol = Protocol(
        dataset=str(photos), masks="box", samples=2, recovery=RecoveryRecipe(steps=1)
    )
    assert inspect(tmp_path, protocol=protocol, teacher="tiny") == 0
    said = capfd.readouterr().out
    for line in ("2 evaluated", "2 photos to recover on", "teacher: tiny, 9 input channels"):
        assert line in said
    assert "scheduler: DDIMScheduler, 8 steps" in said
    assert "longer than the 32 tokens" in said
    assert "protocol: " in said


@pytest.mark.parametrize("broken", ["photo", "mask", "teacher"])
def test_what_labels_would_refuse_is_refused_before_them(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], broken: str
) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    hole = Image.new("L", (96, 64))
    hole.paste(255, (20, 20, 60, 50))
    for name in "abcd":
        hole.save(masks / f"{name}.png")
    if broken == "photo":
        (photos / "b.JPG").write_bytes(b"no picture")
    elif broken == "mask":
        (masks / "b.png").unlink()
    protocol = Protocol(dataset=str(photos), masks=str(masks), samples=2, resolution=64)
    teacher = "nowhere" if broken == "teacher" else "tiny"
    assert inspect(tmp_path, protocol=protocol, teacher=teacher) == 2
    said = capfd.readouterr().err
    assert ("nowhere" if broken == "teacher" else "b.") in said


def test_the_command_asks_for_a_study_or_for_photos_by_what_a_folder_holds(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[FrozenModel] = []
    monkeypatch.setattr(opening, "run_harness", asked.append)
    study = make_study(tmp_path / "study")
    app(["check", str(study.root)], standalone_mode=False)
    app(["check", str(photos), "--masks", "box", "--size", "256"], standalone_mode=False)
    first, second = asked
    assert isinstance(first, InspectRequest)
    assert (first.teacher, first.protocol) == ("tiny", study.config.protocol)
    assert isinstance(second, InspectRequest)
    assert second.teacher is None
    assert (second.protocol.dataset, second.protocol.resolution) == (str(photos), 256)


@pytest.mark.parametrize("place", [".", "sub", "../masks"])
def test_a_contact_sheet_never_becomes_a_photo_or_a_mask(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(opening, "run_harness", lambda _: pytest.fail("it was started"))
    for folder in (tmp_path / "masks", photos / "sub"):
        folder.mkdir()
    monkeypatch.chdir(photos / place)
    masks = str(tmp_path / "masks")
    with pytest.raises(InputError, match=r"contact-sheet\.png would be written into .*--sheet"):
        app(["check", str(photos), "--masks", masks], standalone_mode=False)


def test_a_comparison_never_becomes_an_image_or_a_mask(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[FrozenModel] = []
    monkeypatch.setattr(compare, "run_harness", asked.append)
    monkeypatch.chdir(photos)

    def ask_for(images: Path, mask: str, out: str) -> None:
        line = ["--pipelines", "tiny", "--image", str(images), "--mask", mask, "--out", out]
        app(["compare", *line], standalone_mode=False)

    one, elsewhere = photos / "a.png", tmp_path / "b"
    for images, mask, out in (
        (photos, "auto:box", "compare.png"),
        (elsewhere, str(photos), "sub/compare.png"),
        (one, "auto:box", "a.png"),
        (elsewhere, "a.png", str(one)),
    ):
        with pytest.raises(InputError, match=r"would be written .*--out"):
            ask_for(images, mask, out)
    assert asked == []
    ask_for(one, "auto:box", "compare.png")
    ask_for(photos, "auto:box", "../compare.png")
    assert len(asked) == 2


@pytest.mark.parametrize("size", ["100", "12"])
def test_a_size_that_no_latent_has_is_refused_by_its_option(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"--size is {size}, .* multiple of 8; choose another"):
        app(["check", str(photos), "--size", size], standalone_mode=False)


def test_no_more_samples_are_held_than_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(intake.SHOWN + 5):
        Image.new("RGB", (64, 64), (9 * number, 0, 0)).save(many / f"{number:02}.png")
    held: list[list[str]] = []

    def count_alive() -> int:
        return sum(type(one) is Sample for one in gc.get_objects())

    def draw(samples: list[Sample]) -> Image.Image:
        assert count_alive() == before + len(samples)
        held.append([sample.name for sample in samples])
        return Image.new("RGB", (8, 8))

    gc.collect()
    before = count_alive()  # those of other tests' fixtures
    monkeypatch.setattr(intake, "draw_contact_sheet", draw)
    protocol = Protocol(dataset=str(many), masks="box", resolution=64)
    assert inspect(tmp_path, protocol=protocol) == 0
    assert held == [[f"{number:02}.png" for number in range(intake.SHOWN)]]
    assert f"samples: {intake.SHOWN + 5} evaluated" in capfd.readouterr().out


def test_a_photo_of_any_name_is_drawn() -> None:
    photo = np.zeros((64, 64, 3), np.uint8)

    def drawn(name: str) -> bytes:
        return draw_contact_sheet([Sample(name, photo, "", photo[..., 0])]).tobytes()

    assert drawn("a\nb\x1b.png") == drawn(r"a\nb\x1b.png") != drawn("ab.png")


def test_a_guidance_without_end_is_refused_by_its_option() -> None:
    line = ["compare", "--pipelines", "tiny", "--image", "a.png", "--mask", "auto:box"]
    with pytest.raises(InputError, match="--guidance is inf, which cannot be"):
        app([*line, "--guidance", "inf"], standalone_mode=False)


@pytest.mark.parametrize(
    "config",
    [
        "{}",
        "[1, 2]",
        "{",
        '{"root": "photos"}',
        '{"_class_name": "AutoencoderKL", "in_channels": 3}',
    ],
)
def test_a_config_of_something_else_leaves_photos_photos(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str
) -> None:
    asked: list[FrozenModel] = []
    monkeypatch.setattr(opening, "run_harness", asked.append)
    monkeypatch.chdir(tmp_path)
    (photos / "config.json").write_text(config)
    app(["check", str(photos), "--masks", "box"], standalone_mode=False)
    assert len(asked) == 1
    (photos / "config.json").write_text('{"block_out_channels": [320, 640, 1280, 1280]}')
    with suppress(typer.Exit):
        app(["check", str(photos)], standalone_mode=False)
    assert len(asked) == 1


@pytest.mark.parametrize("config", ["{}", '{"root": "photos"}'])
def test_a_config_without_any_field_of_a_unet_is_none(tmp_path: Path, config: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(config)
    with pytest.raises(InputError, match="has no field of one; save"):
        app(["check", str(file)], standalone_mode=False)
