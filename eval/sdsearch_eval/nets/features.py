"""Features of images, whatever net they come from, and the perceptual distance of their maps."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable

FEATURES_AT_ONCE = 32
"""Images in a batch of an extractor."""


class Features(NamedTuple):
    """Pooled features (N, d) and maps (N, C, H, W), each unit-normalised over its channels."""

    pooled: Tensor
    maps: list[Tensor]


@dataclass(frozen=True, slots=True)
class Extractor:
    """A frozen feature net: how images get ready for it, and the SHA-256 of its weights.

    `prepare` maps (N, 3, H, W) float32 RGB images in [0, 255] and the protocol's feature size to
    what `net` takes; `net` answers with `Features`.
    """

    net: nn.Module
    prepare: Callable[[Tensor, int], Tensor]
    sha256: str


@torch.no_grad()
def extract_features(
    extractor: Extractor, images: Tensor, size: int, batch: int = FEATURES_AT_ONCE
) -> Features:
    """Features of (N, 3, H, W) uint8 RGB images on its device, in batches of a fixed size."""
    tensors = chain(extractor.net.parameters(), extractor.net.buffers())
    device = next(tensors).device
    parts: list[Features] = [
        extractor.net(extractor.prepare(chunk.to(device).float(), size))
        for chunk in images.split(batch)
    ]
    levels = zip(*(part.maps for part in parts), strict=True)
    pooled = torch.cat([part.pooled for part in parts])
    return Features(pooled, [torch.cat(level) for level in levels])


def resize_antialiased(images: Tensor, size: int) -> Tensor:
    """(N, 3, H, W) in [0, 255] -> (N, 3, size, size) in [0, 1], antialiased bicubic."""
    pixels = images / 255
    if pixels.shape[-2:] == (size, size):
        return pixels
    return F.interpolate(
        pixels, size=(size, size), mode="bicubic", antialias=True, align_corners=False
    ).clamp(0, 1)


def lpips_like(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """(N,) LPIPS without learned weights: squared distance of unit-normalised maps, layer mean."""
    layers = [
        (a.float() - b.float()).square().sum(1).mean((1, 2))
        for a, b in zip(first, second, strict=True)
    ]
    return torch.stack(layers).mean(0)
