"""Every layout of weights that diffusers reads is the same teacher."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline

import sdsearch
from sdsearch.check.report import check_unet
from sdsearch.export.index import INPAINT, describe_index, read_parts
from sdsearch.export.parts import write_part
from sdsearch.pipelines.folder import list_files, open_pipeline, read_part
from sdsearch_eval.models.teacher import load_teacher
from sdsearch_eval.pictures.pipelines import load_pipeline
from tests.fakes import tiny_member
from tests.intake.layouts import (
    CPU,
    TINY_SD,
    UNET,
    Layout,
    garbage_beside,
    legacy_shards,
    outputs,
    pickle_beside,
    pickle_beside_variant,
    pickled,
    rename,
    same,
    sharded_text,
    shards,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


LAYOUTS: dict[str, Layout] = {
    "plain": lambda _: None,
    "fp32 names": rename("fp32", "unet", "vae", "text_encoder"),
    "fp16 names": rename("fp16", "unet", "vae", "text_encoder"),
    "non-EMA names": rename("non_ema", "unet"),
    "names of no convention": rename("pruned", "unet"),
    "mixed": rename("fp16", "vae"),
    "shards": shards(),
    "shards of a variant": shards("fp16"),
    "shards of a variant, old names": legacy_shards,
    "shards of the text encoder": sharded_text,
    "pickles but for the UNet": pickled(),
    "pickles of a variant": pickled(".fp16"),
    "a zero half-precision UNet beside": garbage_beside("diffusion_pytorch_model.fp16.safetensors"),
    "a zero non-EMA UNet beside": garbage_beside("diffusion_pytorch_model.non_ema.safetensors"),
    "a zero decoder beside": garbage_beside("diffusion_pytorch_model.fp16.safetensors", "vae"),
    "a zero encoder beside": garbage_beside("model.fp16.safetensors", "text_encoder"),
    "a pickled UNet beside": pickle_beside,
    "a pickled UNet beside a variant": pickle_beside_variant,
}


USUAL = {
    "plain",
    "fp16 names",
    "shards of a variant, old names",
    "pickles but for the UNet",
    "a zero half-precision UNet beside",
    "a pickled UNet beside a variant",
}
"""Layouts that the fast suite takes the whole way; the others go it in the slow one."""
ALL_THE_WAY = [
    pytest.param(name, marks=[] if name in USUAL else pytest.mark.slow) for name in LAYOUTS
]


@pytest.mark.parametrize("layout", ALL_THE_WAY)
def test_each_layout_of_weights_is_the_same_teacher(
    layout: str, folder: Path, expected: list[Tensor]
) -> None:
    LAYOUTS[layout](folder)
    teacher, whole = load_teacher(open_pipeline(str(folder)), CPU), load_pipeline(str(folder), CPU)
    assert same(teacher.unet_state, UNET)
    assert same(whole.unet.state_dict(), UNET)
    for found in (outputs(teacher), outputs(whole.components)):
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert [problem.code for problem in check_unet(folder).problems] == []
    student = sdsearch.inherit_unet(tiny_member(), folder)
    assert same(student.state_dict(), UNET)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pipeline_of_its_listed_files_alone_loads_the_same(
    layout: str, folder: Path, tmp_path: Path, expected: list[Tensor]
) -> None:
    LAYOUTS[layout](folder)
    alone = tmp_path / "alone"
    for part, file in list_files(open_pipeline(str(folder))):
        (alone / part).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, alone / part)
    shutil.copy(folder / "model_index.json", alone)
    teacher = load_teacher(open_pipeline(str(alone)), CPU)
    assert same(teacher.unet_state, UNET)
    found = outputs(teacher)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("layout", ALL_THE_WAY)
def test_the_parts_of_each_layout_are_exported_as_the_stock_class_loads_them(
    layout: str, folder: Path, tmp_path: Path
) -> None:
    LAYOUTS[layout](folder)
    pipeline = open_pipeline(str(folder))
    parts, lacking = read_parts(pipeline)
    out = tmp_path / "export"
    out.mkdir()
    for part in (*parts, read_part(pipeline, "unet")):
        write_part(part, out)
    (out / "model_index.json").write_text(describe_index(pipeline, parts, INPAINT))
    shutil.rmtree(folder)
    assert lacking == {}
    for options, dtype in (({}, torch.float32), ({"variant": "fp16"}, torch.float16)):
        loaded = StableDiffusionInpaintPipeline.from_pretrained(out, dtype=dtype, **options)
        meant = StableDiffusionInpaintPipeline.from_pretrained(TINY_SD, dtype=dtype)
        for name in ("unet", "vae", "text_encoder"):
            found = getattr(loaded, name).state_dict()
            assert same(found, getattr(meant, name).state_dict()), name
