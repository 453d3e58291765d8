"""Studies of a random pipeline on random photos: everything about them is real but their meaning.

    python -m benchmarks.random_study FOLDER full 9

Weights are drawn as torch's own layers draw them, so that all numbers stay in the range of half
precision, and on the device at hand, which takes a second there. What such a model paints means
nothing. As a command it makes the study of `full_size`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
)
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from sdsearch import create_study
from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.unet import SD14, SD14_INPAINT, TINY, UNPRUNED
from sdsearch.weights import make_unet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from diffusers import UNet2DConditionModel

    from sdsearch.study import StudyFolder
    from sdsearch.unet import Architecture, Backbone

Size = Literal["full", "tiny"]
_POOL_BATCHES = 16
"""A recovery learns from so many batches' worth of photos at most."""
_CAPTION = "photo {} of a place that was never there"


@dataclass(frozen=True, slots=True)
class Geometry:
    """The shapes of a pipeline: UNet, autoencoder, text encoder, pixels along a side."""

    backbone: Backbone
    vae: Mapping[str, Any]
    text: Mapping[str, Any]
    resolution: int

    @property
    def latent(self) -> int:
        """Latent pixels along a side."""
        return self.resolution // int(2 ** (len(self.vae["block_out_channels"]) - 1))

    @property
    def tokens(self) -> int:
        """Length of a text, in tokens."""
        return int(self.text["max_position_embeddings"])


def find_geometry(size: Size, channels: int = 9) -> Geometry:
    """That of SD v1.5 (9 channels: inpainting; 4: without), or that of the embedded tiny model."""
    if size == "tiny":
        backbone = TINY.model_copy(update={"in_channels": channels})
        return Geometry(backbone, _config("vae"), _config("text_encoder"), 64)
    return Geometry(
        backbone=SD14_INPAINT if channels == 9 else SD14,
        vae={
            "block_out_channels": (128, 256, 512, 512),
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "layers_per_block": 2,
            "latent_channels": 4,
            "sample_size": 512,
        },
        text={
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "max_position_embeddings": 77,
        },
        resolution=512,
    )


def make_study(
    folder: Path,
    geometry: Geometry,
    protocol: Mapping[str, Any],
    device: torch.device,
    **sections: Mapping[str, Any],
) -> StudyFolder:
    """A study with its sample, its teacher and as many photos as its protocol asks for.

    Whatever is in `folder` already is taken as it is.
    """
    pipeline, photos = folder / "teacher", folder / "photos"
    if not pipeline.is_dir():
        write_pipeline(pipeline, geometry, device)
    study = create_study(
        folder / "study",
        teacher=pipeline,
        space="sd14",
        protocol={"dataset": str(photos), "resolution": geometry.resolution, **protocol},
        **sections,
    )
    said = study.config.protocol
    if not photos.is_dir():
        recipe = said.recovery
        learned = recipe.batch_size * min(recipe.steps, _POOL_BATCHES)
        write_photos(photos, said.samples + learned, geometry.resolution)
    study.sample()
    return study.folder


def write_pipeline(folder: Path, geometry: Geometry, device: torch.device) -> None:
    """Save a pipeline of random weights in float16, as pipelines are handed on."""
    painted = geometry.backbone.in_channels == 9
    kind = StableDiffusionInpaintPipeline if painted else StableDiffusionPipeline
    tokenizer = CLIPTokenizer.from_pretrained(
        asset_path(TINY_TEACHER) / "tokenizer", model_max_length=geometry.tokens
    )
    parts = {
        "vae": random_vae(geometry, device),
        "text_encoder": randomize(CLIPTextModel(CLIPTextConfig(**geometry.text)), device),
        "unet": random_unet(UNPRUNED, geometry.backbone, device),
    }
    kind(
        **{name: torch.nn.Module.to(part, torch.float16) for name, part in parts.items()},
        tokenizer=tokenizer,
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def random_unet(
    arch: Architecture, backbone: Backbone, device: torch.device
) -> UNet2DConditionModel:
    """A member's UNet of random weights, in float32."""
    unet: UNet2DConditionModel = randomize(make_unet(arch, backbone), device)
    return unet


def random_vae(geometry: Geometry, device: torch.device) -> AutoencoderKL:
    """An autoencoder of random weights, in float32."""
    vae: AutoencoderKL = randomize(AutoencoderKL(**geometry.vae), device)
    return vae


@torch.no_grad()
def randomize(module: Any, device: torch.device) -> Any:
    """Move a module to a device and draw its weights there, uniform with variance 1/3 of fan-in.

    Norms begin with ones, biases with zeros, as they do before a training.
    """
    module = torch.nn.Module.to(module, device)
    generator = torch.Generator(device).manual_seed(0)
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            bound = parameter[0].numel() ** -0.5
            parameter.uniform_(-bound, bound, generator=generator)
        else:
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    return module.eval().requires_grad_(False)


def write_photos(folder: Path, count: int, resolution: int) -> None:
    """Save photos of random clouds of colour as JPEG, with captions."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    lines = []
    for number in range(count):
        cells = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        clouds = Image.fromarray(cells).resize((resolution, resolution), Image.Resampling.BICUBIC)
        name = f"{number:06d}.jpg"
        clouds.save(folder / name, quality=90)
        lines.append(json.dumps({"file_name": name, "text": _CAPTION.format(number)}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _config(part: str) -> dict[str, Any]:
    """What the embedded pipeline's config says of a part, without the names of its class."""
    file = asset_path(TINY_TEACHER) / part / "config.json"
    said: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return {name: value for name, value in said.items() if not name.startswith("_")}


_FEW = {
    "samples": 2,
    "steps": 1,
    "block_size": 1,
    "recovery": {"steps": 4, "batch_size": 1},
}
"""The fewest of everything that still goes through every stage, in float32: processors without
instructions for half precision need an hour for a call of the UNet in it."""


def main() -> None:
    """Make the study of `full_size`, on the processor."""
    folder, size, channels = sys.argv[1:]
    long = {"steps": 4, "batch_size": 1, "ema": 0.999}
    make_study(
        Path(folder),
        find_geometry("tiny" if size == "tiny" else "full", int(channels)),
        _FEW,
        torch.device("cpu"),
        export={"recovery": long},
        machine={"gradient_checkpointing": True},
    )


if __name__ == "__main__":
    main()
