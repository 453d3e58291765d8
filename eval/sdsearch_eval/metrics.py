"""Distances between sets of images and between pairs, in float64, each with its standard error."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sdsearch.errors import InputError
from sdsearch.labels import FEWEST_TO_EXTRAPOLATE, Measurement

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    Array = NDArray[np.float64]
    Images = NDArray[np.uint8]
    Regions = NDArray[np.bool_]

JACKKNIFE_BLOCKS = 8
PSNR_CAP = 100.0
PIXELS_AT_ONCE = 1 << 21
"""Of all images whose pixels are compared at once: 8 images of 512 pixels a side."""
BAND, REACH = 64, 5
"""Rows of images whose SSIM is computed at once, and how far its windows reach."""


def frechet_distance(first: Array, second: Array) -> float:
    """Frechet distance of the Gaussians fitted to (n, d) and (m, d) features (Heusel et al. 2017).

    Covariances divide by n - 1. tr((S1 S2)^1/2) is the nuclear norm of A B^T, A and B being the
    centred features over the root of n - 1: real by construction, and small where n < d.
    """
    _check_features(first, second)
    a = (first - first.mean(0)) / np.sqrt(len(first) - 1)
    b = (second - second.mean(0)) / np.sqrt(len(second) - 1)
    if min(len(a), len(b)) > a.shape[1]:
        # Same singular values from d x d factors: R^T R is the covariance.
        a, b = np.linalg.qr(a, mode="r"), np.linalg.qr(b, mode="r")
    root = float(np.linalg.svd(a @ b.T, compute_uv=False).sum())
    shift = float(np.square(first.mean(0) - second.mean(0)).sum())
    return max(shift + float(np.square(a).sum() + np.square(b).sum()) - 2 * root, 0.0)


def kernel_distance(first: Array, second: Array) -> float:
    """KID: squared MMD with kernel (x.y/d + 1)^3 as a U-statistic over paired (n, d) features.

    Equal pairs i = i are left out of all three sums, since paired samples are not independent; the
    value may be negative (Binkowski et al. 2018).
    """
    _check_features(first, second)
    if len(first) != len(second):
        raise InputError(
            f"the U-statistic needs equally many features, but got {len(first)} and {len(second)}"
        )
    n, d = first.shape
    kernels = [
        (x @ y.T / d + 1) ** 3 for x, y in ((first, first), (second, second), (first, second))
    ]
    within_first, within_second, across = ((k.sum() - np.trace(k)) / (n * (n - 1)) for k in kernels)
    return float(within_first + within_second - 2 * across)


@dataclass(frozen=True, slots=True)
class Extrapolation:
    """A Frechet distance extrapolated to infinitely many samples, and how straight the line was."""

    value: float
    se: float
    slope: float
    r2: float
    sizes: tuple[int, ...]


def frechet_at_infinity(
    first: Array,
    second: Array,
    rng: np.random.Generator,
    *,
    fewest: int = FEWEST_TO_EXTRAPOLATE,
    points: int = 15,
    repeats: int = 4,
) -> Extrapolation:
    """Regress the distance of N samples on 1/N; its intercept is free of the bias of small N.

    15 sizes from `fewest` to all, features reshuffled for each (Chong & Forsyth, CVPR 2020). The
    points share samples, so that the standard error is taken over repeated shuffles.

    Raises:
        InputError: there are fewer than `fewest` samples.
    """
    n = min(len(first), len(second))
    if n < fewest:
        raise InputError(f"extrapolating needs at least {fewest} samples, but there are {n}")
    sizes = np.unique(np.linspace(fewest, n, points).astype(int))
    lines = []
    for _ in range(repeats):
        values = []
        for size in sizes:
            rows = rng.choice(len(first), size, replace=False)
            others = rng.choice(len(second), size, replace=False)
            values.append(frechet_distance(first[rows], second[others]))
        slope, intercept = np.polyfit(1 / sizes, values, 1)
        residual = np.var(values - (slope / sizes + intercept)) / max(np.var(values), 1e-300)
        lines.append((intercept, slope, 1 - residual))
    value, slope, r2 = np.mean(lines, axis=0)
    se = float(np.std([line[0] for line in lines], ddof=1) / np.sqrt(repeats))
    return Extrapolation(float(value), se, float(slope), float(r2), tuple(sizes.tolist()))


def jackknife(
    statistic: Callable[[Array, Array], float], first: Array, second: Array
) -> Measurement:
    """A set statistic with its delete-a-block jackknife standard error over paired rows.

    A naive bootstrap would be wrong here: repeated rows bias a Frechet distance upward.
    """
    value = statistic(first, second)
    blocks = np.array_split(np.arange(len(first)), min(JACKKNIFE_BLOCKS, len(first) // 2))
    if len(blocks) < 2:
        return Measurement(value=value, n=len(first))
    left = np.array(
        [statistic(np.delete(first, b, axis=0), np.delete(second, b, axis=0)) for b in blocks]
    )
    spread = np.square(left - left.mean()).sum() * (len(blocks) - 1) / len(blocks)
    return Measurement(value=value, se=float(np.sqrt(spread)), n=len(first))


def mean_of(values: Array) -> Measurement:
    """The mean of per-sample values with its standard error."""
    se = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return Measurement(value=float(values.mean()), se=se, n=len(values))


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


def _check_features(first: Array, second: Array) -> None:
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise InputError(
            f"features must be (n, d) and (m, d), but are {first.shape} and {second.shape}"
        )
    if min(len(first), len(second)) < 2:
        raise InputError(
            f"a distance of distributions needs at least 2 samples each, but got {len(first)} "
            f"and {len(second)}"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise InputError("features must be finite, but some are not")
