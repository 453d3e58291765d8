from __future__ import annotations

import json
import logging
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.errors import InputError
from sdsearch.export.lora import cut_lora, write_lora
from sdsearch.space.space import search_space
from sdsearch.unet.backbone import TINY
from sdsearch.unet.config import student_path
from sdsearch.unet.slots import SLOTS
from sdsearch.unet.teacher import find_backbone
from sdsearch.weights.inherit import inherit_weights, make_unet
from tests.fakes import tiny_member

if TYPE_CHECKING:
    from sdsearch.unet.architecture import Architecture
    from sdsearch.unet.backbone import Backbone

SPACE = search_space("tiny")
WHOLE = SPACE.members["teacher"]
WORDS = Path(__file__).parents[2] / "assets" / "worlds" / "words-16"
ATTENTIONS = [slot for slot in SLOTS if slot.kind == "attn"]


def teacher_lora(style: str = "diffusers", backbone: Backbone = TINY) -> dict[str, torch.Tensor]:
    """A LoRA of rank 2 on queries and values of every attention of a tiny teacher."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        unet = make_unet(WHOLE, backbone)
    found = {}
    for name, module in unet.named_modules():
        if name.endswith(("to_q", "to_v")):
            outputs, inputs = module.weight.shape
            shapes = (2, inputs), (outputs, 2)
            pair = [torch.randn(shape, generator=generator) for shape in shapes]
            if style == "diffusers":
                found[f"unet.{name}.lora_A.weight"], found[f"unet.{name}.lora_B.weight"] = pair
            else:
                key = f"lora_unet_{name.replace('.', '_')}"
                found[f"{key}.lora_down.weight"], found[f"{key}.lora_up.weight"] = pair
                found[f"{key}.alpha"] = torch.tensor(2.0)
    return found


def some_members() -> list[Architecture]:
    rng = np.random.default_rng(3)
    return [*(tiny_member(n) for n in ("bk-base", "bk-small", "bk-tiny")), *SPACE.sample(5, rng)]


def test_the_unpruned_student_keeps_every_tensor_under_its_name() -> None:
    lora = teacher_lora()
    found = cut_lora(lora, WHOLE, TINY)
    assert found.dropped == {}
    assert {name: id(one) for name, one in found.tensors.items()} == {
        name: id(one) for name, one in lora.items()
    }


@pytest.mark.parametrize("arch", some_members(), ids=lambda arch: arch.key)
def test_a_kept_attention_keeps_its_own_tensors_and_a_removed_one_loses_them(
    arch: Architecture,
) -> None:
    lora = teacher_lora()
    found = cut_lora(lora, arch, TINY)
    kept = [slot for slot in ATTENTIONS if slot.name in arch.kept_slots]
    assert len(found.tensors) == len(lora) * len(kept) // len(ATTENTIONS)
    assert len(found.tensors) + len(found.dropped) == len(lora)
    assert set(found.dropped.values()) <= {"its block was removed"}
    for slot in kept:
        before, after = student_path(slot, WHOLE), student_path(slot, arch)
        key = "transformer_blocks.0.attn1.to_q.lora_A.weight"
        assert found.tensors[f"unet.{after}.{key}"] is lora[f"unet.{before}.{key}"]


def test_names_of_kohya_are_read_and_kept() -> None:
    arch = tiny_member("bk-small")
    named = {
        name.removeprefix("unet.").replace(".", "_").partition("_lora")[0]
        for name in cut_lora(teacher_lora(), arch, TINY).tensors
    }
    found = cut_lora(teacher_lora("kohya"), arch, TINY)
    assert {name.removeprefix("lora_unet_").split(".")[0] for name in found.tensors} == named
    assert len(found.tensors) == 3 * len(named)


def test_tensors_of_the_text_encoder_stay_and_strange_ones_are_named() -> None:
    lora = {
        "text_encoder.q_proj.lora_A.weight": torch.zeros(2, 4),
        "unet.down_blocks.9.nothing.lora_A.weight": torch.zeros(2, 4),
        "unet.mid_block.attentions.0.proj_in.lora_A.weight": torch.zeros(2, 1),
    }
    found = cut_lora(lora, WHOLE, TINY)
    assert list(found.tensors) == ["text_encoder.q_proj.lora_A.weight"]
    reasons = list(found.dropped.values())
    assert reasons[0] == "the teacher has no such module"
    assert "it has 1 inputs, the student's mid_block.attentions.0.proj_in 64" in reasons[1]


def test_a_module_of_which_a_tensor_does_not_fit_loses_its_others_too() -> None:
    # Trained on 4 input channels, where the teacher has 9.
    lora = {
        "lora_unet_conv_in.lora_down.weight": torch.zeros(2, 4, 3, 3),
        "lora_unet_conv_in.lora_up.weight": torch.zeros(32, 2, 1, 1),
        "lora_unet_conv_in.alpha": torch.tensor(2.0),
    }
    found = cut_lora(lora, WHOLE, TINY)
    assert found.tensors == {}
    reasons = list(found.dropped.values())
    assert reasons[0] == "it has 4 inputs, the student's conv_in 9"
    assert reasons[1:] == ["another tensor of conv_in does not fit"] * 2
    words = TINY.model_copy(update={"in_channels": 4})
    assert cut_lora(lora, WHOLE, words).tensors.keys() == lora.keys()


def test_no_half_of_a_pair_is_left_of_what_is_too_wide_for_a_narrower_student() -> None:
    narrow = search_space("sd14-wide", TINY).sample(20, np.random.default_rng(0))
    arch = next(one for one in narrow if one.widths is not None)
    for style, together in (("diffusers", 2), ("kohya", 3)):
        kept = cut_lora(teacher_lora(style), arch, TINY).tensors
        modules = Counter(re.split(r"\.lora_|\.alpha", name)[0] for name in kept)
        assert set(modules.values()) <= {together}


def test_a_file_that_is_no_lora_of_a_unet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must have tensors named unet"):
        cut_lora({"model.weight": torch.zeros(1)}, WHOLE, TINY)
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="no readable safetensors file"):
        write_lora(tmp_path / "broken.safetensors", WHOLE, TINY, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("style", ["diffusers", "kohya"])
def test_a_lora_of_what_paints_from_words_loads_into_its_exported_student(
    style: str, tmp_path: Path
) -> None:
    from diffusers import StableDiffusionPipeline

    arch, backbone = tiny_member("bk-small"), find_backbone(str(WORDS))
    save_file(teacher_lora(style, backbone), tmp_path / "style.safetensors")
    file = write_lora(tmp_path / "style.safetensors", arch, backbone, tmp_path / "lora")
    pipeline = StableDiffusionPipeline.from_pretrained(WORDS, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    state = {name: tensor.float() for name, tensor in pipeline.unet.state_dict().items()}
    pipeline.unet = inherit_weights(arch, backbone, state).eval()

    def paint() -> np.ndarray:
        noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
        size = {"height": 64, "width": 64, "num_inference_steps": 2, "output_type": "np"}
        found: np.ndarray = pipeline("a red house", latents=noise, **size).images[0]
        return found

    before = paint()
    pipeline.load_lora_weights(file)
    layers = {name for name in pipeline.unet.state_dict() if "lora_A" in name}
    assert len(layers) == sum("lora_A" in n or "lora_down" in n for n in load_file(file))
    assert np.abs(paint() - before).max() > 1e-3
    pipeline.unload_lora_weights()
    assert np.abs(paint() - before).max() < 1e-5


@pytest.mark.slow
def test_a_teachers_lora_loads_into_the_student_by_diffusers_with_nothing_unexpected(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from diffusers import StableDiffusionInpaintPipeline
    from diffusers.utils import logging as of_diffusers

    arch = tiny_member("bk-small")
    save_file(teacher_lora(), tmp_path / "style.safetensors")
    file = write_lora(tmp_path / "style.safetensors", arch, TINY, tmp_path / "lora")
    listing = json.loads(file.with_suffix(".json").read_text())
    assert listing["kept"] == len(load_file(file))
    assert len(listing["dropped"]) == len(teacher_lora()) - listing["kept"] > 0
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(asset_path(TINY_TEACHER))
    weights = asset_path(TINY_TEACHER) / "unet" / "diffusion_pytorch_model.safetensors"
    state = {name: tensor.float() for name, tensor in load_file(weights).items()}
    pipeline.unet = inherit_weights(arch, TINY, state).eval()
    inputs = (torch.randn(1, 9, 16, 16), 500, torch.randn(1, 32, TINY.cross_attention_dim))
    with torch.no_grad():
        before = pipeline.unet(*inputs, return_dict=False)[0]
        of_diffusers.enable_propagation()
        try:
            with caplog.at_level(logging.WARNING):
                pipeline.load_lora_weights(file)
        finally:
            of_diffusers.disable_propagation()
        after = pipeline.unet(*inputs, return_dict=False)[0]
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "unexpected keys" not in said
    assert "missing keys" not in said
    layers = {name for name in pipeline.unet.state_dict() if "lora_A" in name}
    assert len(layers) == listing["kept"] // 2
    assert (after - before).abs().max() > 1e-4
