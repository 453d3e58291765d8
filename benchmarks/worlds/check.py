"""Measure five labels of a world's table once more and compare.

    python -m benchmarks.worlds.check [WORLD]      # 1 min 17 s on 2 cores

The five are drawn at random over the table's range of values. Each must agree within three
deviations of the noise at its value, the spread over label seeds; on the same kind of machine and
software it is the same value. Exit code 1 where one does not agree.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.worlds.labelling import Group, label_groups
from benchmarks.worlds.studies import SEEDS, TABLES, WORLDS, list_members
from sdsearch.labels import read_label_table
from sdsearch.report import measure_noise

if TYPE_CHECKING:
    from sdsearch.labels import Label

COUNT, DEVIATIONS, COLUMN = 5, 3.0, "fd_efflite0"


def main() -> int:
    """Measure, print both values side by side, say whether they agree."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("world", nargs="?", choices=WORLDS, default=next(iter(WORLDS)))
    parser.add_argument("--seed", type=int, default=0, help="which five are drawn")
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        study = WORLDS[asked.world].study(Path(folder))
        table = read_label_table(TABLES / f"{asked.world}.jsonl")
        labels = [one for one in table if one.protocol_key == study.protocol_key]
        drawn = draw_labels(labels, np.random.default_rng(asked.seed))
        noise = measure_noise(labels, labels, COLUMN, study.config.ranker.target)
        if noise is None or noise.of_value.source != "seeds":
            print(f"{asked.world} must have labels of two seeds, but has none", file=sys.stderr)
            return 2
        list_members(study, [label.architecture for label in drawn])
        keys = [label.arch_key for label in drawn]
        label_groups([Group.of("check", study, SEEDS[0], keys)], workers=2, seconds=1e9)
        again = {one.arch_key: one.scalar(COLUMN) for one in study.labels.read_all()}
    print(noise.lines()[0])
    agreed = True
    for label in drawn:
        old, new = label.scalar(COLUMN), again[label.arch_key]
        agrees = abs(new - old) <= DEVIATIONS * noise.of_value.at(old)
        agreed &= agrees
        said = "agrees" if agrees else "DOES NOT AGREE"
        print(f"{label.arch_key}: {old:.2f} in the table, {new:.2f} now: {said}")
    return 0 if agreed else 1


def draw_labels(labels: list[Label], rng: np.random.Generator) -> list[Label]:
    """One of each fifth of the measured architectures, by value."""
    measured = [one for one in labels if one.seed == SEEDS[0] and one.status == "ok"]
    measured.sort(key=lambda label: label.scalar(COLUMN))
    return [
        measured[int(rng.choice(part))] for part in np.array_split(np.arange(len(measured)), COUNT)
    ]


if __name__ == "__main__":
    sys.exit(main())
