"""Building: the best designs under a budget, by several methods that can be compared.

`autobuild` adds up unit scores and solves the budget exactly: scores and most costs are additive,
so all members are ranked by a few vectorised sums and nothing is searched. Peak memory is not
additive: members are then tried best first, so that the first that fit are the best that fit.
Without a budget the best K members are those of the published product of each unit's best K
options. A unit's scores span what its options change in the predicted target (see
`scoring.score_units`): under equal weights an unimportant level would spend the budget.

The order is that of the sum, not of the predicted target. A unit's score averages over all
backgrounds, which cancels noise that a maximum over 704,000 predictions would pick out; on planted
truths with noisy labels the sum finds better designs, and putting its best 81 in the order of the
prediction only finds the designs of `exhaustive` again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sdsearch.design.designs import Design, DesignWriter, Method
from sdsearch.design.evolution import evolve
from sdsearch.design.scores import best_of
from sdsearch.errors import InputError
from sdsearch.space import Resource, member_resources, say_amount, space_resources
from sdsearch.unet import UNPRUNED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sdsearch.design.scores import Scores, SpaceScores
    from sdsearch.space import Budget, LatencyTable, SearchSpace

MOST_TRIED = 5000
"""How many members are tried, best first, for limits that have to be looked up one by one."""
REDUCED_OPTIONS = 8
"""Best options of each unit among which `evolution-reduced` chooses."""


def build_designs(
    space: SearchSpace,
    methods: Iterable[Method],
    budget: Budget,
    scores: Scores,
    scored: SpaceScores,
    rng: np.random.Generator,
    *,
    top: int = 4,
    ridge: SpaceScores | None = None,
    paper: Sequence[npt.NDArray[np.float64]] | None = None,
    table: LatencyTable | None = None,
    least_difference: int = 1,
) -> list[Design]:
    """The `top` designs of each method within the budget, best first.

    `autobuild`: the best by sum of unit scores; `exhaustive`: the best predicted members of the
    whole space; `ridge`: the same by the ridge baseline (`ridge` scores needed); `autobuild-paper`:
    the best by sum of the published method's option scores (`paper` needed); `evolution`:
    regularised evolution on the prediction; `evolution-reduced`: the same among the best options of
    each unit; `pareto`: spread over the front of summed score and parameters; `random`: uniform.
    Two designs of a method differ in at least `least_difference` blocks kept.

    Raises:
        InputError: fewer than `top` members satisfy the budget and differ enough.
    """
    costs = space_resources(space, table)
    limits = budget.limits(member_resources(UNPRUNED, space, table))
    allowed = np.ones(len(space), dtype=bool)
    for name, cost in costs.items():
        allowed &= cost <= limits.get(name, np.inf)
    if allowed.sum() < top:
        raise InputError(_too_tight(limits, costs, int(allowed.sum()), top))
    sums = add_up(scores.values())
    writer = DesignWriter(space, scores, scored, sums, allowed, limits, table)
    reduced = [_best_options(values) for values in scores.values()]
    within = np.flatnonzero(allowed)

    def ranking(method: Method) -> Iterator[int]:
        if method == "autobuild":
            return _best_first(sums, within)
        if method == "exhaustive":
            return _best_first(scored.predicted, within)
        if method == "ridge":
            if ridge is None:
                raise InputError("method 'ridge' needs the ridge scores of the space, but got none")
            return _best_first(ridge.predicted, within)
        if method == "autobuild-paper":
            if paper is None:
                raise InputError("method 'autobuild-paper' needs the published scores of options")
            return _best_first(add_up(paper), within)
        if method == "random":
            return _drawn(within, top, rng)
        if method == "pareto":
            return _along_front(sums, costs["params"], within, top)
        options = reduced if method == "evolution-reduced" else None
        return iter(evolve(space, scored.predicted, allowed, rng, options))

    return [
        writer.write(method, rank, index)
        for method in methods
        for rank, index in enumerate(
            _take(ranking(method), top, space, limits, least_difference), start=1
        )
    ]


def add_up(units: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Every member's sum of the scores of its options, in the order of `space.index`.

    `units` holds one array per unit of the space: the scores of its options, in order.
    """
    total = np.zeros(())
    for values in units:
        total = total[..., None] + values
    return total.reshape(-1)


def pareto_front(
    value: npt.NDArray[np.floating], cost: npt.NDArray[np.floating]
) -> npt.NDArray[np.int64]:
    """Positions that no other one beats in value at the same cost or less, cheapest first."""
    order = np.lexsort((-value, cost))
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(value[order])[:-1]])
    return order[value[order] > best_before].astype(np.int64)


def _best_first(value: npt.NDArray[np.floating], within: npt.NDArray[np.int64]) -> Iterator[int]:
    """All of `within`, largest value first; sorted in growing parts, since few are asked for."""
    seen, size = 0, 64
    while seen < len(within):
        part = best_of(value[within], size, within)
        yield from part[seen:]
        seen, size = len(part), size * 8


def _drawn(within: npt.NDArray[np.int64], top: int, rng: np.random.Generator) -> Iterator[int]:
    """Uniform draws without end; the first `top` differ."""
    yield from (int(i) for i in rng.choice(within, top, replace=False))
    while True:
        yield int(rng.choice(within))


def _along_front(
    value: npt.NDArray[np.floating],
    cost: npt.NDArray[np.floating],
    within: npt.NDArray[np.int64],
    top: int,
) -> Iterator[int]:
    """Members of the front at evenly spaced places, best first, then the others of the front."""
    front = within[pareto_front(value[within], cost[within])][::-1]
    chosen = front[np.unique(np.linspace(0, len(front) - 1, top).round().astype(int))]
    yield from (int(i) for i in chosen)
    yield from (int(i) for i in front if i not in chosen)


def _best_options(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return np.argsort(-values, kind="stable")[:REDUCED_OPTIONS].astype(np.int64)


def _take(
    ranking: Iterator[int],
    top: int,
    space: SearchSpace,
    limits: Mapping[Resource, float],
    least_difference: int,
) -> list[int]:
    """The first `top` members of a ranking that fit into memory and differ from each other."""
    taken: dict[int, frozenset[str]] = {}
    tried = 0
    for index in ranking:
        tried += 1
        if tried > MOST_TRIED:
            break
        arch = space.arch(index)
        if "memory_bytes" in limits:
            need = member_resources(arch, space)["memory_bytes"]
            if need > limits["memory_bytes"]:
                continue
        kept = arch.kept_slots
        if index in taken or any(len(kept ^ other) < least_difference for other in taken.values()):
            continue
        taken[index] = kept
        if len(taken) == top:
            return list(taken)
    raise InputError(
        f"a method must find {top} members that fit the budget and differ in {least_difference} "
        f"blocks, but found {len(taken)} among its best {min(tried, MOST_TRIED):,}; raise [build] "
        "budget or lower least_difference"
    )


def _too_tight(
    limits: Mapping[Resource, float],
    costs: Mapping[Resource, npt.NDArray[np.float64]],
    found: int,
    top: int,
) -> str:
    asked = ", ".join(
        f"{name} <= {say_amount(limit)} (smallest member: {say_amount(costs[name].min())})"
        for name, limit in limits.items()
        if name in costs
    )
    return f"the budget must admit {top} members, but {found} satisfy {asked}; raise [build] budget"
