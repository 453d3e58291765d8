"""What one step of training a tiny UNet is made of: latents, random choices, loss weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from world_recipe import Recipe

CAPTION_DROPOUT = 0.1


class Latents(NamedTuple):
    """What the UNet learns from, of N pictures with K masks each and L latent cells along a side.

    Attributes:
        images: (N, 4, L, L), of whole pictures.
        masked: (N, K, 4, L, L), of pictures with a grey hole.
        masks: (N, K, L, L), 1 in the hole.
        covered: (4, L, L), of a picture that is all hole.
    """

    images: torch.Tensor
    masked: torch.Tensor
    masks: torch.Tensor
    covered: torch.Tensor


def weigh_cells(mask: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """(N, 1, L, L) weights of the loss: 1 in the hole, the recipe's outside and at its edge."""
    edge = mask * F.max_pool2d(1 - mask, 3, stride=1, padding=1)
    return recipe.keep_weight + (1 - recipe.keep_weight) * mask + recipe.edge_weight * edge


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

    def offsets(self, deviation: float, cells: int) -> torch.Tensor:
        """(B, 4, L, L) smooth fields of a deviation; every other sample gets none."""
        corners = self.normal(4, 2, 2) * deviation
        corners[::2] = 0
        return F.interpolate(corners, size=cells, mode="bilinear", align_corners=True)

    def late_timesteps(self) -> torch.Tensor:
        """(B,) timesteps with a density proportional to t; every fourth is the last, pure noise."""
        timesteps = (1000 * self.uniform().sqrt()).long().clamp(max=999)
        timesteps[::4] = 999
        return timesteps


def draw_batch(
    latents: Latents, tokens: torch.Tensor, recipe: Recipe, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """The tensors of one step: clean, noise, mask, masked, timesteps, tokens.

    `tokens` are those of the empty caption and then of every picture; the second half of the
    pictures are the first in other colours, under the same captions.
    """
    draw = Draw(recipe.batch, generator)
    index = draw.integers(len(latents.images))
    noise = draw.normal(*latents.images.shape[1:])
    rows = index % (len(tokens) - 1) + 1
    batch = {
        "clean": latents.images[index],
        "timesteps": draw.late_timesteps(),
        "tokens": tokens[torch.where(draw.uniform() < CAPTION_DROPOUT, 0, rows)],
    }
    if recipe.channels == 4:
        return batch | {"noise": noise}
    which = draw.integers(latents.masked.shape[1])
    whole = (draw.uniform() < recipe.full_holes).view(-1, 1, 1, 1)
    mask = latents.masks[index, which].unsqueeze(1)
    mask = torch.where(whole, torch.ones_like(mask), mask)
    masked = torch.where(whole, latents.covered, latents.masked[index, which])
    noise = noise + mask * draw.offsets(recipe.offset, recipe.latent)
    return batch | {"noise": noise, "mask": mask, "masked": masked}
