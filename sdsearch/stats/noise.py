"""Noise as a function of quality: what is measured again is the less certain the worse it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sdsearch.stats.jackknife import BLOCKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdsearch.stats.intervals import Vector

FEWEST_FOR_SLOPE = 4
"""Deviations that a slope is fitted to; fewer are pooled."""


@dataclass(frozen=True, slots=True)
class Noise:
    """A standard deviation that depends on the value: log sd = level + slope (value - centre).

    Attributes:
        source: "seeds": of a value over label seeds; "samples": labels' own standard errors, where
            nothing was measured under several seeds.
        count: how many architectures it is fitted to.
        low: lowest value among them; beyond it and `high` the deviation is that at the end.
        high: highest value.
        level: log deviation at the centre.
        slope: its change with the value.
    """

    source: Literal["seeds", "samples"]
    count: int
    low: float
    high: float
    level: float
    slope: float

    def at(self, value: float) -> float:
        """The deviation at a value.

        >>> round(Noise("seeds", 9, 0.0, 10.0, 0.0, 0.1).at(15.0), 3)
        1.649
        """
        centre = (self.low + self.high) / 2
        held = min(max(value, self.low), self.high)
        return float(np.exp(self.level + self.slope * (held - centre)))


def fit_noise(
    repeats: Sequence[Sequence[float]], labels: Sequence[tuple[float, float | None]]
) -> Noise | None:
    """Noise from values of architectures under several seeds, else from labels' own errors.

    A sample variance is gamma distributed about the true one, with half its degrees of freedom as
    shape; level and slope are the most likely ones (McCullagh & Nelder 1989, ch. 8), so that an
    architecture with more seeds counts more. None where nothing has a deviation.

    Args:
        repeats: of each architecture its values, one a seed; single ones are left out.
        labels: value and standard error of each label, used where no architecture has two seeds.
    """
    several = [np.asarray(values, dtype=np.float64) for values in repeats if len(values) >= 2]
    if several:
        values = np.array([one.mean() for one in several])
        variances = np.array([one.var(ddof=1) for one in several])
        return _fit("seeds", values, variances, np.array([len(one) - 1.0 for one in several]))
    known = [(value, error) for value, error in labels if error is not None]
    values, errors = np.array(known, dtype=np.float64).reshape(-1, 2).T
    return _fit("samples", values, np.square(errors), np.full(len(known), BLOCKS - 1.0))


def _fit(
    source: Literal["seeds", "samples"], values: Vector, variances: Vector, degrees: Vector
) -> Noise | None:
    if not variances.any():
        return None
    pooled = float(np.average(variances, weights=degrees))
    low, high = float(values.min()), float(values.max())
    level, slope = np.log(pooled) / 2, 0.0
    if len(values) >= FEWEST_FOR_SLOPE and high > low:
        from scipy import optimize  # slow to import, and not always needed

        # A variance of zero would ask for a slope without end: none counts below 1 % of the pool.
        scaled = np.maximum(variances / pooled, 0.01)
        x = (2 * values - low - high) / (high - low)  # from -1 to 1
        found = optimize.minimize(_unlikeliness, (0.0, 0.0), (x, scaled, degrees), jac=True).x
        level, slope = level + found[0], 2 * found[1] / (high - low)
    return Noise(source, len(values), low, high, float(level), float(slope))


def _unlikeliness(
    line: Vector, x: Vector, variances: Vector, degrees: Vector
) -> tuple[float, Vector]:
    """Half the deviance of gamma variances about exp(2 (a + b x)), convex; and its gradient."""
    log = 2 * (line[0] + line[1] * x)
    ratio = variances * np.exp(-log)
    pull = degrees * (1 - ratio)
    return float((degrees * (log + ratio)).sum() / 2), np.array([pull.sum(), (pull * x).sum()])
