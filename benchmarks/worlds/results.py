"""What was measured of a world's designs: which method chose which, and their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.worlds.choose import Chosen, Compared
from benchmarks.worlds.studies import SEEDS
from sdsearch.labels import read_label_table
from sdsearch.unet import UNPRUNED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.worlds.studies import World
    from sdsearch.labels import Label

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Results:
    """What was measured of one world's designs.

    Attributes:
        chosen: by (budget, method) and draw the keys of the designs, best first.
        labels: by (architecture, seed), of the comparison's protocol.
    """

    world: World
    chosen: Mapping[tuple[str, Compared], Mapping[int, Sequence[str]]]
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
        return [found.get(draw, found[0]) for draw in range(count)]

    def value(self, key: str, seed: int, column: str) -> float:
        """One label's value; NaN where it is missing, failed or has no such column."""
        label = self.labels.get((key, seed))
        if label is None or label.failure or column not in label.values:
            return float("nan")
        return label.scalar(column)


def read_results(world: World, tables: Path) -> Results:
    """The designs and labels of a world."""
    chosen: dict[tuple[str, Compared], dict[int, list[str]]] = {}
    for line in (tables / f"{world.name}-chosen.jsonl").read_text(encoding="utf-8").splitlines():
        one = Chosen.model_validate_json(line)
        chosen.setdefault((one.budget, one.method), {}).setdefault(one.draw, []).append(
            one.arch_key
        )
    labels = read_label_table(tables / f"{world.name}.jsonl")
    protocol = most_common([label.protocol_key for label in labels])
    return Results(
        world,
        chosen,
        {(one.arch_key, one.seed): one for one in labels if one.protocol_key == protocol},
    )


def most_common(keys: Sequence[str]) -> str:
    """The commonest of some keys; of equally common ones the first by name."""
    return max(sorted(set(keys)), key=keys.count)
