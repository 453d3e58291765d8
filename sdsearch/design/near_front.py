"""Which architectures to label first where a probe has ordered them: mostly those near the front.

Members that no design will come near teach little about the order of those that a design may be.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sdsearch.design.probe import LEAST_ERROR, log_errors
from sdsearch.errors import InputError
from sdsearch.space import list_losses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sdsearch.space import SearchSpace

    Floats = NDArray[np.float64]
    Numbers = NDArray[np.int64]

WEIGHT = 2.0
"""The order is cut at quantiles (i / count)^WEIGHT: half of the labels are in its best quarter."""
TRIED = 64
"""Members of a part of the order among which the most telling one is taken."""


def draw_near_front(
    space: SearchSpace,
    errors: tuple[Floats, ...],
    merit: Floats,
    candidates: Numbers,
    count: int,
    rng: np.random.Generator,
    known: Sequence[int] = (),
    weight: float = WEIGHT,
) -> Numbers:
    """`count` distinct candidates to label, the one nearest to the front first, as member numbers.

    The candidates' order of merit is cut into `count` parts, the thinner the better they are. Of
    each part the member is taken whose target a ridge regression on lost blocks and one-shot error
    would be least sure of, given those taken before and those that are `known`: so every block is
    seen gone and kept, and the regression is identifiable.

    Args:
        space: whose members the numbers are.
        errors: the probe's, per unit those of its options.
        merit: (len(space),) lower is nearer to the front, such as `excess_errors`.
        candidates: (n,) the members that may be taken.
        count: how many are taken.
        rng: draws what is tried in each part.
        known: members that are labelled already.
        weight: 1 takes as many from every part of the order, more takes more near the front.

    Raises:
        InputError: there are fewer candidates than `count`.
    """
    if len(candidates) < count:
        raise InputError(
            f"{count} members must be there to choose from, but {len(candidates)} of {space.name} "
            "fit the budget and are not listed; raise [build] budget, or ask for fewer labels"
        )
    ordered = candidates[np.argsort(merit[candidates], kind="stable")]
    columns = _Columns(space, errors)
    unsure = np.eye(columns.width)  # the posterior covariance of the ridge's coefficients
    for row in columns.of(np.asarray(known, np.int64)):
        unsure = _learn(unsure, row)
    edges = np.floor(len(ordered) * (np.arange(count + 1) / count) ** weight).astype(np.int64)
    edges = np.maximum(edges, np.arange(count + 1))
    chosen = np.empty(count, np.int64)
    for number, (first, end) in enumerate(pairwise(edges)):
        tried = rng.choice(ordered[first:end], min(TRIED, int(end - first)), replace=False)
        rows = columns.of(tried)
        best = int(np.einsum("ij,jk,ik->i", rows, unsure, rows).argmax())
        chosen[number], unsure = tried[best], _learn(unsure, rows[best])
    return chosen


def excess_errors(errors: tuple[Floats, ...], cost: Floats | None = None) -> Floats:
    """(len(space),) how far the logarithm of each member's one-shot error is above the front's.

    The front holds the least error at each cost or less; without `cost` (len(space),) it is the
    least of all, which a budget leaves to compare with.
    """
    logs = log_errors(errors)
    if cost is None:
        return logs
    order = np.lexsort((logs, cost))
    excess = np.empty_like(logs)
    excess[order] = logs[order] - np.minimum.accumulate(logs[order])
    return excess


class _Columns:
    """What a ridge regression sees of members: a constant, what is lost, and the probe."""

    def __init__(self, space: SearchSpace, errors: tuple[Floats, ...]) -> None:
        self._space, self._errors = space, errors
        self._lost = []
        for axis in range(len(space.units)):
            losses = list_losses(space, axis)
            names = sorted(frozenset().union(*losses))
            self._lost.append(np.array([[name in loss for name in names] for loss in losses]))
        self.width = 2 + sum(table.shape[1] for table in self._lost)

    def of(self, members: Numbers) -> Floats:
        """(n, width) of members by number."""
        digits = self._space.digits(members).T
        total = sum(one[chosen] for one, chosen in zip(self._errors, digits, strict=True))
        lost = [table[chosen] for table, chosen in zip(self._lost, digits, strict=True)]
        logs = np.log(total + LEAST_ERROR)[:, None]
        return np.concatenate([np.ones_like(logs), logs, *lost], axis=1)


def _learn(unsure: Floats, row: Floats) -> Floats:
    """The covariance after one more label of unit noise (Sherman and Morrison)."""
    seen = unsure @ row
    found: Floats = unsure - np.outer(seen, seen) / (1.0 + row @ seen)
    return found
