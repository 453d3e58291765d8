"""Rank statistics: how well predictions order architectures, and with what certainty.

Every function returns finite numbers for every finite input: a constant or too short list carries
no order, so its correlation is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdsearch.stats.intervals import Interval, bootstrap_interval

if TYPE_CHECKING:
    import numpy.typing as npt

    from sdsearch.stats.intervals import Vector, VectorLike


def spearman(a: VectorLike, b: VectorLike) -> float:
    """Spearman rank correlation (SRCC) with average ranks for ties; 0 where undefined."""
    x, y = _pair(a, b)
    return float(_spearman(x, y))


def kendall(a: VectorLike, b: VectorLike) -> float:
    """Kendall's tau-b; 0 where undefined."""
    x, y = _pair(a, b)
    if x.size < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    from scipy import stats  # takes half a second to import

    return float(stats.kendalltau(x, y).statistic)


def spearman_interval(
    a: VectorLike, b: VectorLike, rng: np.random.Generator, *, resamples: int = 1000
) -> Interval:
    """Bootstrap interval of the SRCC; fewer than three pairs say nothing: [-1, 1]."""
    x, y = _pair(a, b)
    if x.size < 3:
        return Interval(-1.0, 1.0)
    return bootstrap_interval(_spearman, (x, y), rng, resamples=resamples)


def spearman_gain_interval(
    y: VectorLike,
    a: VectorLike,
    b: VectorLike,
    rng: np.random.Generator,
    *,
    resamples: int = 1000,
) -> Interval:
    """Bootstrap interval of SRCC(y, a) - SRCC(y, b); fewer than three rows say nothing: [-2, 2]."""
    truth, first = _pair(y, a)
    _, second = _pair(y, b)
    if truth.size < 3:
        return Interval(-2.0, 2.0)

    def gain(y: Vector, a: Vector, b: Vector, axis: int) -> Vector:
        return _spearman(y, a, axis) - _spearman(y, b, axis)

    return bootstrap_interval(gain, (truth, first, second), rng, resamples=resamples)


def ndcg_at(y: VectorLike, predicted: VectorLike, k: int) -> float:
    """NDCG of the k best by prediction; the gain is y scaled to [0, 1]. 1 for constant y."""
    truth, guess = _pair(y, predicted)
    if truth.size == 0 or np.ptp(truth) == 0:
        return 1.0
    gain = (truth - truth.min()) / np.ptp(truth)
    discount = 1.0 / np.log2(np.arange(2, min(k, gain.size) + 2))
    chosen = gain[_best(guess, k)]
    ideal = np.sort(gain)[::-1][:k]
    return float((chosen @ discount) / (ideal @ discount))


def top_k_regret(y: VectorLike, predicted: VectorLike, k: int) -> float:
    """Mean y of the k truly best minus mean y of the k best by prediction (>= 0, unit of y)."""
    truth, guess = _pair(y, predicted)
    if truth.size == 0:
        return 0.0
    return float(np.sort(truth)[::-1][:k].mean() - truth[_best(guess, k)].mean())


def _best(values: Vector, k: int) -> npt.NDArray[np.intp]:
    return np.argsort(-values, kind="stable")[:k]


def _spearman(x: Vector, y: Vector, axis: int = -1) -> Vector:
    """SRCC along an axis; 0 where x or y is constant or shorter than two."""
    rx, ry = (_centred_ranks(values, axis) for values in (x, y))
    scale = np.sqrt((rx**2).sum(axis) * (ry**2).sum(axis))
    rho: Vector = np.zeros_like(scale)
    np.divide((rx * ry).sum(axis), scale, out=rho, where=scale > 0)
    return rho


def _centred_ranks(values: Vector, axis: int) -> Vector:
    from scipy import stats

    ranks: Vector = stats.rankdata(values, axis=axis)
    ranks -= (values.shape[axis] + 1) / 2
    return ranks


def _pair(a: VectorLike, b: VectorLike) -> tuple[Vector, Vector]:
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"two vectors of one length are needed, but got {x.shape} and {y.shape}")
    return x, y
