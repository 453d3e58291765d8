"""Building: the best designs under a budget, by several methods that can be compared.

`autobuild` adds up unit scores and solves the budget exactly: what every member scores and costs
is a few vectorised sums over units, so that nothing is searched. Without a budget the best K
members are those of the published product of each unit's best K options. An option's score is what
it changes in the predicted target (see `scoring.score_units`): under equal weights an unimportant
level would spend the budget.

The order is that of the sum, not of the predicted target: it leaves out the interactions that the
predictor sees between units. On planted truths its designs and those of `exhaustive` cannot be told
apart (`docs/decisions/0008`). Putting the best 81 sums in the order of the prediction only finds
the designs of `exhaustive` again.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sdsearch.design.designs import Design, DesignWriter, Method
from sdsearch.design.evolution import evolve
from sdsearch.design.scores import best_of
from sdsearch.errors import InputError
from sdsearch.space import add_up, say_amount
from sdsearch.unet import UNPRUNED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sdsearch.design.scores import Scores, SpaceScores
    from sdsearch.space import Budget, Meter, Resource, SearchSpace

NEED_SCORES: tuple[Method, ...] = ("ridge", "ridge-probe", "one-shot", "autobuild-paper")
"""Methods that go by scores of their own, which those who build by them hand over."""
REDUCED_OPTIONS = 8
"""Best options of each unit among which `evolution-reduced` chooses."""


def build_designs(
    meter: Meter,
    methods: Iterable[Method],
    budget: Budget,
    scores: Scores,
    scored: SpaceScores,
    rng: np.random.Generator,
    *,
    top: int = 4,
    baselines: Mapping[Method, SpaceScores] | None = None,
    paper: Sequence[npt.NDArray[np.float64]] | None = None,
    least_difference: int = 1,
) -> list[Design]:
    """The `top` designs of each method within the budget, best first, from the meter's space.

    A method that is named again finds its next ones, numbered on.

    `autobuild`: the best by sum of unit scores; `exhaustive`: the best predicted members of the
    whole space; `ridge`, `ridge-probe`, `one-shot`: the same by that predictor (in `baselines`);
    `autobuild-paper`: the best by sum of the published method's option scores (`paper` needed);
    `evolution`: regularised evolution on the prediction; `evolution-reduced`: the same among the
    best options of each unit; `pareto`: spread over the front of summed score and parameters;
    `most-macs`, `most-params`: the largest that fit; `random`: uniform. Two designs of a method
    differ in at least `least_difference` blocks kept.

    Raises:
        InputError: fewer than `top` members satisfy the budget and differ enough.
    """
    wanted = {method: top * times for method, times in Counter(methods).items()}
    space, limits = meter.space, meter.limits(budget)
    allowed = find_allowed(meter, limits, max(wanted.values(), default=top))
    sums = add_up(scores.values())
    writer = DesignWriter(meter, scores, scored, sums, allowed, limits)
    reduced = [_best_options(values) for values in scores.values()]
    within = np.flatnonzero(allowed)
    orders: dict[Method, npt.NDArray[np.floating]] = {
        "autobuild": sums,
        "exhaustive": scored.predicted,
        "most-macs": meter.whole("macs"),
        "most-params": meter.whole("params"),
        **{name: one.predicted for name, one in (baselines or {}).items()},
    }
    if paper is not None:
        orders["autobuild-paper"] = add_up(paper)

    def ranking(method: Method) -> Iterator[int]:
        if method in orders:
            return _best_first(orders[method], within)
        if method in NEED_SCORES:
            raise InputError(f"method {method!r} needs the scores that it goes by, but got none")
        if method == "random":
            return _drawn(within, wanted[method], rng)
        if method == "pareto":
            return _along_front(sums, meter.whole("params"), within, wanted[method])
        options = reduced if method == "evolution-reduced" else None
        return iter(evolve(space, scored.predicted, allowed, rng, options))

    return [
        writer.write(method, rank, index)
        for method, count in wanted.items()
        for rank, index in enumerate(
            _take(ranking(method), count, space, allowed, least_difference), start=1
        )
    ]


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
    """Uniform draws, then all of `within` in random order, for where draws are too alike."""
    yield from (int(i) for i in rng.choice(within, top, replace=False))
    yield from (int(i) for i in rng.permutation(within))


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


def find_allowed(meter: Meter, limits: Mapping[Resource, float], top: int) -> npt.NDArray[np.bool_]:
    """(len(space),) which members satisfy every limit, and load where designs have to.

    Raises:
        InputError: fewer than `top` do; the smallest cost of each resource is named.
    """
    allowed, asked = meter.loads(), []
    if (found := int(allowed.sum())) < top:
        reason = meter.why_not_loaded(UNPRUNED)
        raise InputError(
            f"{top} members must load in {', '.join(meter.loads_in)}, but {found} of "
            f"{meter.space.name} do{f': {reason}' if reason else ''}; change [build] loads_in"
        )
    loadable = allowed.copy()
    for name, limit in limits.items():
        costs = meter.whole(name)
        smallest = say_amount(costs[loadable].min())
        allowed &= costs <= limit
        asked.append(f"{name} <= {say_amount(limit)} (smallest member: {smallest})")
    if (found := int(allowed.sum())) < top:
        raise InputError(
            f"the budget must admit {top} members{_said_loaders(meter)}, but {found} satisfy "
            f"{', '.join(asked)}; raise [build] budget"
        )
    return allowed


def _said_loaders(meter: Meter) -> str:
    return f" that load in {', '.join(meter.loads_in)}" if meter.loads_in else ""


def _take(
    ranking: Iterator[int],
    top: int,
    space: SearchSpace,
    allowed: npt.NDArray[np.bool_],
    least_difference: int,
) -> list[int]:
    """The first `top` members of a ranking that are allowed and differ from those before."""
    free, taken = allowed.copy(), list[int]()
    for index in ranking:
        if not free[index]:
            continue
        taken.append(index)
        if len(taken) == top:
            return taken
        free &= _differences(space, index) >= least_difference
    raise InputError(
        f"a method must find {top} members that fit the budget and differ in {least_difference} "
        f"blocks, but found {len(taken)}; raise [build] budget or lower least_difference"
    )


def _differences(space: SearchSpace, index: int) -> npt.NDArray[np.int16]:
    """(len(space),) in how many blocks kept every member differs from one: a sum over units."""
    kept, home = space.arch(index).kept_slots, space.digits(np.array([index]))
    found = []
    for axis, radix in enumerate(space.radices):
        digits = home.repeat(radix, axis=0)
        digits[:, axis] = np.arange(radix)
        others = (space.arch(int(i)) for i in space.indices(digits))
        found.append(np.array([len(kept ^ other.kept_slots) for other in others], np.int16))
    return add_up(found)
