"""Verdicts: the words that a difference may bear, alone or among other claims made with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdsearch.stats.differences import Difference
    from sdsearch.stats.intervals import Interval

Word = Literal["better", "worse", "no difference"]
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is claimed of a difference, lower being better.

    Attributes:
        difference: first minus second: what is lost by taking the first.
        word: "better" or "worse" where no difference is ruled out, else "no difference".
        interval: of the difference, at the level at which Holm's procedure decided it, so that it
            leaves out 0 exactly where there is a difference.
        is_as_good: whether a loss of the margin or more is ruled out (non-inferiority).
        margin: the largest loss that does not matter.
        claims: how many claims it was corrected for.
    """

    difference: Difference
    word: Word
    interval: Interval
    is_as_good: bool
    margin: float
    claims: int

    @property
    def beyond(self) -> float:
        """The largest difference, either way, that the interval holds."""
        return max(-self.interval.low, self.interval.high)

    def describe(self, other: str) -> str:
        """The verdict in words, `other` being what the second is called.

        >>> from sdsearch.stats import Difference
        >>> decide([Difference(0.1, 0.2, 7, "paired", 8)], margin=0.8)[0].describe("the teacher")
        'no difference beyond ±0.573; as good as the teacher (non-inferior, margin 0.8)'
        """
        said = (
            f"{self.word} beyond ±{self.beyond:.3g}" if self.word == "no difference" else self.word
        )
        if not self.is_as_good or self.word == "better":
            return said
        return f"{said}; as good as {other} (non-inferior, margin {self.margin:.3g})"

    @property
    def test(self) -> str:
        """The test and what it was corrected for."""
        one = self.claims == 1
        holm = "one claim" if one else f"Holm over {self.claims} claims"
        return f"t test, {self.difference.words}; {holm}"


def decide(differences: Sequence[Difference], margin: float) -> tuple[Verdict, ...]:
    """The verdicts of claims that are made together, in their order.

    Two families of tests, each corrected by Holm (1979): no difference at 5 % two-sided, and a loss
    of `margin` or more at 2.5 % one-sided. So the chance that any "better" or "worse" is wrong is
    5 % at most, and that any "as good as" is wrong 2.5 %.

    Raises:
        ValueError: the margin is not above 0.
    """
    if not margin > 0:
        raise ValueError(f"a margin must be above 0, but is {margin}")
    differ = holm([one.p_equal() for one in differences], ALPHA)
    close = holm([one.p_at_least(margin) for one in differences], ALPHA / 2)
    return tuple(
        Verdict(
            difference=one,
            word=("better" if one.value < 0 else "worse") if step.is_rejected else "no difference",
            interval=one.interval(1 - step.level),
            is_as_good=near.is_rejected,
            margin=margin,
            claims=len(differences),
        )
        for one, step, near in zip(differences, differ, close, strict=True)
    )


class Step(NamedTuple):
    """Whether Holm's procedure rejects a hypothesis, and the level that its p was held against."""

    is_rejected: bool
    level: float


def holm(p_values: Sequence[float], alpha: float) -> tuple[Step, ...]:
    """Holm's step-down procedure: the chance of any false rejection is `alpha` at most.

    The smallest of m p values is held against alpha / m, the next against alpha / (m - 1), until
    one is above; that and all greater ones stand, at the level where it stopped.

    >>> [step.is_rejected for step in holm([0.04, 0.01, 0.03], 0.05)]
    [False, True, False]
    """
    steps = [Step(False, alpha)] * len(p_values)
    level, stands = alpha, True
    for rank, number in enumerate(np.argsort(p_values, kind="stable").tolist()):
        if stands:
            level = alpha / (len(p_values) - rank)
            stands = p_values[number] <= level
        steps[number] = Step(stands, level)
    return tuple(steps)
