"""What one step of training the tiny UNet is made of: latents, random choices, loss weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional as F

HOLE_WEIGHT, KEEP_WEIGHT, EDGE_WEIGHT = 1.0, 0.25, 3.0
OFFSET = 0.5


class Latents(NamedTuple):
    """What the UNet learns from: (N, 4, 16, 16) images, (N, K, 4, 16, 16) masked ones, masks."""

    images: torch.Tensor
    masked: torch.Tensor
    masks: torch.Tensor


def weigh_cells(mask: torch.Tensor) -> torch.Tensor:
    """(N, 1, H, W) weights of the loss: the hole over the rest, its edge over its inside."""
    edge = mask * F.max_pool2d(1 - mask, 3, stride=1, padding=1)
    return KEEP_WEIGHT + (HOLE_WEIGHT - KEEP_WEIGHT) * mask + EDGE_WEIGHT * edge


@dataclass(frozen=True, slots=True)
class Draw:
    """The random choices of one batch, on the generator's device."""

    size: int
    generator: torch.Generator

    def integers(self, stop: int) -> torch.Tensor:
        """(B,) uniform integers below `stop`."""
        device = self.generator.device
        return torch.randint(stop, (self.size,), generator=self.generator, device=device)

    def uniform(self) -> torch.Tensor:
        """(B,) uniform numbers in [0, 1)."""
        return torch.rand(self.size, generator=self.generator, device=self.generator.device)

    def normal(self, *shape: int) -> torch.Tensor:
        """(B, *shape) standard normal numbers."""
        device = self.generator.device
        return torch.randn(self.size, *shape, generator=self.generator, device=device)

    def offsets(self) -> torch.Tensor:
        """(B, 4, 16, 16) smooth fields of deviation OFFSET; every other sample gets none."""
        corners = self.normal(4, 2, 2) * OFFSET
        corners[::2] = 0
        return F.interpolate(corners, size=16, mode="bilinear", align_corners=True)

    def late_timesteps(self) -> torch.Tensor:
        """(B,) timesteps with a density proportional to t; every fourth is the last, pure noise."""
        timesteps = (1000 * self.uniform().sqrt()).long().clamp(max=999)
        timesteps[::4] = 999
        return timesteps
