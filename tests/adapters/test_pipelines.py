"""Cut LoRAs in whole stock pipelines, which say nothing of keys that they miss or do not know."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import logging as of_diffusers

from sdsearch.adapters import write_lora
from sdsearch.pipelines import locate_pipeline
from sdsearch.unet import find_backbone
from sdsearch.weights import inherit_weights
from tests.fakes import tiny_member
from tests.loras import make_lora

if TYPE_CHECKING:
    from sdsearch.unet import Architecture

WORDS = Path(__file__).parents[2] / "assets" / "worlds" / "words-16"
LAYER = "encoder.layers.0.mlp.fc1"


def student_pipeline(arch: Architecture) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(WORDS, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    state = {name: tensor.float() for name, tensor in pipeline.unet.state_dict().items()}
    pipeline.unet = inherit_weights(arch, find_backbone(str(WORDS)), state).eval()
    return pipeline


def paint(pipeline: StableDiffusionPipeline) -> np.ndarray:
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    size = {"height": 64, "width": 64, "num_inference_steps": 2, "output_type": "np"}
    found: np.ndarray = pipeline("a red house", latents=noise, **size).images[0]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("style", ["kohya", "header"])
def test_a_pipeline_paints_by_a_cut_lora_and_its_text_encoder_by_the_rest(
    style: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arch = tiny_member("bk-small")
    pipeline = student_pipeline(arch)
    (name,) = [n for n, _ in pipeline.text_encoder.named_modules() if n.endswith(LAYER)]
    outputs, inputs = pipeline.text_encoder.get_submodule(name).weight.shape
    down, up = torch.full((2, inputs), 0.5), torch.full((outputs, 2), 0.25)
    made = make_lora(style, find_backbone(str(WORDS)))
    if style == "kohya":
        key = f"lora_te_text_model_{LAYER.replace('.', '_')}"
        made.tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
        made.tensors[f"{key}.alpha"] = torch.tensor(2.0)
    file = write_lora(made.save(tmp_path), arch, find_backbone(str(WORDS)), tmp_path / "lora")
    before, text = paint(pipeline), pipeline.text_encoder.get_submodule(name).weight.clone()
    of_diffusers.enable_propagation()
    try:
        with caplog.at_level(logging.WARNING):
            pipeline.load_lora_weights(file)
    finally:
        of_diffusers.disable_propagation()
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "unexpected keys" not in said
    assert "missing keys" not in said
    layers = [one for one in pipeline.unet.state_dict() if "lora_A" in one]
    listing = json.loads(file.with_suffix(".json").read_text())
    assert len(layers) == len(listing["kept"]) > 0
    assert np.abs(paint(pipeline) - before).max() > 1e-3
    if style == "kohya":
        pipeline.fuse_lora(components=["text_encoder"])
        layer = pipeline.text_encoder.get_submodule(name)
        assert torch.allclose(layer.base_layer.weight - text, up @ down, atol=1e-5)
        pipeline.unfuse_lora(components=["text_encoder"])
    pipeline.unload_lora_weights()
    assert np.abs(paint(pipeline) - before).max() < 1e-4


@pytest.mark.slow
def test_an_inpainting_pipeline_loads_it_too(tmp_path: Path) -> None:
    from diffusers import StableDiffusionInpaintPipeline

    place = locate_pipeline("tiny")
    arch, backbone = tiny_member("bk-small"), find_backbone("tiny")
    made = make_lora("locon", backbone)
    file = write_lora(made.save(tmp_path), arch, backbone, tmp_path / "lora")
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(place, local_files_only=True)
    state = {name: tensor.float() for name, tensor in pipeline.unet.state_dict().items()}
    pipeline.unet = inherit_weights(arch, backbone, state).eval()
    pipeline.load_lora_weights(file)
    pipeline.fuse_lora(components=["unet"])
    pipeline.unload_lora_weights()
    meant = inherit_weights(arch, backbone, made.merged(state)).state_dict()
    for name, tensor in pipeline.unet.state_dict().items():
        assert (tensor - meant[name]).abs().max() <= 1e-6, name
