"""PSNR, SSIM and absolute difference of pairs of images, averaged over regions; and resizing."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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
CACHED = 1 << 18
"""Pixels of planes whose SSIM is computed at once, so that all steps stay in the CPU's cache."""
REACH, SIGMA = 5, 1.5
"""Of the Gaussian windows of SSIM, in pixels."""
STABLE = 0.01**2, 0.03**2
"""Constants that keep its quotients stable, for values in [0, 1]."""
BELL = np.exp(-((np.arange(REACH + 1) / SIGMA) ** 2) / 2)
WINDOW: list[float] = (BELL / (2 * BELL.sum() - 1)).tolist()
"""Weights of a window from its middle outwards; those of a whole row add up to 1."""


def resize_images(images: Images, side: int) -> Images:
    """(N, H, W, 3) images as (N, side, side, 3), by Pillow's bicubic filter in 8 bits.

    0 means as they are. Benchmarks that paint at 512 and compare at 256 pixels resize so.
    """
    if side == 0 or images.shape[1:3] == (side, side):
        return images
    bicubic = Image.Resampling.BICUBIC
    resized = (Image.fromarray(one).resize((side, side), bicubic) for one in images)
    return np.stack([np.asarray(one) for one in resized])


def runs_of_one_size(images: Sequence[Images]) -> Iterator[slice]:
    """Where neighbouring images have one size, so that they can be stacked: slices, in order."""
    start = 0
    for _, run in groupby(images, key=lambda image: image.shape):
        stop = start + len(list(run))
        yield slice(start, stop)
        start = stop


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
        similar = _similarity(a, b)
        absolute, squared = _errors(a, b)
        for name, region in regions.items():
            rows[f"psnr_{name}"].append(_to_decibels(_mean_in(region[part], squared)))
            rows[f"ssim_{name}"].append(_mean_in(region[part], similar))
            rows[f"l1_{name}"].append(_mean_in(region[part], absolute))
    return {name: np.concatenate(parts) for name, parts in rows.items()}


def psnr_in(region: Regions, first: Images, second: Images) -> Array:
    """(N,) PSNR alone, as `compare_pixels` has it, on the CPU."""
    a, b = (_to_planes(images, "cpu") for images in (first, second))
    return _to_decibels(_mean_in(region, _errors(a, b)[1]))


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

    count, height, width = images.shape[:3]
    size, seams = max(1, PIXELS_AT_ONCE // (height * width)), []
    for start in range(0, count, size):
        part = slice(start, start + size)
        errors = _to_planes(images[part], device) - _to_planes(originals[part], device)
        inside = torch.from_numpy(holes[part]).to(device)
        bands = _widen(inside) & _widen(~inside)  # (n, H, W): near to the hole and to the rest
        seams += [_mean_step(*pair) for pair in zip(errors.unbind(1), bands, strict=True)]
    return np.array(seams) / 255


def _mean_step(error: Tensor, band: Tensor) -> float:
    """Mean absolute step of a (3, H, W) error between neighbours in an (H, W) band; 0 if empty."""
    total, steps = 0.0, 0
    for axis in (0, 1):
        length = band.shape[axis] - 1
        before, after = (band.narrow(axis, shift, length) for shift in (0, 1))
        left, right = (error.narrow(axis + 1, shift, length) for shift in (0, 1))
        near = before & after
        total += float(((right - left).abs_() * near).sum())
        steps += len(error) * int(near.sum())
    return total / max(steps, 1)


def _widen(places: Tensor) -> Tensor:
    """(n, H, W) places and all that is within `SEAM` pixels of them, across, down or both."""
    for axis in (1, 2):
        wide = places.clone()
        for shift in range(1, SEAM + 1):
            length = places.shape[axis] - shift
            for to, start in ((shift, 0), (0, shift)):
                wide.narrow(axis, to, length).logical_or_(places.narrow(axis, start, length))
        places = wide
    return places


def _to_planes(images: Images, device: torch.device | str) -> Tensor:
    """(3, N, H, W) float32 in [0, 255]: differences, squares and their sums are exact in it."""
    import torch

    return torch.from_numpy(images).to(device).permute(3, 0, 1, 2).contiguous().float()


def _errors(first: Tensor, second: Tensor) -> tuple[Array, Array]:
    """(N, H, W) absolute differences in [0, 1] and squared ones, means over the channels."""
    error = (first - second).abs_()
    absolute: Array = error.sum(0).cpu().numpy().astype(np.float64)
    squared: Array = error.square_().sum(0).cpu().numpy().astype(np.float64)
    return absolute / 3 / 255, squared / 3


def _similarity(first: Tensor, second: Tensor) -> Array:
    """(N, H, W) SSIM, mean over the channels (Wang et al., 2004, eq. 13).

    Where no window sees a difference it is 1 exactly, bit for bit as computed, so of an image with
    its known pixels pasted back only the surroundings of the hole are worked on.
    """
    import torch
    from torch.nn import functional

    height, width = first.shape[2:]
    both = [planes.flatten(0, 1) / 255 for planes in (first, second)]
    found, size = torch.ones_like(both[0]), max(1, CACHED // (height * width))
    for start in range(0, len(found), size):
        part = slice(start, start + size)
        pair = [planes[part] for planes in both]
        changed = (pair[0] != pair[1]).any(0).cpu().numpy()
        if not changed.any():
            continue
        rows, columns = (_reached(np.logical_or.reduce(changed, axis)) for axis in (1, 0))
        # Padded before they are cut, planes of h x w have their true margins: h + 10 by w + 10.
        wide = [functional.pad(x[None], [REACH] * 4, mode="reflect")[0] for x in pair]
        box = (..., _with_margins(rows), _with_margins(columns))
        found[part, rows, columns] = _ssim(wide[0][box], wide[1][box])
    similarity: Array = found.view(first.shape).mean(0).cpu().numpy().astype(np.float64)
    return similarity


def _reached(changed: NDArray[np.bool_]) -> slice:
    """The rows, or columns, whose windows see any that has changed."""
    (places,) = changed.nonzero()
    return slice(max(int(places[0]) - REACH, 0), min(int(places[-1]) + REACH + 1, len(changed)))


def _with_margins(part: slice) -> slice:
    """The same rows, or columns, and all that their windows see, where margins come first."""
    return slice(part.start, part.stop + 2 * REACH)


def _ssim(first: Tensor, second: Tensor) -> Tensor:
    """(n, h, w) SSIM of planes (n, h + 10, w + 10) in [0, 1].

    Only the sum of both variances is needed, so four planes are blurred and not five.
    """
    means = _blur(first), _blur(second)
    product, squares = means[0] * means[1], means[0].square() + means[1].square()
    covariance = _blur(first * second) - product
    variances = _blur(first.square() + second.square()) - squares
    light = (2 * product + STABLE[0]) / (squares + STABLE[0])
    return light * (2 * covariance + STABLE[1]) / (variances + STABLE[1])


def _blur(planes: Tensor) -> Tensor:
    """(n, h, w) of (n, h + 10, w + 10): means of 11 x 11 Gaussian windows, down and then across.

    Sums of shifted planes take less than half of what convolutions with the square window do on a
    CPU (`benchmarks/bench_metrics.py`).
    """
    for axis in (1, 2):
        length = planes.shape[axis] - 2 * REACH
        shifted = [planes.narrow(axis, shift, length) for shift in range(2 * REACH + 1)]
        planes = shifted[REACH] * WINDOW[0]
        for away, weight in enumerate(WINDOW[1:], 1):
            planes.add_(shifted[REACH - away] + shifted[REACH + away], alpha=weight)
    return planes


def _mean_in(region: Regions, values: Array) -> Array:
    """(N,) means over the pixels of a region."""
    means: Array = (values * region).sum((1, 2)) / region.sum((1, 2))
    return means


def _to_decibels(mse: Array) -> Array:
    with np.errstate(divide="ignore"):
        decibels: Array = np.minimum(10 * np.log10(255.0**2 / mse), PSNR_CAP)
    return decibels
