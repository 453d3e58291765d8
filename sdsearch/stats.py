"""Rank statistics: how well predictions order architectures, and with what certainty.

Every function returns finite numbers for every finite input: a constant or too short list carries
no order, so its correlation is 0.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats as scipy_stats

Vector = npt.NDArray[np.float64]
VectorLike = Sequence[float] | npt.NDArray[np.floating]


class Interval(NamedTuple):
    """A two-sided confidence interval."""

    low: float
    high: float


def mean_and_se(values: VectorLike) -> tuple[float, float]:
    """Mean and standard error (0 for a single value).

    >>> mean_and_se([1.0, 3.0])
    (2.0, 1.0)
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size == 0:
        raise ValueError("mean_and_se needs at least one value, but got none")
    se = x.std(ddof=1) / np.sqrt(x.size) if x.size > 1 else 0.0
    return float(x.mean()), float(se)


def spearman(a: VectorLike, b: VectorLike) -> float:
    """Spearman rank correlation (SRCC) with average ranks for ties; 0 where undefined."""
    x, y = _pair(a, b)
    return float(_spearman_rows(x[None], y[None])[0])


def kendall(a: VectorLike, b: VectorLike) -> float:
    """Kendall's tau-b; 0 where undefined."""
    x, y = _pair(a, b)
    if x.size < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(scipy_stats.kendalltau(x, y).statistic)


def spearman_interval(
    a: VectorLike,
    b: VectorLike,
    rng: np.random.Generator,
    *,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of the SRCC over resampled pairs."""
    x, y = _pair(a, b)
    if x.size < 3:
        return Interval(-1.0, 1.0)
    pick = rng.integers(0, x.size, size=(resamples, x.size))
    return _percentiles(_spearman_rows(x[pick], y[pick]), level)


def spearman_gain_interval(
    y: VectorLike,
    a: VectorLike,
    b: VectorLike,
    rng: np.random.Generator,
    *,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of SRCC(y, a) - SRCC(y, b) over the same resampled rows."""
    truth, first = _pair(y, a)
    _, second = _pair(y, b)
    if truth.size < 3:
        return Interval(-2.0, 2.0)
    pick = rng.integers(0, truth.size, size=(resamples, truth.size))
    gain = _spearman_rows(truth[pick], first[pick]) - _spearman_rows(truth[pick], second[pick])
    return _percentiles(gain, level)


def bootstrap_interval(
    statistic: Callable[[Vector, Vector], float],
    a: VectorLike,
    b: VectorLike,
    rng: np.random.Generator,
    *,
    resamples: int = 200,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of any statistic of pairs; a single pair gives its value."""
    x, y = _pair(a, b)
    picks = rng.integers(0, x.size, size=(resamples if x.size > 1 else 1, x.size))
    values = [statistic(x[pick], y[pick]) for pick in picks]
    return _percentiles(values, level)


def _percentiles(values: VectorLike, level: float) -> Interval:
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return Interval(float(low), float(high))


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


def _spearman_rows(x: Vector, y: Vector) -> Vector:
    """SRCC of each row of two (rows, n) arrays."""
    if x.shape[1] < 2:
        return np.zeros(len(x))
    rx: Vector = scipy_stats.rankdata(x, axis=1)
    ry: Vector = scipy_stats.rankdata(y, axis=1)
    rx -= rx.mean(axis=1, keepdims=True)
    ry -= ry.mean(axis=1, keepdims=True)
    scale = np.sqrt((rx**2).sum(axis=1) * (ry**2).sum(axis=1))
    rho: Vector = np.zeros(len(x))
    np.divide((rx * ry).sum(axis=1), scale, out=rho, where=scale > 0)
    return rho


def _pair(a: VectorLike, b: VectorLike) -> tuple[Vector, Vector]:
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"two vectors of one length are needed, but got {x.shape} and {y.shape}")
    return x, y
