"""Shared builders for tests of the core: seeded members, and UNets with seeded random weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from sdsearch.space.space import search_space
from sdsearch.unet.architecture import UNPRUNED, Architecture
from sdsearch.unet.backbone import TINY
from sdsearch.weights.inherit import make_unet

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from sdsearch.unet.backbone import Backbone

TEACHER = UNPRUNED
GRADED = TINY.with_widths((32, 64, 96, 96))
"""The tiny backbone with a bottom wider than level 1, so that no two widths are mixed up."""


def random_members(n: int, seed: int, space: str = "sd14") -> list[Architecture]:
    """`n` seeded uniform members."""
    return search_space(space).sample(n, np.random.default_rng(seed))


def hard_members() -> list[Architecture]:
    """The named members and one of every bottom, each with mixed attention on all levels."""
    space = search_space("sd14")
    mixed = next(
        number
        for number, level in enumerate(option.blocks for option in space.units[0].options)
        if level.depth == 2
        and level.down_attn == (False, True)
        and level.up_attn == (True, False, True)
    )
    bottoms = range(len(space.units[3].options))
    digits = np.array([[mixed, mixed, mixed, bottom] for bottom in bottoms])
    return [*space.members.values(), *(space.arch(int(i)) for i in space.indices(digits))]


def widened(arch: Architecture, widths: tuple[int, int, int, int]) -> Architecture:
    """The same member with other channels per level."""
    return Architecture.model_validate({**arch.model_dump(), "widths": widths})


def random_wide_members(n: int, seed: int, backbone: Backbone = TINY) -> list[Architecture]:
    """`n` seeded uniform members, each with seeded widths; one in two narrows level 0 as well."""
    rng = np.random.default_rng(seed)
    found = []
    for arch in search_space("sd14").sample(n, rng):
        step = math.lcm(backbone.norm_num_groups, *backbone.heads)
        widths = [
            int(rng.integers(1, full // step + 1)) * step for full in backbone.block_out_channels
        ]
        if rng.random() < 0.5:
            widths[0] = backbone.block_out_channels[0]
        if not arch.bottom.depth:
            widths[3] = widths[2]
        found.append(widened(arch, (widths[0], widths[1], widths[2], widths[3])))
    return found


def random_unet(
    arch: Architecture = TEACHER, backbone: Backbone = TINY, seed: int = 0
) -> UNet2DConditionModel:
    """A member's UNet with seeded weights of a size that keeps activations finite."""
    unet = make_unet(arch, backbone)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.normal_(0.0, 0.05, generator=generator)
    return unet


def lively_unet(backbone: Backbone = TINY, seed: int = 0) -> UNet2DConditionModel:
    """The unpruned UNet with weights of a trained net's scale: norms near 1, fan-in scaling.

    In `random_unet` norms are near 0, so attention is all but uniform and torn heads do not show.
    """
    unet = make_unet(TEACHER, backbone)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if parameter.dim() > 1:
                fan_in = parameter[0].numel()
                parameter.normal_(0.0, fan_in**-0.5, generator=generator)
            else:
                parameter.normal_(0.0, 0.1, generator=generator)
                if "norm" in name and name.endswith("weight"):
                    parameter.add_(1.0)
    return unet


def inputs(backbone: Backbone = TINY, size: int = 16, tokens: int = 77) -> tuple[torch.Tensor, ...]:
    """A seeded latent (1, C, size, size), a timestep and a prompt (1, tokens, context)."""
    generator = torch.Generator().manual_seed(1)
    latent = torch.randn(1, backbone.in_channels, size, size, generator=generator)
    prompt = torch.randn(1, tokens, backbone.cross_attention_dim, generator=generator)
    return latent, torch.tensor(500), prompt


def predict(unet: UNet2DConditionModel, *args: torch.Tensor) -> torch.Tensor:
    """The UNet's output without gradients."""
    with torch.no_grad():
        output: torch.Tensor = unet(*args).sample
    return output
