"""Building: the best designs under a budget, by several methods that can be compared.

`autobuild` adds up unit scores and solves the budget exactly: scores and costs are additive, so
all members are ranked by a few vectorised sums and nothing is searched. Without a budget the best
K members are those of the published product of each unit's best K options. A unit's scores span
what its options change in the predicted target (see `scoring.score_units`): under equal weights an
unimportant level would spend the budget.

The order is that of the sum, not of the predicted target. A unit's score averages over all
backgrounds, which cancels noise that a maximum over 704,000 predictions would pick out; on planted
truths with noisy labels the sum finds better designs, and putting its best 81 in the order of the
prediction only finds the designs of `exhaustive` again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from sdsearch.architecture import Architecture
from sdsearch.cost import space_costs
from sdsearch.errors import InputError
from sdsearch.scores import FILE, Scores, SpaceScores, best_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sdsearch.space import SearchSpace

Method = Literal["autobuild", "exhaustive", "random", "ridge"]
Resource = Literal["params", "macs"]
RESOURCES: tuple[Resource, ...] = ("params", "macs")


class Share(BaseModel):
    """A limit as a share of the teacher's cost."""

    model_config = FILE

    share: float = Field(gt=0, le=1)


Absolute = Annotated[float, Field(gt=0)]


class Budget(BaseModel):
    """Upper limits; a bare number is absolute (parameters, MACs of one UNet call)."""

    model_config = FILE

    params: Share | Absolute | None = None
    macs: Share | Absolute | None = None

    def limits(self, teacher: Mapping[Resource, float]) -> dict[Resource, float]:
        """Absolute limits of the limited resources, given the teacher's costs."""
        asked = {name: getattr(self, name) for name in RESOURCES}
        return {
            name: limit.share * teacher[name] if isinstance(limit, Share) else float(limit)
            for name, limit in asked.items()
            if limit is not None
        }


class Prediction(BaseModel):
    """Predicted target and the deviation over the ensemble."""

    model_config = FILE

    target: float
    se: float


class Design(BaseModel):
    """An architecture proposed by one method, with what was known when it was chosen."""

    model_config = FILE

    name: str
    method: Method
    rank: int
    arch_key: str
    architecture: Architecture
    params: int
    macs: int
    predicted: Prediction
    score: float
    reasons: tuple[str, ...]


class DesignFile(BaseModel):
    """`designs.json`."""

    model_config = FILE

    schema_version: Literal[1] = Field(1, alias="schema")
    protocol_key: str
    target: str
    budget: Budget
    designs: tuple[Design, ...]


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
) -> list[Design]:
    """The `top` designs of each method within the budget, best first.

    `autobuild`: the best by sum of unit scores; `exhaustive`: the best predicted members of the
    whole space; `ridge`: the same by the ridge baseline (`ridge` scores needed); `random`: uniform
    within the budget.
    Raises InputError if fewer than `top` members satisfy the budget.
    """
    costs: dict[Resource, npt.NDArray[np.int64]] = dict(
        zip(RESOURCES, space_costs(space), strict=True)
    )
    teacher = space.index(space.members["teacher"])
    limits = budget.limits({name: float(cost[teacher]) for name, cost in costs.items()})
    allowed = np.ones(len(space), dtype=bool)
    for name, limit in limits.items():
        allowed &= costs[name] <= limit
    if allowed.sum() < top:
        raise InputError(_too_tight(limits, costs, int(allowed.sum()), top))
    sums = add_up(scores)
    writer = _Writer(space, scores, scored, sums, costs, limits, allowed)
    return [
        writer.design(method, rank, index)
        for method in methods
        for rank, index in enumerate(
            _choose(method, top, allowed, sums, scored, rng, ridge), start=1
        )
    ]


def add_up(scores: Scores) -> npt.NDArray[np.float64]:
    """Sum of unit scores of every member, in the order of `space.index`."""
    total = np.zeros(())
    for values in scores.values():
        total = total[..., None] + values
    return total.reshape(-1)


def _choose(
    method: Method,
    top: int,
    allowed: npt.NDArray[np.bool_],
    sums: npt.NDArray[np.float64],
    scored: SpaceScores,
    rng: np.random.Generator,
    ridge: SpaceScores | None,
) -> list[int]:
    """Indices of the chosen members, best first."""
    within = np.flatnonzero(allowed)
    if method == "autobuild":
        return best_of(sums[within], top, within)
    if method == "exhaustive":
        return scored.top(top, allowed)
    if method == "ridge":
        if ridge is None:
            raise InputError("method 'ridge' needs the ridge scores of the space, but got none")
        return ridge.top(top, allowed)
    return [int(i) for i in rng.choice(within, top, replace=False)]


class _Writer:
    """Turns chosen indices into designs with reasons."""

    def __init__(
        self,
        space: SearchSpace,
        scores: Scores,
        scored: SpaceScores,
        sums: npt.NDArray[np.float64],
        costs: dict[Resource, npt.NDArray[np.int64]],
        limits: dict[Resource, float],
        allowed: npt.NDArray[np.bool_],
    ) -> None:
        self.space, self.scores, self.scored = space, scores, scored
        self.sums, self.costs, self.limits, self.allowed = sums, costs, limits, allowed
        self.teacher = space.index(space.members["teacher"])

    def design(self, method: Method, rank: int, index: int) -> Design:
        architecture = self.space.arch(index)
        return Design(
            name=f"{method}-{rank}",
            method=method,
            rank=rank,
            arch_key=architecture.key,
            architecture=architecture,
            params=int(self.costs["params"][index]),
            macs=int(self.costs["macs"][index]),
            predicted=Prediction(
                target=float(self.scored.predicted[index]), se=float(self.scored.spread[index])
            ),
            score=float(self.sums[index]),
            reasons=tuple(self._reasons(index)),
        )

    def _reasons(self, index: int) -> list[str]:
        said = []
        architecture = self.space.arch(index)
        for unit, digit in zip(
            self.scores.units, self.space.option_indices(architecture), strict=True
        ):
            option = unit.options[digit]
            place = 1 + sum(other.score > option.score for other in unit.options)
            said.append(
                f"{unit.unit}: {option.words}; {place} of {len(unit.options)} by score,"
                f" effect {option.effect:+.3g} ± {option.spread:.2g} on the predicted target"
            )
        value = self.scored.predicted[index]
        ahead = int((self.scored.predicted[self.allowed] > value).sum())
        said.append(
            f"predicted target {value:.4g} ± {self.scored.spread[index]:.2g}: place {ahead + 1:,}"
            f" of the {int(self.allowed.sum()):,} members within the budget"
        )
        for name, cost in self.costs.items():
            share = cost[index] / cost[self.teacher]
            limit = f", limit {self.limits[name]:,.0f}" if name in self.limits else ""
            said.append(f"{name} {cost[index]:,}: {share:.1%} of the teacher{limit}")
        return said


def _too_tight(
    limits: Mapping[Resource, float],
    costs: Mapping[Resource, npt.NDArray[np.int64]],
    found: int,
    top: int,
) -> str:
    asked = ", ".join(
        f"{name} <= {limit:,.0f} (smallest member: {costs[name].min():,})"
        for name, limit in limits.items()
    )
    return f"the budget must admit {top} members, but {found} satisfy {asked}; raise [build] budget"
