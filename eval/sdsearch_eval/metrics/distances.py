"""Distances between sets of images by their features, in float64, each with its standard error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sdsearch.errors import InputError
from sdsearch.labels import FEWEST_TO_EXTRAPOLATE, Measurement
from sdsearch.stats import jackknife_error, leave_out_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

VALUES_AT_ONCE = 1 << 25
"""Of a kernel between two sets, which is held in parts where it has more: 256 MB."""


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


class Gaussian(NamedTuple):
    """Mean (d,) and covariance (d, d) of features."""

    mean: Array
    covariance: Array


def frechet_to_gaussian(features: Array, other: Gaussian) -> float:
    """Frechet distance of the Gaussian fitted to (n, d) features from a known one."""
    values, vectors = np.linalg.eigh(other.covariance)
    # Eigenvalues that are nothing but rounding would add their roots to the sum below.
    values[values < values[-1] * len(values) * np.finfo(np.float64).eps] = 0
    factor = np.sqrt(values)[:, None] * vectors.T  # (d, d), its square the covariance
    a = (features - features.mean(0)) / np.sqrt(len(features) - 1)
    if len(a) > a.shape[1]:
        a = np.linalg.qr(a, mode="r")
    root = float(np.linalg.svd(a @ factor.T, compute_uv=False).sum())
    shift = float(np.square(features.mean(0) - other.mean).sum())
    return max(shift + float(np.square(a).sum() + np.trace(other.covariance)) - 2 * root, 0.0)


def kernel_distance(first: Array, second: Array, *, paired: bool = True) -> float:
    """KID: squared MMD with kernel (x.y/d + 1)^3 as a U-statistic over (n, d) and (m, d) features.

    Equal pairs i = i are left out within each set, and of paired features, of which there must be
    equally many, also across them, since those are not independent; the value may be negative
    (Binkowski et al. 2018).
    """
    _check_features(first, second)
    if paired and len(first) != len(second):
        raise InputError(
            f"paired features must be equally many, but got {len(first)} and {len(second)}"
        )
    within_first, within_second = (_mean_kernel(x, x, of_others=True) for x in (first, second))
    across = _mean_kernel(first, second, of_others=paired)
    return float(within_first + within_second - 2 * across)


def _mean_kernel(first: Array, second: Array, *, of_others: bool) -> float:
    """The mean of (x.y/d + 1)^3 over all pairs, or over all but i = i; some rows at a time."""
    (n, d), m = first.shape, len(second)
    total, own, rows = 0.0, 0.0, max(1, VALUES_AT_ONCE // m)
    for start in range(0, n, rows):
        kernel = (first[start : start + rows] @ second.T / d + 1) ** 3
        total += kernel.sum()
        own += np.trace(kernel, offset=start)
    return float((total - own) / (n * (m - 1)) if of_others else total / (n * m))


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
    """A set statistic of paired rows with its delete-a-block jackknife error, and its blocks."""
    value, left = statistic(first, second), leave_out_blocks(statistic, first, second)
    if not len(left):
        return Measurement(value=value, n=len(first))
    return Measurement(value=value, se=jackknife_error(left), n=len(first), blocks=left.tolist())


def diversity(features: Array, variations: int) -> Array:
    """(n / v,) how far the v pictures of each prompt are apart: 1 - cosine, the mean of all pairs.

    Rows of (n, d) features are prompt by prompt. 0: all variations are one picture.
    """
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    groups = unit.reshape(-1, variations, unit.shape[1])
    alike = groups @ groups.transpose(0, 2, 1)  # (n / v, v, v)
    pairs = alike.sum((1, 2)) - np.trace(alike, axis1=1, axis2=2)
    apart: Array = 1 - pairs / (variations * (variations - 1))
    return apart


def mean_of(values: Array) -> Measurement:
    """The mean of per-sample values with its standard error, and its blocks."""
    se = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    blocks = leave_out_blocks(lambda some: float(some.mean()), values).tolist() or None
    return Measurement(value=float(values.mean()), se=se, n=len(values), blocks=blocks)


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
