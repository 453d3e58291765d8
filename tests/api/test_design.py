from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save

import sdsearch
from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.unet.backbone import TINY
from sdsearch.weights.inherit import inherit_weights
from sdsearch.weights.notes import write_noted
from sdsearch.weights.tensorfiles import TensorFiles
from tests.fakes import make_design, make_study, tiny_member, write_designs
from tests.unets import random_unet

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.api.design import StudyDesign

WEIGHTS = asset_path(TINY_TEACHER) / "unet" / "diffusion_pytorch_model.safetensors"


@pytest.fixture
def design(tmp_path: Path) -> StudyDesign:
    made = make_study(tmp_path / "study")
    write_designs(made, [make_design(tiny_member("bk-small"), "autobuild", 1)])
    return sdsearch.Study(made).design("autobuild-1")


def same(unet: torch.nn.Module, other: torch.nn.Module) -> bool:
    mine, theirs = unet.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(mine[n].equal(theirs[n]) for n in mine)


def put_weights(design: StudyDesign, unet: torch.nn.Module) -> Path:
    file = design.folder.recovered_file(design.record.arch_key)
    write_noted(file, save(unet.state_dict()), "a test")
    return file


def test_a_design_says_what_it_is_and_costs(design: StudyDesign) -> None:
    assert repr(design) == "StudyDesign('autobuild-1', 1,920,100 parameters)"
    assert design.architecture == tiny_member("bk-small")
    assert design.reasons == ("level0: kept",)
    assert design.cost().params == design.params
    assert repr(design.cost()).startswith("UNetCost(1,920,100 parameters, ")
    assert repr(design.record).startswith("Design('autobuild-1', 1,920,100 parameters, ")


def test_its_unet_inherits_the_teachers_weights_until_it_is_recovered(
    design: StudyDesign, capsys: pytest.CaptureFixture[str]
) -> None:
    assert design.recovered_weights() is None
    unet = design.unet()
    assert same(unet, inherit_weights(design.architecture, TINY, TensorFiles(WEIGHTS)))
    assert "inherited from the teacher" in capsys.readouterr().err
    recovered = random_unet(design.architecture)
    file = put_weights(design, recovered)
    assert design.recovered_weights() == file
    assert same(design.unet(), recovered)
    assert "recovered weights of" in capsys.readouterr().err


def test_weights_of_another_architecture_are_failed_work(design: StudyDesign) -> None:
    put_weights(design, random_unet(tiny_member("bk-tiny")))
    with pytest.raises(sdsearch.WorkError, match=f"must fit {design.record.arch_key}"):
        design.unet()


def test_its_picture_bears_its_name_and_is_shown_by_a_notebook(design: StudyDesign) -> None:
    picture = design.draw()
    assert picture.startswith("<svg")
    assert ">autobuild-1</text>" in picture
    assert design._repr_svg_() == picture._repr_svg_() == picture
    assert repr(picture) == f"<Drawing: {len(picture):,} characters of SVG>"


def test_a_pipeline_says_that_it_trains_first_and_nothing_of_an_export_that_failed(
    design: StudyDesign, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(request: object) -> None:
        raise sdsearch.WorkError("no room")

    monkeypatch.setattr("sdsearch.export.recovered.run_harness", fail)
    with pytest.raises(sdsearch.WorkError, match="no room"):
        design.pipeline()
    said = capsys.readouterr().err
    assert "autobuild-1: not recovered yet; training for 30 steps each" in said
    assert "exporting autobuild-1:" not in said


@pytest.mark.slow
def test_its_pipeline_is_a_stock_one_with_the_recovered_weights(design: StudyDesign) -> None:
    from diffusers import StableDiffusionInpaintPipeline

    recovered = random_unet(design.architecture)
    put_weights(design, recovered)
    pipeline = design.pipeline()
    assert type(pipeline) is StableDiffusionInpaintPipeline
    assert same(pipeline.unet, recovered)
    half = design.pipeline(variant="fp16", torch_dtype=torch.float16)
    assert half.unet.dtype == torch.float16


def test_a_teacher_in_memory_gives_the_same_student_as_its_files() -> None:
    own = sdsearch.Architecture.parse("bk-small; level 2: attention up 01")
    teacher = random_unet()
    teacher.load_state_dict(load_file(WEIGHTS))
    by_name = sdsearch.inherit_unet(own, "tiny")
    assert same(by_name, sdsearch.inherit_unet(own, teacher))
    assert same(by_name, sdsearch.inherit_unet(own, asset_path(TINY_TEACHER)))
    assert not by_name.training


def test_a_pruned_teacher_and_one_without_weights_are_refused(tmp_path: Path) -> None:
    small = sdsearch.Architecture.parse("bk-small")
    with pytest.raises(sdsearch.InputError, match="mid_block_type must be"):
        sdsearch.inherit_unet(small, random_unet(small))
    pipeline = shutil.copytree(asset_path(TINY_TEACHER), tmp_path / "pipeline")
    (pipeline / "unet" / WEIGHTS.name).unlink()
    with pytest.raises(sdsearch.InputError, match="unet must hold weights"):
        sdsearch.inherit_unet(small, pipeline)
