"""The two trained nets as functions of tensors alone, which CUDA graphs can replay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel


class Autoencode(torch.nn.Module):
    """Images and latent noise to decoded images and the divergence of their latents."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(
        self, images: torch.Tensor, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, 64, 64) and (N, 4, 16, 16) -> (N, 3, 64, 64) and (N,)."""
        posterior = self.vae.encode(images).latent_dist
        return self.vae.decode(posterior.mean + posterior.std * noise).sample, posterior.kl()


class Denoise(torch.nn.Module):
    """The UNet as a function of tensors alone, which a CUDA graph can replay."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self, inputs: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor
    ) -> torch.Tensor:
        """(N, 9, 16, 16), (N,) and (N, tokens, width) -> (N, 4, 16, 16)."""
        return self.unet(inputs, timesteps, context, return_dict=False)[0]


def replayed(module: torch.nn.Module, sample: tuple[torch.Tensor, ...]) -> torch.nn.Module:
    """The module as CUDA graphs: launching these small kernels one by one costs most of a step."""
    if sample[0].device.type != "cuda":
        return module
    return torch.cuda.make_graphed_callables(module, sample)
