"""Designs: architectures that a method proposes, with their costs, predictions and reasons."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from sdsearch.design.scores import plus_minus
from sdsearch.model import FrozenModel, SealedModel
from sdsearch.space import Budget, say_amount
from sdsearch.unet import UNPRUNED, Architecture

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from sdsearch.design.scores import Scores, SpaceScores
    from sdsearch.space import Meter, Resource

Method = Literal[
    "autobuild",
    "autobuild-paper",
    "exhaustive",
    "random",
    "ridge",
    "ridge-probe",
    "one-shot",
    "most-macs",
    "most-params",
    "evolution",
    "evolution-reduced",
    "pareto",
]

DesignName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
"""Words of a to z and digits, joined by hyphens: a folder takes its name from it."""


class Prediction(FrozenModel):
    """Predicted target and the deviation over the ensemble."""

    target: float
    se: float


class Design(FrozenModel):
    """An architecture proposed by one method, with what was known when it was chosen."""

    name: DesignName
    method: Method
    rank: int
    arch_key: str
    architecture: Architecture
    params: int
    macs: int
    memory_bytes: int
    file_bytes: int
    latency_ms: float | None = None
    predicted: Prediction
    score: float
    reasons: tuple[str, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.architecture.key != self.arch_key:
            raise ValueError(f"arch_key {self.arch_key} is not {self.architecture.key}")
        return self

    def __repr__(self) -> str:
        return (
            f"Design({self.name!r}, {self.params:,} parameters, predicted target "
            f"{self.predicted.target:.4g}{plus_minus(self.predicted.se)})"
        )


class DesignFile(SealedModel):
    """`designs.json`."""

    schema_version: Literal[1] = Field(1, alias="schema")
    protocol_key: str
    target: str
    budget: Budget
    designs: tuple[Design, ...]

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = Counter(design.name for design in self.designs)
        if several := [name for name, times in names.items() if times > 1]:
            raise ValueError(
                f"designs must have names of their own, but there are two {several[0]}"
            )
        return self


@dataclass(frozen=True, slots=True)
class DesignWriter:
    """Turns chosen indices into designs with reasons.

    `sums` and `allowed` are (len(space),): the members' summed unit scores, and which of them fit
    the budget.
    """

    meter: Meter
    scores: Scores
    scored: SpaceScores
    sums: NDArray[np.float64]
    allowed: NDArray[np.bool_]
    limits: Mapping[Resource, float]

    def write(self, method: Method, rank: int, index: int) -> Design:
        """The design of a member."""
        architecture = self.meter.space.arch(index)
        costs = self.meter.member(architecture)
        return Design(
            name=f"{method}-{rank}",
            method=method,
            rank=rank,
            arch_key=architecture.key,
            architecture=architecture,
            params=int(costs["params"]),
            macs=int(costs["macs"]),
            memory_bytes=int(costs["memory_bytes"]),
            file_bytes=int(costs["file_bytes"]),
            latency_ms=costs.get("latency_ms"),
            predicted=Prediction(
                target=float(self.scored.predicted[index]), se=float(self.scored.spread[index])
            ),
            score=float(self.sums[index]),
            reasons=(*self._of_units(architecture), self._of_place(index), *self._of_costs(costs)),
        )

    def _of_units(self, architecture: Architecture) -> list[str]:
        digits = self.meter.space.option_indices(architecture)
        rule = self.scores.rule
        order = "by effect:" if rule == "partial-dependence" else f"by {rule}, effect"
        said = []
        for unit, digit in zip(self.scores.units, digits, strict=True):
            option = unit.options[digit]
            place = 1 + sum(other.score > option.score for other in unit.options)
            said.append(
                f"{unit.unit}: {option.words}; {place} of {len(unit.options)} {order}"
                f" {option.effect:+.3g}{plus_minus(option.spread)} on the predicted target"
            )
        return said

    def _of_place(self, index: int) -> str:
        value = self.scored.predicted[index]
        what = "one-shot estimate" if self.scores.kind == "one-shot" else "predicted target"
        ahead = int((self.scored.predicted[self.allowed] > value).sum())
        return (
            f"{what} {value:.4g}{plus_minus(self.scored.spread[index])}: place {ahead + 1:,}"
            f" of the {int(self.allowed.sum()):,} members within the budget{self._of_loaders()}"
        )

    def _of_loaders(self) -> str:
        loaders = self.meter.loads_in
        return f" that load in {', '.join(loaders)}" if loaders else ""

    def _of_costs(self, costs: Mapping[Resource, float]) -> list[str]:
        teacher = self.meter.member(UNPRUNED)
        said = []
        for name, cost in costs.items():
            limit = f", limit {say_amount(self.limits[name])}" if name in self.limits else ""
            said.append(
                f"{name} {say_amount(cost)}: {cost / teacher[name]:.1%} of the teacher{limit}"
            )
        return said
