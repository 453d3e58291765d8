"""Regularised evolution over a space: what a search without insight finds with the same predictor.

Real et al. (AAAI 2019): a population as a queue, tournaments choose parents, the oldest dies.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from sdsearch.space import SearchSpace

POPULATION, TOURNAMENT, EVALUATIONS = 64, 16, 2000


def evolve(
    space: SearchSpace,
    value: npt.NDArray[np.floating],
    allowed: npt.NDArray[np.bool_],
    rng: np.random.Generator,
    options: list[npt.NDArray[np.int64]] | None = None,
) -> list[int]:
    """Indices of all members that were tried, best first.

    A child takes another option in one unit; one that is not allowed is drawn again. `options`
    gives the options of each unit that mutations choose among (the reduced space of AutoBuild's
    search mode); by default all of them.
    """
    choices = options or [np.arange(radix) for radix in space.radices]
    within = np.flatnonzero(allowed)
    start = rng.choice(within, min(POPULATION, len(within)), replace=False)
    population = deque(int(index) for index in start)
    tried = dict.fromkeys(population)
    for _ in range(EVALUATIONS - len(population)):
        rivals = rng.integers(len(population), size=TOURNAMENT)
        parent = max((population[int(i)] for i in rivals), key=lambda index: value[index])
        child = _mutate(space, parent, choices, allowed, rng)
        population.append(child)
        population.popleft()
        tried[child] = None
    found = np.fromiter(tried, np.int64)
    return [int(i) for i in found[np.argsort(-value[found], kind="stable")]]


def _mutate(
    space: SearchSpace,
    parent: int,
    choices: list[npt.NDArray[np.int64]],
    allowed: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> int:
    digits = space.digits(np.array([parent]))
    for _ in range(100):
        child = digits.copy()
        unit = int(rng.integers(len(choices)))
        child[0, unit] = rng.choice(choices[unit])
        index = int(space.indices(child)[0])
        if allowed[index] and index != parent:
            return index
    return parent
