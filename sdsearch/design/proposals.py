"""Which architectures to label next: where the ensemble disagrees and options are rarely seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdsearch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sdsearch.design.scores import SpaceScores
    from sdsearch.space import SearchSpace
    from sdsearch.unet import Architecture

POOL = 20_000


def propose_labels(
    space: SearchSpace,
    scored: SpaceScores,
    labelled: Sequence[Architecture],
    count: int,
    rng: np.random.Generator,
) -> list[Architecture]:
    """`count` members to measure next, the most useful first, none of them labelled already.

    From a uniform pool, each time the one with the largest sum of two z-scores: the deviation of
    its prediction over the ensemble, and how rare its options are among what is labelled or
    proposed so far.

    Raises:
        InputError: the space has too few other members.
    """
    known = np.array([space.index(arch) for arch in labelled], dtype=np.int64)
    others = np.setdiff1d(np.arange(len(space)), known)
    if len(others) < count:
        raise InputError(
            f"{count} further members must exist, but {space.name} has only {len(others):,} that "
            "are not listed; ask for fewer"
        )
    pool = rng.choice(others, min(max(POOL, count), len(others)), replace=False)
    digits = space.digits(pool)
    seen = [np.zeros(radix) for radix in space.radices]
    for row in space.digits(known):
        _count(seen, row)
    disagreement = _z(scored.spread[pool].astype(np.float64))
    free = np.ones(len(pool), dtype=bool)
    chosen: list[int] = []
    for _ in range(count):
        rarity = sum(1.0 / (1.0 + seen[unit][digits[:, unit]]) for unit in range(len(seen)))
        worth = np.where(free, disagreement + _z(np.asarray(rarity)), -np.inf)
        best = int(worth.argmax())
        free[best] = False
        _count(seen, digits[best])
        chosen.append(int(pool[best]))
    return [space.arch(index) for index in chosen]


def _count(seen: list[NDArray[np.float64]], row: NDArray[np.int64]) -> None:
    for unit, digit in enumerate(row):
        seen[unit][digit] += 1


def _z(x: NDArray[np.float64]) -> NDArray[np.float64]:
    deviation = x.std()
    scaled: NDArray[np.float64] = (x - x.mean()) / (deviation if deviation > 1e-12 else 1.0)
    return scaled
