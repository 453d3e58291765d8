from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.errors import InputError
from sdsearch.export.index import choose_class, describe_index, read_parts
from sdsearch.pipelines.folder import open_pipeline
from tests.fakes import checked_teacher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sdsearch.labels.choices import Task

PLAIN, INPAINT = "StableDiffusionPipeline", "StableDiffusionInpaintPipeline"
OPTIONAL = {"safety_checker", "feature_extractor", "image_encoder"}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checked_teacher(tmp_path_factory.mktemp("checked") / "teacher")


@pytest.fixture
def folder(teacher: Path, tmp_path: Path) -> Path:
    return shutil.copytree(teacher, tmp_path / "teacher")


@pytest.mark.parametrize(
    ("channels", "task", "meant"),
    [
        (9, "inpaint", INPAINT),
        (9, "text-to-image", INPAINT),
        (4, "inpaint", INPAINT),
        (4, "text-to-image", PLAIN),
    ],
)
def test_the_class_follows_the_inputs_of_the_unet_then_the_task(
    channels: int, task: Task, meant: str
) -> None:
    import diffusers

    assert choose_class(channels, task) == meant
    assert hasattr(diffusers, meant)


def test_all_parts_of_a_teacher_are_found_by_the_names_that_every_release_knows(
    folder: Path,
) -> None:
    file = folder / "model_index.json"
    said = json.loads(file.read_text())
    assert said["feature_extractor"] == ["transformers", "CLIPImageProcessor"]
    for name in ("CLIPFeatureExtractor", "CLIPImageProcessorPil", "CLIPImageProcessorFast"):
        file.write_text(json.dumps({**said, "feature_extractor": ["transformers", name]}))
        pipeline = open_pipeline(str(folder))
        parts, lacking = read_parts(pipeline)
        assert lacking == {}
        assert {part.name for part in parts} > OPTIONAL
        index = json.loads(describe_index(pipeline, parts, INPAINT))
        assert index["feature_extractor"] == ["transformers", "CLIPImageProcessor"]
        assert index["safety_checker"] == ["stable_diffusion", "StableDiffusionSafetyChecker"]
        assert index["requires_safety_checker"] is True
        assert index["scheduler"] == ["diffusers", "DDIMScheduler"]


def test_a_teacher_without_a_checker_says_so(tmp_path: Path) -> None:
    pipeline = open_pipeline("tiny")
    parts, lacking = read_parts(pipeline)
    index = json.loads(describe_index(pipeline, parts, INPAINT))
    assert lacking == {}
    assert [index[name] for name in sorted(OPTIONAL)] == [[None, None]] * 3
    assert index["requires_safety_checker"] is False
    assert not asset_path(TINY_TEACHER).joinpath("safety_checker").exists()


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: shutil.rmtree(folder / name)


def empty(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name / "model.safetensors").unlink()


def listed(name: str, entry: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        file = folder / "model_index.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), name: entry}))

    return change


CHECKER = "safety_checker"


@pytest.mark.parametrize(
    ("change", "lacks"),
    [
        (remove(CHECKER), {CHECKER: "must be a folder"}),
        (remove("image_encoder"), {"image_encoder": "must be a folder"}),
        (empty(CHECKER), {CHECKER: "must hold weights"}),
        (
            remove("feature_extractor"),
            {CHECKER: "needs the feature extractor", "feature_extractor": "must be a folder"},
        ),
        (listed("feature_extractor", None), {CHECKER: "needs the feature extractor"}),
        (listed(CHECKER, ["my_module", "MyChecker"]), {CHECKER: "no other class"}),
        (listed(CHECKER, "yes"), {CHECKER: "library, class"}),
    ],
)
def test_an_optional_part_that_is_listed_and_not_there_is_left_out_with_the_reason(
    change: Callable[[Path], object], lacks: dict[str, str], folder: Path
) -> None:
    change(folder)
    pipeline = open_pipeline(str(folder))
    parts, lacking = read_parts(pipeline)
    assert lacking.keys() == lacks.keys()
    assert all(why in lacking[name] for name, why in lacks.items())
    index = json.loads(describe_index(pipeline, parts, INPAINT))
    assert all(index[name] == [None, None] for name in lacks)
    assert index["requires_safety_checker"] == (CHECKER not in lacks)


@pytest.mark.parametrize("name", ["vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_part_that_painting_needs_is_missed(name: str, folder: Path) -> None:
    remove(name)(folder)
    with pytest.raises(InputError, match=name):
        read_parts(open_pipeline(str(folder)))


def test_an_index_says_todays_release_and_nothing_of_the_teachers_own(folder: Path) -> None:
    import diffusers

    listed("_diffusers_version", "0.2.2")(folder)
    listed("_name_or_path", "/home/me/sd")(folder)
    listed("controlnet", ["diffusers", "ControlNetModel"])(folder)
    pipeline = open_pipeline(str(folder))
    index = json.loads(describe_index(pipeline, read_parts(pipeline)[0], 9))
    # By an old version the inpainting pipeline would choose another class.
    assert index["_diffusers_version"] == diffusers.__version__
    assert index.keys() & {"_name_or_path", "controlnet"} == set()
