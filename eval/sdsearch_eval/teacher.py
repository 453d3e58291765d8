"""The teacher: the components of a diffusers inpainting folder, frozen, and its UNet's weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from sdsearch.backbone import Backbone
from sdsearch.errors import InputError
from sdsearch.space import search_space
from sdsearch.teacher import teacher_sha256
from sdsearch.weights import inherit, make_unet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from diffusers import AutoencoderKL, SchedulerMixin, UNet2DConditionModel
    from torch import Tensor
    from transformers import CLIPTextModel, CLIPTokenizer

    from sdsearch.architecture import Architecture
    from sdsearch.protocol import Scheduler

SCHEDULERS: dict[Scheduler, str] = {
    "ddim": "DDIMScheduler",
    "pndm": "PNDMScheduler",
    "euler": "EulerDiscreteScheduler",
    "dpmsolver++": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "deis": "DEISMultistepScheduler",
}


@dataclass(frozen=True, slots=True)
class Teacher:
    """Everything that stays the same for all students; images are (N, 3, H, W) in [-1, 1]."""

    backbone: Backbone
    unet_state: Mapping[str, Tensor]
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler_config: Mapping[str, Any]
    sha256: str
    device: torch.device

    def student(self, arch: Architecture) -> UNet2DConditionModel:
        """A fresh UNet of `arch` with inherited weights, channels last."""
        unet = inherit(arch, self.backbone, self.unet_state)
        return unet.to(self.device, memory_format=torch.channels_last)

    def empty_student(self, arch: Architecture) -> UNet2DConditionModel:
        """A fresh UNet of `arch` whose weights are still to be loaded, channels last."""
        return make_unet(arch, self.backbone).to(self.device, memory_format=torch.channels_last)

    def unpruned(self) -> Architecture:
        """The architecture that removes nothing."""
        return search_space("sd14", self.backbone).members["teacher"]

    def scheduler(self, steps: int | None = None, name: Scheduler = "ddim") -> SchedulerMixin:
        """A fresh scheduler on the teacher's noise schedule, its timesteps set where given."""
        import diffusers

        kind = getattr(diffusers, SCHEDULERS[name])
        # The stock pipelines skip PNDM's Runge-Kutta warm-up too.
        fixed = {"skip_prk_steps": True} if name == "pndm" else {}
        scheduler: SchedulerMixin = kind.from_config(dict(self.scheduler_config), **fixed)
        if steps is not None:
            scheduler.set_timesteps(steps, device=self.device)
        return scheduler

    @property
    def latent_factor(self) -> int:
        """Image pixels per latent pixel along one side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @torch.no_grad()
    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """(N, tokens, width) embeddings of captions, padded or cut to the tokenizer's length."""
        tokens = self.tokenizer(
            list(captions), padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        embeddings: Tensor = self.text_encoder(tokens.to(self.device))[0]
        return embeddings

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """(N, 4, h, w) scaled latents: the mode of the posterior, never a sample."""
        posterior = self.vae.encode(images.to(self.device)).latent_dist
        latents: Tensor = posterior.mode() * self.vae.config.scaling_factor
        return latents

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """(N, 3, H, W) images of scaled latents."""
        images: Tensor = self.vae.decode(
            latents / self.vae.config.scaling_factor, return_dict=False
        )[0]
        return images


def load_teacher(folder: Path, device: torch.device) -> Teacher:
    """Load a local diffusers folder in float32, whatever precision it is stored in.

    Raises:
        InputError: the folder lacks a part, or its UNet is no SD v1.4-family backbone of 4 or 9
            input channels.
    """
    from diffusers import AutoencoderKL
    from safetensors.torch import load_file
    from transformers import CLIPTextModel, CLIPTokenizer

    config = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
    backbone = Backbone.from_config(config)
    if backbone.in_channels not in (4, 9):
        raise InputError(
            f"the teacher's UNet must have 4 input channels (blending) or 9 (inpainting), but has "
            f"{backbone.in_channels}"
        )
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    if not weights.is_file():
        raise InputError(
            f"the teacher's UNet weights must be at {weights}, but are not; save them as "
            "safetensors"
        )
    scheduler = json.loads(
        (folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8")
    )
    vae = AutoencoderKL.from_pretrained(folder / "vae", dtype=torch.float32)
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
    return Teacher(
        backbone=backbone,
        unet_state={name: tensor.float() for name, tensor in load_file(weights).items()},
        vae=_own_weights(vae).to(device, memory_format=torch.channels_last),
        text_encoder=_own_weights(text_encoder).to(device),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        scheduler_config=scheduler,
        sha256=teacher_sha256(folder),
        device=device,
    )


def _own_weights(module: Any) -> Any:
    """Copy memory-mapped weights into fresh memory: their alignment would move values by 1e-6."""
    module.load_state_dict(
        {name: tensor.clone() for name, tensor in module.state_dict().items()}, assign=True
    )
    return module.eval().requires_grad_(False)
