"""A planted truth: an FID-like value with known slot effects and mild interactions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from sdsearch.design.probe import Probe, Removal
from sdsearch.ranker.fit import FittedRanker, fit_ranker
from sdsearch.ranker.training import RankerConfig
from sdsearch.space.removals import list_losses, list_removals
from sdsearch.space.space import SearchSpace, search_space
from sdsearch.unet.slots import SLOTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdsearch.unet.architecture import Architecture

SMALL = RankerConfig(width=8, steps=60, learning_rate=1e-2, folds=3, repeats=1)


@dataclass(frozen=True)
class PlantedTruth:
    """FID = 20 exp(0.1 (sum of removed slots' effects + pairwise terms)); 3 % noise on demand."""

    effects: np.ndarray  # (46,)
    pairs: np.ndarray  # (n, 2) slots
    terms: np.ndarray  # (n,)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> PlantedTruth:
        pairs = np.stack([rng.choice(len(SLOTS), 2, replace=False) for _ in range(10)])
        return cls(rng.normal(0.3, 1.0, len(SLOTS)), pairs, rng.normal(0.0, 0.5, len(pairs)))

    @classmethod
    def with_level_interactions(cls, rng: np.random.Generator, strength: float) -> PlantedTruth:
        """Effects, and terms between every two blocks of a level that can both be removed.

        The terms of a pair have deviation `strength` where a block's own effect has 1; with 0 the
        truth is additive in its logarithm.
        """
        free = [number for number, slot in enumerate(SLOTS) if slot.unit is not None]
        pairs = [
            (a, b)
            for at, a in enumerate(free)
            for b in free[at + 1 :]
            if SLOTS[a].unit == SLOTS[b].unit
        ]
        terms = rng.normal(0.0, strength, len(pairs)) if strength else np.zeros(len(pairs))
        return cls(rng.normal(0.3, 1.0, len(SLOTS)), np.array(pairs), terms)

    def fid(self, archs: Sequence[Architecture]) -> np.ndarray:
        removed = np.array([[s.name not in a.kept_slots for s in SLOTS] for a in archs], float)
        both = removed[:, self.pairs[:, 0]] * removed[:, self.pairs[:, 1]]
        return 20.0 * np.exp(0.1 * (removed @ self.effects + both @ self.terms))

    def labels(self, archs: Sequence[Architecture], rng: np.random.Generator) -> list[float]:
        noisy = self.fid(archs) * (1.0 + 0.03 * rng.normal(size=len(archs)))
        return [float(y) for y in -np.log(noisy)]

    def marginals(self, space: SearchSpace, axis: int, rng: np.random.Generator) -> np.ndarray:
        """Mean -log FID of each option of a unit over 100 random backgrounds."""
        digits = space.digits(rng.choice(len(space), 100, replace=False))
        found = []
        for option in range(len(space.units[axis].options)):
            digits[:, axis] = option
            archs = [space.arch(int(i)) for i in space.indices(digits)]
            found.append(-np.log(self.fid(archs)).mean())
        return np.array(found)


def planted_probe(space: SearchSpace, seed: int = 0, timesteps: int = 2) -> Probe:
    """A probe whose smallest removals have random errors of many sizes, and pairs some more."""
    rng, removals = np.random.default_rng(seed), []
    for axis, (unit, numbers) in enumerate(zip(space.units, list_removals(space), strict=True)):
        losses = list_losses(space, axis)
        own = {slot.name: 10.0 ** rng.uniform(-5, 0) for slot in SLOTS}
        for number in numbers:
            error = sum(own.get(name, 0.01) for name in losses[number])
            removals.append(
                Removal(
                    unit=unit.name,
                    option=number,
                    words=str(unit.options[number]),
                    lost=tuple(slot.name for slot in SLOTS if slot.name in losses[number]),
                    errors=tuple(float(error * factor) for factor in range(1, timesteps + 1)),
                    se=0.1 * error,
                )
            )
    return Probe(
        space=space.name,
        asked=4,
        samples=4,
        timesteps=tuple(range(100, 100 * timesteps + 1, 100)),
        weights=(1 / timesteps,) * timesteps,
        removals=tuple(removals),
        milliseconds={slot.name: 1.0 + number for number, slot in enumerate(SLOTS)},
        device="a processor",
    )


def small_fit(kind: str = "gnn") -> FittedRanker:
    """A quick fit on 24 planted labels, one of them failed; `kind` is the predictor in use."""
    fitted = _small_fit()
    return replace(fitted, report=fitted.report.model_copy(update={"kind": kind}))


@cache
def _small_fit() -> FittedRanker:
    rng = np.random.default_rng(0)
    space = search_space("tiny")
    archs = space.sample(24, rng)
    y: list[float | None] = list(PlantedTruth.draw(rng).labels(archs, rng))
    y[3] = None
    return fit_ranker(space, archs, y, SMALL, np.random.default_rng(1))
