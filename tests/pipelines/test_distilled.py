"""Teachers that were distilled to a few steps: refused by what their files say, at every entry."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

import sdsearch
from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.errors import InputError
from sdsearch.pipelines.distilled import explain_class, find_distilled
from sdsearch.unet.teacher import check_teacher

if TYPE_CHECKING:
    from pathlib import Path

INDEX = {"_class_name": "StableDiffusionPipeline", "scheduler": ["diffusers", "PNDMScheduler"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the tiny pipeline, to be called distilled."""
    return shutil.copytree(asset_path(TINY_TEACHER), tmp_path / "pipeline")


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("name", "index", "unet", "said"),
    [
        ("mine", {"_class_name": "LatentConsistencyModelPipeline"}, {}, "latent consistency"),
        ("mine", {"scheduler": ["diffusers", "LCMScheduler"]}, {}, "latent consistency"),
        ("mine", {"scheduler": ["diffusers", "TCDScheduler"]}, {}, "trajectory consistency"),
        ("stabilityai/sd-turbo", {}, {}, "SD-Turbo"),
        ("mine", {"_name_or_path": "SimianLuo/LCM_Dreamshaper_v7"}, {}, "latent consistency"),
        ("mine", {}, {"_name_or_path": "C:\\hub\\models--IDKiro--sdxs-512-0.9"}, "SDXS"),
    ],
)
def test_what_a_file_says_of_a_distillation_is_named_with_the_next_step(
    name: str, index: dict[str, Any], unet: dict[str, Any], said: str
) -> None:
    (error,) = find_distilled(name, INDEX | index, unet)
    assert said in str(error)
    assert "bring the model that it was distilled from" in str(error)


@pytest.mark.parametrize(
    "origin",
    [
        None,
        7,
        "runwayml/stable-diffusion-v1-5",
        "/home/me/lightning_logs/version_3/hyper-turbo",
        "someone/my-stabilityai-sd-turbo-like",
        "/home/ann/latent-consistency/teachers/sd-v1-5",
        "/data/simianluo/lcm_study/teacher",
    ],
)
def test_other_origins_and_words_in_a_path_say_nothing(origin: object) -> None:
    index = INDEX | {"_name_or_path": origin}
    assert list(find_distilled("turbo/lightning", index, {"_name_or_path": origin})) == []
    assert explain_class("EulerDiscreteScheduler") is None


def lcm_scheduler(folder: Path) -> None:
    edit(folder / "model_index.json", scheduler=["diffusers", "LCMScheduler"])


def guided_unet(folder: Path) -> None:
    edit(folder / "unet" / "config.json", time_cond_proj_dim=256)


@pytest.mark.parametrize("change", [lcm_scheduler, guided_unet])
def test_a_distilled_teacher_is_refused_before_its_weights_are_read(
    change: Any, folder: Path, tmp_path: Path
) -> None:
    change(folder)
    shutil.rmtree(folder / "vae")  # not asked for
    for use in (
        lambda: check_teacher(str(folder)),
        lambda: sdsearch.create_study(tmp_path / "study", teacher=folder),
        lambda: sdsearch.inherit_unet("bk-small", folder),
    ):
        with pytest.raises(InputError, match=r"latent consistency model.*bring the model"):
            use()
    assert not (tmp_path / "study").exists()


def test_a_check_lists_a_distillation_as_a_problem_of_its_own(folder: Path) -> None:
    edit(folder / "model_index.json", _class_name="LatentConsistencyModelPipeline")
    found = sdsearch.check_unet(folder).problems
    (problem,) = (one for one in found if one.code == "distilled")
    assert problem.where == "model_index.json: _class_name"
    assert "bring the model that it was distilled from" in problem.next_step


def test_an_export_of_a_distilled_teacher_is_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save

    from sdsearch.export import export_pipeline
    from sdsearch.unet.teacher import teacher_identity
    from sdsearch.weights import write_noted
    from tests.fakes import make_design, tiny_member

    study = sdsearch.create_study(tmp_path / "study", teacher=folder, space="tiny").folder
    design = make_design(tiny_member("bk-tiny"), "autobuild", 1)
    state = sdsearch.inherit_unet("bk-tiny", folder).state_dict()
    write_noted(study.recovered_file(design.arch_key), save(state), "a test")
    edit(folder / "model_index.json", _name_or_path="stabilityai/sd-turbo")
    with pytest.raises(InputError, match="it is SD-Turbo"):
        export_pipeline(design, study, teacher_identity(str(folder)))
    assert not (study.pipelines_dir / design.name).exists()
