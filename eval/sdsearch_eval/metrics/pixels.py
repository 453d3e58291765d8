"""PSNR, SSIM and absolute difference of pairs of images, averaged over regions."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.float64]
    Images = NDArray[np.uint8]
    Regions = NDArray[np.bool_]

PSNR_CAP = 100.0
SEAM = 4
"""Pixels to either side of a hole's edge."""
PIXELS_AT_ONCE = 1 << 21
"""Of all images whose pixels are compared at once: 8 images of 512 pixels a side."""
BAND, REACH = 64, 5
"""Rows of images whose SSIM is computed at once, and how far its windows reach."""


def compare_pixels(
    first: Images,
    second: Images,
    regions: Mapping[str, Regions],
    device: torch.device | str = "cpu",
) -> dict[str, Array]:
    """PSNR, SSIM and mean absolute difference of image pairs, averaged over some regions.

    Maps of single pixels are made on `device`, once for all regions; averages are taken in float64
    here, whatever the device lacks.

    Args:
        first: (N, H, W, 3) images.
        second: what they are compared with, in the same shape.
        regions: (N, H, W) masks by name, of at least a pixel each.
        device: where the maps are made.

    Returns:
        (N,) values: `psnr_<name>` in dB (peak 255; identical regions count as 100), `ssim_<name>`
        (11 x 11 Gaussian, sigma 1.5) and `l1_<name>` in [0, 1].
    """
    count, height, width = first.shape[:3]
    size = max(1, PIXELS_AT_ONCE // (height * width))
    rows: dict[str, list[Array]] = defaultdict(list)
    for start in range(0, count, size):
        part = slice(start, start + size)
        a, b = (_to_planes(images[part], device) for images in (first, second))
        squared, similar, absolute = _squared_error(a, b), _similarity(a, b), _absolute_error(a, b)
        for name, region in regions.items():
            rows[f"psnr_{name}"].append(_to_decibels(_mean_in(region[part], squared)))
            rows[f"ssim_{name}"].append(_mean_in(region[part], similar))
            rows[f"l1_{name}"].append(_mean_in(region[part], absolute))
    return {name: np.concatenate(parts) for name, parts in rows.items()}


def psnr_in(region: Regions, first: Images, second: Images) -> Array:
    """(N,) PSNR alone, as `compare_pixels` has it, on the CPU."""
    a, b = (_to_planes(images, "cpu") for images in (first, second))
    return _to_decibels(_mean_in(region, _squared_error(a, b)))


def measure_seam(
    images: Images, originals: Images, holes: Regions, device: torch.device | str = "cpu"
) -> Array:
    """(N,) error of the colour steps between neighbours in a band around each hole's edge.

    The band reaches `SEAM` pixels to either side of the edge. The step from a pixel to its right
    and to its lower neighbour should be that of the original: a fill that does not meet its
    surroundings has another, however smooth both are. In [0, 1], the mean over band, channels and
    both directions; 0 where a hole has no edge, as one that is the whole image.

    Args:
        images: (N, H, W, 3), raw or with known pixels pasted back.
        originals: in the same shape.
        holes: (N, H, W).
        device: where it is computed.
    """
    import torch
    from torch.nn import functional

    count, height, width = images.shape[:3]
    size, seams = max(1, PIXELS_AT_ONCE // (height * width)), []
    reach = 2 * SEAM + 1
    for start in range(0, count, size):
        part = slice(start, start + size)
        error = _to_planes(images[part], device) - _to_planes(originals[part], device)
        hole = torch.from_numpy(holes[part]).to(device)[:, None].float()
        near, deep = (functional.max_pool2d(x, reach, 1, SEAM) for x in (hole, 1 - hole))
        band = (near * deep)[:, 0]  # (n, H, W): near to the hole and to what is outside of it
        across = (error[..., 1:] - error[..., :-1]).abs().mean(0) * band[..., 1:] * band[..., :-1]
        down = (error[..., 1:, :] - error[..., :-1, :]).abs().mean(0)
        down = down * band[..., 1:, :] * band[..., :-1, :]
        pairs = (band[..., 1:] * band[..., :-1]).sum((1, 2))
        pairs = pairs + (band[..., 1:, :] * band[..., :-1, :]).sum((1, 2))
        total = across.sum((1, 2)) + down.sum((1, 2))
        seams.append((total / pairs.clamp(min=1)).cpu().numpy().astype(np.float64) / 255)
    return np.concatenate(seams)


def _to_planes(images: Images, device: torch.device | str) -> Tensor:
    """(3, N, H, W) float32 in [0, 255]: differences, squares and their sums are exact in it."""
    import torch

    return torch.from_numpy(images).to(device).permute(3, 0, 1, 2).contiguous().float()


def _squared_error(first: Tensor, second: Tensor) -> Array:
    """(N, H, W) squared differences, mean over the channels."""
    error: Array = (first - second).square_().sum(0).cpu().numpy().astype(np.float64)
    return error / 3


def _absolute_error(first: Tensor, second: Tensor) -> Array:
    """(N, H, W) absolute differences in [0, 1], mean over the channels."""
    error: Array = (first - second).abs_().sum(0).cpu().numpy().astype(np.float64)
    return error / 3 / 255


def _similarity(first: Tensor, second: Tensor) -> Array:
    """(N, H, W) SSIM, mean over the channels.

    torchmetrics sees all planes as channels of one image, and bands of its rows: then convolutions
    have many channels and intermediate results stay in the processor's cache. Rows beyond a band
    that its windows reach are cut off again, so that values are those of whole images, bit for bit.
    """
    import torch
    from torchmetrics.functional.image import structural_similarity_index_measure

    a, b = (planes.flatten(0, 1)[None] / 255 for planes in (first, second))
    bands = []
    for top in range(0, a.shape[2], BAND):
        start = max(top - REACH, 0)
        rows = slice(start, top + BAND + REACH)
        _, band = structural_similarity_index_measure(
            *(a[:, :, rows], b[:, :, rows]),
            data_range=1.0,
            return_full_image=True,
            reduction="none",
        )
        bands.append(band[0, :, top - start : top - start + BAND])
    found = torch.cat(bands, 1).view(first.shape).mean(0)
    similarity: Array = found.cpu().numpy().astype(np.float64)
    return similarity


def _mean_in(region: Regions, values: Array) -> Array:
    """(N,) means over the pixels of a region."""
    means: Array = (values * region).sum((1, 2)) / region.sum((1, 2))
    return means


def _to_decibels(mse: Array) -> Array:
    with np.errstate(divide="ignore"):
        decibels: Array = np.minimum(10 * np.log10(255.0**2 / mse), PSNR_CAP)
    return decibels
