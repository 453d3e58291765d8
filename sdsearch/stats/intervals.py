"""Intervals: of a mean by its standard error, and of any statistic by the bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

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


def bootstrap_interval(
    statistic: Callable[..., float | Vector],
    samples: Sequence[Vector],
    rng: np.random.Generator,
    *,
    resamples: int = 200,
) -> Interval:
    """95 % percentile bootstrap interval of a statistic of paired samples.

    A resample draws rows with replacement, the same of every sample. A single row can only be drawn
    as itself: its interval is its value.

    Args:
        statistic: of one vector per sample; one that takes `axis` is called once, with all
            resamples as arrays of shape (resamples, n).
        samples: vectors (n,) of one length.
        rng: draws the rows.
        resamples: how often rows are drawn.
    """
    if len(samples[0]) == 1:
        value = float(statistic(*samples))
        return Interval(value, value)
    from scipy import stats  # takes half a second to import

    low, high = stats.bootstrap(
        samples, statistic, paired=True, n_resamples=resamples, method="percentile", rng=rng
    ).confidence_interval
    return Interval(float(low), float(high))
