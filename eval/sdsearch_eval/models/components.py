"""The parts of a pipeline that surround its UNet: autoencoder, text encoder, tokenizer, sampler."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from sdsearch.pipelines import read_part
from sdsearch.unet import check_pipeline_family, read_noise_schedule
from sdsearch.weights import load_part, load_tokenizer
from sdsearch_eval.devices import HOST, place_net, release_memory
from sdsearch_eval.models.schedulers import make_scheduler, set_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from diffusers import AutoencoderKL, AutoencoderTiny, SchedulerMixin
    from torch import Tensor
    from transformers import CLIPTextModel, CLIPTokenizer

    from sdsearch.labels import Scheduler
    from sdsearch.pipelines import PipelineFolder
    from sdsearch.unet import NoiseSchedule

PIXELS_AT_ONCE = 1 << 21
"""Of all images that the autoencoder works on at once: 8 of 512 pixels a side take 9 GB."""

CAPTIONS_AT_ONCE = 1024
"""Captions that the text encoder works on at once: those of Stable Diffusion take 1 GB."""


@dataclass(frozen=True, slots=True)
class Components:
    """Everything but the UNet, frozen; images are (N, 3, H, W) in [-1, 1]."""

    vae: AutoencoderKL | AutoencoderTiny
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    noise_schedule: NoiseSchedule
    device: torch.device

    def scheduler(self, steps: int | None = None, name: Scheduler = "ddim") -> SchedulerMixin:
        """A fresh scheduler on the teacher's noise schedule, its timesteps set where given.

        Raises:
            InputError: the noise schedule has no room for so many steps, or no signal.
        """
        scheduler = make_scheduler(self.noise_schedule, name)
        if steps is not None:
            set_steps(scheduler, steps)
        return scheduler

    @property
    def latent_factor(self) -> int:
        """Image pixels per latent pixel along one side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @contextmanager
    def wait_on_host(self) -> Iterator[None]:
        """Inside, the networks are in host memory, and nothing can be encoded or decoded."""
        networks = self.vae, self.text_encoder
        try:
            for network in networks:
                torch.nn.Module.to(network, HOST)
            release_memory(self.device)
            yield
        finally:
            for network in networks:
                torch.nn.Module.to(network, self.device)

    @torch.no_grad()
    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """(N, tokens, width) embeddings of captions, padded or cut to the tokenizer's length."""
        tokens = self.tokenizer(
            list(captions), padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        parts = tokens.split(CAPTIONS_AT_ONCE)
        return torch.cat([self.text_encoder(part.to(self.device))[0] for part in parts])

    def cut_captions(self, captions: Sequence[str]) -> list[str]:
        """Those of some captions whose end `encode_text` cuts off, as the tokenizer takes less."""
        tokens = self.tokenizer(list(captions), truncation=False, verbose=False).input_ids
        longest = self.tokenizer.model_max_length
        return [text for text, ids in zip(captions, tokens, strict=True) if len(ids) > longest]

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """(N, 4, h, w) scaled latents: the mode of the posterior, never a sample."""

        def encode(part: Tensor) -> Tensor:
            encoded = self.vae.encode(part.to(self.device))
            # A tiny autoencoder has no posterior.
            found = (
                encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
            )
            latents: Tensor = found * self.vae.config.scaling_factor
            return latents

        return _in_parts(encode, images, images.shape[-2] * images.shape[-1])

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """(N, 3, H, W) images of scaled latents."""

        def decode(part: Tensor) -> Tensor:
            scaled = part / self.vae.config.scaling_factor
            images: Tensor = self.vae.decode(scaled, return_dict=False)[0]
            return images

        pixels = latents.shape[-2] * latents.shape[-1] * self.latent_factor**2
        return _in_parts(decode, latents, pixels)


def _in_parts(work: Callable[[Tensor], Tensor], items: Tensor, pixels: int) -> Tensor:
    """What the autoencoder makes of some items of so many pixels each, as many at once as fit.

    Raises:
        torch.OutOfMemoryError: a single one does not fit.
    """
    parts = [_halving(work, part) for part in items.split(max(1, PIXELS_AT_ONCE // pixels))]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _halving(work: Callable[[Tensor], Tensor], part: Tensor) -> Tensor:
    try:
        return work(part)
    except torch.OutOfMemoryError:
        if len(part) == 1:
            raise
    # Outside of the handler, whose traceback keeps the tensors of the failed try alive.
    release_memory(part.device)
    return torch.cat([_halving(work, half) for half in part.split((len(part) + 1) // 2)])


def load_components(pipeline: PipelineFolder, device: torch.device) -> Components:
    """Load them in float32, by the classes that they name, whatever they are stored as.

    Raises:
        InputError: the pipeline lacks one of them, is of another family, or its parts do not fit.
    """
    check_pipeline_family(pipeline)
    schedule = read_noise_schedule(pipeline)
    encoder = read_part(pipeline, "text_encoder")
    tokenizer = load_tokenizer(read_part(pipeline, "tokenizer"), encoder)
    vae, text_encoder = load_part(read_part(pipeline, "vae")), load_part(encoder)
    # Some tokenizers say no length: then it is that of the encoder's positions.
    tokenizer.model_max_length = min(
        tokenizer.model_max_length, text_encoder.config.max_position_embeddings
    )
    return Components(
        vae=place_net(own_weights(vae), device),
        text_encoder=own_weights(text_encoder).to(device),
        tokenizer=tokenizer,
        noise_schedule=schedule,
        device=device,
    )


def describe_cut(components: Components, captions: Sequence[str]) -> str | None:
    """A sentence on captions that are longer than the tokenizer takes; None where all fit."""
    cut = components.cut_captions(captions)
    if not cut:
        return None
    return (
        f"{len(cut)} of {len(captions)} captions are longer than the "
        f"{components.tokenizer.model_max_length} tokens that the tokenizer takes, and end there: "
        f"{cut[0][:80]!r}{' and others' if len(cut) > 1 else ''}"
    )


def own_weights(module: Any) -> Any:
    """Copy memory-mapped weights into fresh memory: their alignment would move values by 1e-6."""
    module.load_state_dict(
        {name: tensor.clone() for name, tensor in module.state_dict().items()}, assign=True
    )
    return module.eval().requires_grad_(False)
