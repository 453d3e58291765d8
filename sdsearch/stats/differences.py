"""Differences between two that were measured on the same samples, and how certain they are.

Scenes move all architectures alike, and so does much of the noise of a label seed. What they share
leaves a difference, so that its error is taken of the difference itself wherever that is possible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

from sdsearch.stats.intervals import Interval, Vector
from sdsearch.stats.jackknife import BLOCKS, jackknife_error

if TYPE_CHECKING:
    from collections.abc import Sequence

Test = Literal["crossed", "paired", "unpaired"]
FEWEST_SEEDS = 3
"""Below it a t interval over seeds does not hold what it says: two of them covered 90 %, not 95."""


class Measured(Protocol):
    """A value of n samples, its standard error, and its values without each of some blocks."""

    @property
    def value(self) -> float:
        """Of all samples."""

    @property
    def se(self) -> float | None:
        """Its standard error, where there is one."""

    @property
    def n(self) -> int | None:
        """How many samples it is of."""

    @property
    def blocks(self) -> tuple[float, ...] | None:
        """As `leave_out_blocks` computes them; None where they were not kept."""


@dataclass(frozen=True, slots=True)
class Difference:
    """First minus second in one unit, with a t distribution of its error.

    Attributes:
        value: the difference, a mean over seeds where there are several.
        se: its standard error.
        df: degrees of freedom of that error.
        test: "crossed" over scenes and seeds, "paired" over scenes, or "unpaired".
        blocks: blocks of scenes that the error is taken over; 0 for an unpaired one.
        seeds: label seeds that it is of.
    """

    value: float
    se: float
    df: float
    test: Test
    blocks: int = 0
    seeds: int = 1

    def interval(self, confidence: float = 0.95) -> Interval:
        """The two-sided t interval.

        >>> low, high = Difference(1.0, 0.5, 7, "paired", 8).interval()
        >>> round(low, 3), round(high, 3)
        (-0.182, 2.182)
        """
        reach = -_quantile((1 - confidence) / 2, self.df) * self.se
        return Interval(self.value - reach, self.value + reach)

    def p_equal(self) -> float:
        """Two-sided p value of there being no difference."""
        return 2 * _chance(-abs(self._t(0.0)), self.df)

    def p_at_least(self, margin: float) -> float:
        """One-sided p value of the true difference being `margin` or more."""
        return _chance(self._t(margin), self.df)

    def _t(self, supposed: float) -> float:
        distance = self.value - supposed
        if self.se > 0:
            return distance / self.se
        return float(np.copysign(np.inf, distance)) if distance else 0.0

    @property
    def words(self) -> str:
        """Which test it is, as tables name it."""
        if self.test == "unpaired":
            return f"unpaired errors, {self._seeds}"
        kind = "crossed scenes x seeds" if self.test == "crossed" else "paired over scenes"
        return f"{kind}, {self.blocks} blocks, {self._seeds}"

    @property
    def _seeds(self) -> str:
        return f"{self.seeds} label seed{'' if self.seeds == 1 else 's'}"


def difference_of(first: Sequence[Measured], second: Sequence[Measured]) -> Difference | None:
    """First minus second by the best test that there is; None where neither has an error.

    Both are of the same scenes and under the same seeds, one of each for a seed, that of the study
    first. The claim is over scenes and seeds from `FEWEST_SEEDS` seeds with blocks on, else over
    scenes under the first seed alone; without blocks the errors of both are taken for independent.

    Raises:
        ValueError: there is not one of each for every seed, or none.
    """
    if not first or len(first) != len(second):
        raise ValueError(
            f"one measurement of each is needed for every seed, but got {len(first)} and "
            f"{len(second)}"
        )
    pairs = list(zip(first, second, strict=True))
    kept = [pair for pair in pairs if _is_blocked(*pair)]
    if len(kept) >= FEWEST_SEEDS and len({len(a.blocks or ()) for a, _ in kept}) == 1:
        return crossed_difference([a for a, _ in kept], [b for _, b in kept])
    if _is_blocked(*pairs[0]):
        return paired_difference(*pairs[0])
    return unpaired_difference(*pairs[0])


def paired_difference(first: Measured, second: Measured) -> Difference:
    """First minus second over the same scenes: the jackknife of the difference, g - 1 df.

    Raises:
        ValueError: they do not have two blocks of the same samples.
    """
    left = _left_out(first, second)
    return Difference(
        value=first.value - second.value,
        se=jackknife_error(left),
        df=len(left) - 1,
        test="paired",
        blocks=len(left),
    )


def crossed_difference(first: Sequence[Measured], second: Sequence[Measured]) -> Difference:
    """First minus second over scenes and seeds, which both are drawn at random.

    Jackknife pseudovalues of g blocks under s seeds are a two-way table without replication,
    y = m + block + seed + rest. From its mean squares A, C and E, the variance of the mean is
    (max(A - E, 0) + max(C - E, 0) + E) / (g s), with Satterthwaite's degrees of freedom over the
    mean squares that remain (Searle, Casella & McCulloch 1992, ch. 4; Satterthwaite 1946; Owen
    2007 on means of crossed random effects). Two seeds give no honest interval: see
    `FEWEST_SEEDS`.

    Raises:
        ValueError: there are not two seeds, each with the same two or more blocks.
    """
    pairs = list(zip(first, second, strict=True))
    if len(pairs) < 2:
        raise ValueError(f"a crossed difference needs two seeds or more, but got {len(pairs)}")
    left = np.array([_left_out(a, b) for a, b in pairs]).T  # (g, s)
    values = np.array([a.value - b.value for a, b in pairs])
    # A column's mean is the difference itself, not the estimate that a jackknife corrects for bias
    table = values - (len(left) - 1) * (left - left.mean(0))
    variance, df = mean_variance(table)
    return Difference(
        value=float(values.mean()),
        se=float(np.sqrt(variance)),
        df=df,
        test="crossed",
        blocks=len(left),
        seeds=len(pairs),
    )


def mean_variance(table: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Variance of the mean of a (g, s) table of two crossed random effects, and its df."""
    g, s = table.shape
    rows, columns = table.mean(1), table.mean(0)
    rest = table - rows[:, None] - columns + table.mean()
    degrees = {"a": g - 1, "c": s - 1, "e": (g - 1) * (s - 1)}
    a, c = s * float(rows.var(ddof=1)), g * float(columns.var(ddof=1))
    e = float(np.square(rest).sum()) / degrees["e"]
    total = max(a - e, 0.0) + max(c - e, 0.0) + e
    # With both effects there E enters with a minus sign, with one of them not at all.
    used = {"a": a * (a > e), "c": c * (c > e), "e": e * ((a > e) == (c > e))}
    spread = sum(used[name] ** 2 / degrees[name] for name in used)
    return total / (g * s), total**2 / spread if spread else float(degrees["e"])


def unpaired_difference(first: Measured, second: Measured) -> Difference | None:
    """First minus second as if of different samples, df by Welch; None where one has no error.

    Of the same scenes this error is too wide: what is decided by it holds all the more.
    """
    errors = [one.se for one in (first, second) if one.se is not None]
    if len(errors) < 2:
        return None
    degrees = [max(min(BLOCKS, (one.n or 2 * BLOCKS) // 2), 2) - 1 for one in (first, second)]
    variance = sum(error**2 for error in errors)
    spread = sum(error**4 / df for error, df in zip(errors, degrees, strict=True))
    return Difference(
        value=first.value - second.value,
        se=float(np.sqrt(variance)),
        df=variance**2 / spread if spread else float(sum(degrees)),
        test="unpaired",
    )


def _is_blocked(first: Measured, second: Measured) -> bool:
    own, other = first.blocks or (), second.blocks or ()
    return first.n == second.n and len(own) == len(other) >= 2


def _left_out(first: Measured, second: Measured) -> Vector:
    if not _is_blocked(first, second):
        raise ValueError("a paired difference needs two or more blocks of the same samples")
    return np.subtract(first.blocks or (), second.blocks or ())


def _chance(t: float, df: float) -> float:
    """That of a value below t under Student's distribution."""
    from scipy.special import stdtr  # a tenth of a second, which no other command need wait for

    return float(stdtr(df, t))


def _quantile(chance: float, df: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(df, chance))
