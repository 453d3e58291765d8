"""Inpainting by our own loop over diffusers' components: nothing is drawn inside it.

Latents, text and masked-image latents are inputs, so that two UNets given the same inputs differ by
their weights alone. The result equals the stock `StableDiffusionInpaintPipeline` given the same.

A UNet of 9 channels sees mask and masked-image latents; one of 4 does not: after every step the
known cells are set back to the masked image, noised as the next step expects. It is the image with
the hole greyed, not the original, whose hole would otherwise leak through the autoencoder.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from sdsearch.errors import WorkError
from sdsearch_eval.devices import memory_format
from sdsearch_eval.seeds import derive_seeds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from diffusers import UNet2DConditionModel
    from numpy.typing import NDArray
    from torch import Tensor

    from sdsearch.labels import Scheduler
    from sdsearch_eval.data import Sample
    from sdsearch_eval.models import Components

AT_ONCE = 32
"""Images that are encoded at a time."""


class NotFiniteError(WorkError):
    """Latents or images hold NaN or infinity, as half precision may give."""


@dataclass(frozen=True, slots=True)
class UNetInputs:
    """What n inpainting tasks give a UNet, shared by all architectures.

    Shapes: noise, masked_latents (n, 4, h, w); masks (n, 1, h, w), 1 = repaint; text and
    empty_text (n, tokens, width).
    """

    noise: Tensor
    masks: Tensor
    masked_latents: Tensor
    text: Tensor
    empty_text: Tensor

    def __len__(self) -> int:
        return len(self.noise)

    def blocks(self, size: int) -> Iterator[UNetInputs]:
        """Consecutive blocks of `size` tasks: the fixed composition of batches in a protocol."""
        for start in range(0, len(self), size):
            yield self.select(slice(start, start + size))

    def rows(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def compact(self) -> dict[str, Tensor]:
        """The tensors as they are kept: where all rows are one in memory, that one."""
        return {name: one[:1] if one.stride(0) == 0 else one for name, one in self.rows().items()}

    @classmethod
    def expand(cls, kept: Mapping[str, Tensor]) -> UNetInputs:
        """The inputs that were kept so, or with every row."""
        count = len(kept["noise"])
        return cls(**{name: one.expand(count, *one.shape[1:]) for name, one in kept.items()})

    def select(self, index: slice | list[int]) -> UNetInputs:
        """The tasks at `index`."""
        return UNetInputs(**{name: one[index] for name, one in self.rows().items()})


def images_to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def tensor_to_images(tensor: Tensor) -> NDArray[np.uint8]:
    """(N, 3, H, W) in [-1, 1] -> (N, H, W, 3) uint8, clamped and rounded to nearest.

    Raises:
        NotFiniteError: a value is not.
    """
    if not torch.isfinite(tensor).all():
        raise NotFiniteError("decoded images must be finite, but hold NaN or infinity")
    pixels = ((tensor.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def paste_back(images: NDArray[np.uint8], samples: Sequence[Sample]) -> list[NDArray[np.uint8]]:
    """Keep the original pixels outside of each sample's hole, at the size of its original."""
    return [sample.paste(image) for image, sample in zip(images, samples, strict=True)]


def prepare_inputs(components: Components, samples: Sequence[Sample], seed: int) -> UNetInputs:
    """UNet inputs of samples: hole greyed before encoding, mask max-pooled, noise seeded singly.

    Images become floats some at a time. Rows that are all the same are one row in memory.
    """
    # Where nothing is known, all samples look alike: a grey image, and a mask that is 1 everywhere.
    is_whole = all((sample.mask == 255).all() for sample in samples)
    seen = samples[:1] if is_whole else samples
    parts = [
        _encode_known(components, seen[start : start + AT_ONCE])
        for start in range(0, len(seen), AT_ONCE)
    ]
    masks, masked = (
        torch.cat(rows).expand(len(samples), -1, -1, -1) for rows in zip(*parts, strict=True)
    )
    text = components.encode_text([sample.caption for sample in samples])
    empty = components.encode_text([""]).expand_as(text)
    return UNetInputs(
        noise=draw_noise(masked, samples, seed),
        masks=masks,
        masked_latents=masked,
        text=text,
        empty_text=empty,
    )


def _encode_known(components: Components, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """Masks (n, 1, h, w) of samples, and latents (n, 4, h, w) of their images, the hole greyed."""
    images = images_to_tensor(np.stack([sample.image for sample in samples]))
    holes = (
        torch.from_numpy(np.stack([sample.mask for sample in samples]) == 255).float().unsqueeze(1)
    )
    masks = F.max_pool2d(holes, components.latent_factor).to(components.device)
    return masks, components.encode_images(images * (1 - holes))


def draw_noise(like: Tensor, samples: Sequence[Sample], seed: int) -> Tensor:
    """Noise of the shape (n, 4, h, w) of `like` and on its device.

    It is drawn on the CPU in float32 from a 32-bit seed per sample.
    """
    seeds = derive_seeds(seed, (sample.name for sample in samples), "noise")
    draws = [torch.randn(like.shape[1:], generator=torch.Generator().manual_seed(s)) for s in seeds]
    return torch.stack(draws).to(like.device)


@torch.no_grad()
def sample_latents(
    unet: UNet2DConditionModel,
    inputs: UNetInputs,
    components: Components,
    *,
    steps: int,
    guidance: float,
    sampler: Scheduler = "ddim",
) -> Tensor:
    """Denoise one block of tasks to final latents (n, 4, h, w), at strength 1.

    Classifier-free guidance is on above 1, as in the stock pipeline. The UNet computes in its own
    precision, the scheduler in float32.

    Raises:
        NotFiniteError: the latents are not finite.
    """
    scheduler = components.scheduler(steps, sampler)  # on the host: a step waits for no device
    guided = guidance > 1
    latents: Tensor = inputs.noise * scheduler.init_noise_sigma
    context = torch.cat([inputs.empty_text, inputs.text]) if guided else inputs.text
    context = context.to(unet.dtype)
    blends = unet.config.in_channels == latents.shape[1]
    for number, timestep in enumerate(scheduler.timesteps):
        model_input = unet_input(unet, scheduler.scale_model_input(latents, timestep), inputs)
        if guided:
            model_input = torch.cat([model_input, model_input])
        output = unet(model_input.to(unet.dtype), timestep, context, return_dict=False)[0].float()
        if guided:
            unconditional, conditional = output.chunk(2)
            output = unconditional + guidance * (conditional - unconditional)
        latents = scheduler.step(output, timestep, latents, return_dict=False)[0]
        if blends:
            known = inputs.masked_latents
            if number + 1 < len(scheduler.timesteps):
                following = scheduler.timesteps[number + 1].reshape(1)
                known = scheduler.add_noise(known, inputs.noise, following)
            latents = (1 - inputs.masks) * known + inputs.masks * latents
    if not torch.isfinite(latents).all():
        raise NotFiniteError("sampled latents must be finite, but hold NaN or infinity")
    return latents


def unet_input(unet: UNet2DConditionModel, latents: Tensor, inputs: UNetInputs) -> Tensor:
    """What a UNet of 4 or 9 input channels gets for noisy latents, in its device's format."""
    if unet.config.in_channels != latents.shape[1]:
        latents = torch.cat([latents, inputs.masks, inputs.masked_latents], dim=1)
    return latents.contiguous(memory_format=memory_format(latents.device))


def cast_unet(unet: UNet2DConditionModel, dtype: str) -> UNet2DConditionModel:
    """The same UNet, its weights in another precision."""
    # `ModelMixin.to` warns about modules to be kept in float32 even where there are none.
    torch.nn.Module.to(unet, getattr(torch, dtype))
    return unet
