"""What labels are worth: whether half of them would have led to designs that are as good.

Where half of the labels lead to designs that all of them hold to be as good, the next ones are not
expected to change much either: what a label adds becomes less, the more there are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from sdsearch.design.scores import PredictorKind, best_of
from sdsearch.model import SealedModel
from sdsearch.stats import spearman

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Numbers = NDArray[np.int64]

Learn = Callable[["Numbers"], tuple["Floats", "Floats"]]
"""Rows of labels that are learned from -> predictions of all labels, and of all members."""
HALVES = 20
FEWEST_TO_HALVE = 6
"""A regression of fewer than three labels is a constant."""


class LabelWorth(SealedModel):
    """Whether more labels are expected to change the designs, judged by what half of them find.

    Attributes:
        labels, half: how many there are, and how many each of the `draws` takes.
        kind: the predictor that is fitted to halves, and whose prediction from all labels judges.
        used: the predictor of the fit; another than `kind` where that takes too long.
        srcc, srcc_half: rank correlation with labels that were held out, of all and of half.
        designs: how many best members within the budget are compared.
        loss: how much worse those that half of the labels finds are by the present prediction, mean
            over draws, as a share of what `unit` names; `low` and `high` hold 95 % of the draws.
        unit: the column whose logarithm the target is, or "the labels' spread", their deviation.
        margin: the loss that does not matter, [report] margin.
    """

    when_damaged: ClassVar[str] = "remove the file, then run: sdsearch fit STUDY"

    schema_version: Literal[1] = Field(1, alias="schema")
    labels: int = Field(ge=FEWEST_TO_HALVE)
    half: int
    draws: int
    kind: PredictorKind
    used: PredictorKind
    srcc: float
    srcc_half: float
    designs: int
    loss: float = Field(ge=0)
    low: float
    high: float
    unit: str
    margin: float

    @property
    def more_may_help(self) -> bool:
        """Whether a half may lose more than the margin, so that more labels may bring as much.

        The prediction judges itself: with few labels it overstates what halves lose
        (benchmarks/label_worth.txt).
        """
        return self.high > self.margin

    def describe(self) -> str:
        """The same in a sentence or two."""
        said = f"{100 * self.loss:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"
        found = f"would have found {self.designs} designs that are {said} of {self.unit} worse"
        stand_in = "" if self.kind == self.used else f", which stands in for {self.used}"
        change = "may" if self.more_may_help else "are not expected to"
        return (
            f"half of these {self.labels} labels {found} by the present prediction ({self.kind}"
            f"{stand_in}; {self.draws} halves; held-out SRCC {self.srcc_half:.2f} with {self.half} "
            f"labels, {self.srcc:.2f} with all): more labels {change} change the designs by "
            f"more than {100 * self.margin:g} %"
        )


def halve_labels(
    target: Floats,
    learn: Learn,
    allowed: NDArray[np.bool_],
    top: int,
    rng: np.random.Generator,
    draws: int = HALVES,
) -> tuple[float, Floats]:
    """What random halves of labels find: their mean SRCC on the other half, and their losses.

    Args:
        target: (n,) of the labels, higher is better.
        learn: fits a predictor to some of them.
        allowed: (members,) which of the space designs may be.
        top: how many designs are built.
        rng: draws the halves.
        draws: how many.

    Returns:
        The SRCC, and (draws,) how much less the `top` members that a half puts first are worth on
        average than those that all labels do, as predicted from all labels: never below 0.
    """
    _, judged = learn(np.arange(len(target)))
    within = np.flatnonzero(allowed)
    best = judged[_best(judged, within, top)].mean()
    orders, losses = [], []
    for _ in range(draws):
        mixed = rng.permutation(len(target))
        taken, held = np.split(mixed, [len(target) // 2])
        guesses, members = learn(taken)
        orders.append(spearman(target[held], guesses[held]))
        losses.append(max(0.0, best - judged[_best(members, within, top)].mean()))
    return float(np.mean(orders)), np.array(losses)


def _best(values: Floats, within: Numbers, top: int) -> list[int]:
    return best_of(values[within], top, within)
