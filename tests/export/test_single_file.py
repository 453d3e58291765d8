"""A design as one file in the original layout: exact, read by stock diffusers, or refused."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save

from sdsearch.errors import FieldError, InputError
from sdsearch.export.card import Beside
from sdsearch.export.inventory import read_inventory, record_files
from sdsearch.export.papers import model_card, renew_card
from sdsearch.export.recovered import read_source
from sdsearch.original import name_unet
from sdsearch.pipelines.folder import open_pipeline
from sdsearch.stages.export import Precision, add_single_file, export_designs
from sdsearch.study.folder import load_space
from sdsearch.unet.architecture import Architecture
from sdsearch.unet.teacher import teacher_identity
from sdsearch.weights.inherit import inherit_weights
from sdsearch.weights.notes import write_noted
from sdsearch.weights.single_file import check_packable, pack_pipeline, packed_attentions
from sdsearch.weights.tensorfiles import TensorFiles
from tests.export.exports import edit, export_now
from tests.fakes import make_design, measured, write_designs
from tests.original.importer import detect, member_of

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.design.designs import Design
    from sdsearch.study.folder import StudyFolder

UNET = "model.diffusion_model."
MIXED = "bk-small; level 0: attention up 01; mid resnet"


def design_of(words: str, study: StudyFolder, teacher: Path) -> Design:
    """A design with recovered weights that nobody has trained."""
    arch = Architecture.parse(words)
    state = load_file(teacher / "unet" / "diffusion_pytorch_model.safetensors")
    student = inherit_weights(arch, load_space(study).backbone, state)
    write_noted(study.recovered_file(arch.key), save(student.state_dict()), "a test")
    study.labels.write(measured(arch, 212.5, 3.0))
    return make_design(arch, "autobuild", 2)


def paint(pipeline: StableDiffusionInpaintPipeline) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    hole = np.zeros((64, 64), np.uint8)
    hole[16:48, 16:48] = 255
    rng = np.random.default_rng(0)
    found = pipeline(
        "abc",
        image=Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)),
        mask_image=Image.fromarray(hole),
        height=64,
        width=64,
        num_inference_steps=2,
        strength=1.0,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    )
    return np.asarray(found.images)


def test_stock_diffusers_paints_from_the_file_what_it_paints_from_the_folder(
    study: StudyFolder, design: Design
) -> None:
    folder = export_now(design, study)
    file = add_single_file(folder, "float32")
    kind = StableDiffusionInpaintPipeline
    meant = paint(kind.from_pretrained(folder, local_files_only=True))
    found = paint(kind.from_single_file(str(file), config=str(folder), local_files_only=True))
    assert meant.std() > 0.01
    assert np.abs(found - meant).max() <= 1 / 255
    add_single_file(folder, "float16")
    halved = kind.from_single_file(str(file), config=str(folder), local_files_only=True)
    assert np.abs(paint(halved.to(torch.float32)) - meant).max() <= 2 / 255


def test_an_importer_reads_the_design_from_the_file(study: StudyFolder, design: Design) -> None:
    file = add_single_file(export_now(design, study))
    with safe_open(file, "pt") as said:
        shapes = {
            name.removeprefix(UNET): tuple(said.get_slice(name).get_shape())
            for name in said.keys()  # noqa: SIM118 (it is no mapping)
            if name.startswith(UNET)
        }
        assert said.metadata()["modelspec.prediction_type"] == "epsilon"
    found = detect(shapes)
    assert found.inputs == 9
    assert [found.channels * one for one in found.multiples] == [32, 64, 64]
    assert (found.depths, found.middle) == ((1, 1, 1), None)
    assert member_of(found).levels == design.architecture.levels


def test_every_tensor_is_that_of_the_export(study: StudyFolder, teacher: Path) -> None:
    folder = export_now(design_of(MIXED, study, teacher), study)
    meant = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    renaming = name_unet(meant)
    assert len(renaming.left_out) == 6
    precisions: tuple[Precision, ...] = ("float16", "float32")
    for precision in precisions:
        found, dtype = TensorFiles(add_single_file(folder, precision)), getattr(torch, precision)
        for move in renaming.moves:
            assert torch.equal(found[UNET + move.original], meant[move.diffusers[0]].to(dtype))
        assert {found.dtype(name) for name in found} == {dtype}
        prefixes = {name.partition(".")[0] for name in found}
        assert prefixes == {"model", "first_stage_model", "cond_stage_model"}


def test_the_file_is_in_the_inventory_and_stays_while_it_is_whole(
    study: StudyFolder, design: Design
) -> None:
    folder = export_now(design, study)
    file = add_single_file(folder)
    assert file.name in read_inventory(folder)
    before = file.stat().st_mtime_ns
    assert add_single_file(folder).stat().st_mtime_ns == before
    file.write_bytes(b"damaged")
    add_single_file(folder)
    assert len(TensorFiles(file)) > 100
    assert not list(folder.glob(".*.tmp"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("bk-tiny", 'from_single_file("path/of/this/folder/autobuild-2.safetensors"'),
        (MIXED, "cannot map it: diffusers' converter misses tensors of attentions"),
    ],
)
def test_the_card_says_where_the_file_loads(
    study: StudyFolder, teacher: Path, words: str, said: str
) -> None:
    design = design_of(words, study, teacher)
    folder = export_now(design, study)
    card = folder / "README.md"
    assert "As one file" not in card.read_text()
    add_single_file(folder)
    renew_card(design, study, teacher_identity(study.config.teacher.pipeline))
    text = card.read_text()
    assert said in text
    assert "ComfyUI: does not load it: ComfyUI knows cross_attention_dim 768 only" in text
    assert "float16" in text


def test_the_card_says_what_comfyui_has_to_be_told(study: StudyFolder, design: Design) -> None:
    source = read_source(design, study, teacher_identity(study.config.teacher.pipeline))
    said = {
        "name": "autobuild-1.safetensors",
        "precision": "float16",
        "silent": 0,
        "comfyui": None,
        "diffusers": None,
        "pruned": True,
        "predicts_v": True,
    }

    def card(**more: object) -> str:
        return model_card(source, Beside(single_file={**said, **more}))

    text = card()
    assert "ComfyUI: loads it as a checkpoint" in text
    assert "ModelSamplingDiscrete" in text
    assert "ModelSamplingDiscrete" not in card(predicts_v=False)
    assert "stable-diffusion.cpp, do not read it" in text
    assert "stable-diffusion.cpp" not in card(pruned=False)


ALONE = """
import sys

sys.modules["sdsearch"] = sys.modules["sdsearch_eval"] = None
from diffusers import StableDiffusionInpaintPipeline

folder, file = sys.argv[1:]
made = StableDiffusionInpaintPipeline.from_single_file(file, config=folder, local_files_only=True)
print(made.unet.num_parameters())
"""


@pytest.mark.slow
def test_the_file_loads_where_there_is_no_sdsearch(study: StudyFolder, design: Design) -> None:
    folder = export_now(design, study)
    file = add_single_file(folder)
    line = [sys.executable, "-I", "-c", ALONE, str(folder), str(file)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) == design.params


def test_a_design_that_is_not_exact_is_refused_before_anything_is_made(
    study: StudyFolder, teacher: Path
) -> None:
    design = design_of("level 3 depth 0", study, teacher)
    write_designs(study, [design])
    with pytest.raises(InputError, match="level 3 has no encoder block"):
        export_designs(study, [design.name], "float16")
    assert not study.pipelines_dir.exists()


def test_parts_that_the_layout_has_no_names_for_are_refused(
    study: StudyFolder, design: Design
) -> None:
    folder = export_now(design, study)
    edit(folder / "scheduler" / "scheduler_config.json", prediction_type="sample")
    with pytest.raises(FieldError, match="prediction_type"):
        check_packable(open_pipeline(str(folder)))
    edit(folder / "model_index.json", vae=["diffusers", "AutoencoderTiny"])
    with pytest.raises(FieldError, match="AutoencoderKL"):
        check_packable(open_pipeline(str(folder)))


def test_a_block_that_was_trained_is_written_as_an_attention_and_the_card_says_so(
    study: StudyFolder, teacher: Path
) -> None:
    design = design_of(MIXED, study, teacher)
    write_designs(study, [design])
    folder = export_now(design, study)
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    (name,) = (one for one in name_unet(tensors).left_out if one.endswith("proj_out.bias"))
    tensors[name] += 1
    file.unlink()
    file.write_bytes(save(tensors))
    made = folder / f"{design.name}.safetensors"
    pack_pipeline(open_pipeline(str(folder)), made)
    kept = sum("attn" in slot for slot in design.architecture.kept_slots)
    assert packed_attentions(made) == kept + 1
    record_files(folder, [made])
    renew_card(design, study, teacher_identity(study.config.teacher.pipeline))
    assert "1 of them have projections that training moved" in (folder / "README.md").read_text()
