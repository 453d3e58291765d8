"""What was measured of a world's designs: which method chose which, and their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.worlds.choose import LEARNING, TOP, Chosen, Compared
from benchmarks.worlds.studies import SEEDS
from sdsearch.labels import read_label_table
from sdsearch.unet import UNPRUNED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.worlds.studies import World
    from sdsearch.labels import Label

    Floats = NDArray[np.float64]
    Designs = Mapping[tuple[str, Compared], Mapping[int, Sequence[str]]]


@dataclass(frozen=True)
class Results:
    """What was measured of one world's designs.

    Attributes:
        chosen: by (budget, method) and draw the keys of the designs, best first.
        labels: by (architecture, seed), of the comparison's protocol.
    """

    world: World
    chosen: Designs
    labels: Mapping[tuple[str, int], Label]

    def mean(self, keys: Sequence[str], column: str) -> float:
        """The mean of a column over architectures and seeds; NaN where any is missing."""
        values = [self.value(key, seed, column) for key in keys for seed in SEEDS]
        return float(np.mean(values))

    def left_out(self, keys: Sequence[str], column: str) -> Floats | None:
        """(blocks,) the same mean without each block of scenes; None where a label has none."""
        found = []
        for key in keys:
            for seed in SEEDS:
                label = self.labels.get((key, seed))
                value = label and label.values.get(column)
                blocks = getattr(value, "blocks", None)
                if not blocks:
                    return None
                found.append(blocks)
        return np.mean(np.array(found, dtype=np.float64), axis=0)

    def teacher(self, column: str) -> float:
        """The teacher's own value, a mean over the seeds."""
        return self.mean([UNPRUNED.key], column)

    def draws_of(self, budget: str, method: Compared) -> list[Sequence[str]]:
        """The designs of each draw; of a method without labels the same ones in every draw."""
        count = max(len(found) for found in self.chosen.values())
        found = self.chosen[budget, method]
        return [found[draw if method in LEARNING else 0] for draw in range(count)]

    def value(self, key: str, seed: int, column: str) -> float:
        """One label's value; NaN where it is missing or has no such column.

        One that failed is as bad as the worst that was measured (docs/decisions/0032).
        """
        label = self.labels.get((key, seed))
        if label is not None and label.failure:
            there = (one for one in self.labels.values() if column in one.values)
            worst = min if column.startswith(("psnr", "ssim")) else max
            return worst(one.scalar(column) for one in there)
        return float("nan") if label is None or column not in label.values else label.scalar(column)


def read_results(world: World, tables: Path) -> Results:
    """The designs and labels of a world.

    Raises:
        ValueError: designs are missing, or labels of the comparison are of several protocols.
    """
    lines = (tables / f"{world.name}-chosen.jsonl").read_text(encoding="utf-8").splitlines()
    chosen = group_designs(map(Chosen.model_validate_json, lines))
    labels = [
        one for one in read_label_table(tables / f"{world.name}.jsonl") if is_compared(one, world)
    ]
    if len({one.protocol_key for one in labels}) > 1:
        raise ValueError(f"labels of {world.name} must be of one protocol, but are of several")
    return Results(world, chosen, {(one.arch_key, one.seed): one for one in labels})


def group_designs(designs: Iterable[Chosen]) -> Designs:
    """By (budget, method) and draw the keys, best first.

    Raises:
        ValueError: a method that learns lacks a draw, or any lacks a design.
    """
    found: dict[tuple[str, Compared], dict[int, list[str]]] = {}
    for one in sorted(designs, key=lambda one: one.rank):
        found.setdefault((one.budget, one.method), {}).setdefault(one.draw, []).append(one.arch_key)
    draws = max(len(own) for own in found.values())
    for (budget, method), own in found.items():
        wanted = set(range(draws)) if method in LEARNING else {0}
        if own.keys() != wanted or any(len(set(keys)) != TOP for keys in own.values()):
            raise ValueError(
                f"{method} within {budget} must have {TOP} designs for each of {len(wanted)} "
                f"draws, but has { ({draw: len(set(keys)) for draw, keys in own.items()}) }"
            )
    return found


def is_compared(label: Label, world: World) -> bool:
    """Whether a label is of the comparison's recovery, and not of a longer one."""
    steps: int = label.provenance["protocol"]["recovery"]["steps"]
    return steps == world.steps
