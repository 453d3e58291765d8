"""Who won: the comparison of docs/decisions/0030, from committed labels alone.

    python -m benchmarks.worlds.compare [--tables FOLDER] [--out FILE]      # seconds

For every world: the primary endpoint with its interval and word against each rival, then, called
exploratory, what the designs have in other columns. Printed as Markdown; FILE gets it too.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student

from benchmarks.worlds.choose import Chosen, Compared
from benchmarks.worlds.studies import SEEDS, TABLES, WORLDS, World
from sdsearch.files import write_atomic
from sdsearch.labels import read_label_table
from sdsearch.stats import jackknife_error
from sdsearch.unet import UNPRUNED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from sdsearch.labels import Label

    Floats = NDArray[np.float64]

OWN: Compared = "autobuild"
RIVALS: tuple[Compared, ...] = ("exhaustive", "ridge-probe", "one-shot", "most-macs")
CONFIDENCE, MARGIN = 0.95, 0.01
COMPARED = ("words-16", "words-16-b", "fill-16")
SHOWN = (
    "fd_efflite0",
    "fd_vs_teacher",
    "latent_mse_vs_teacher",
    "lpips_like_efflite0",
    "psnr_hole",
)
LOWER_IS_BETTER = {name: not name.startswith("psnr") for name in SHOWN}


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
        values = [self._value(key, seed, column) for key in keys for seed in SEEDS]
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

    def _value(self, key: str, seed: int, column: str) -> float:
        label = self.labels.get((key, seed))
        if label is None or label.failure or column not in label.values:
            return float("nan")
        return label.scalar(column)


@dataclass(frozen=True)
class Verdict:
    """One rival of one world: a difference relative to the teacher's value.

    Attributes:
        mean: of `autobuild` minus the rival, over draws; below 0 `autobuild` is better.
        low, high: its interval over draws, of all rivals together.
        scenes: its standard error over blocks of scenes; NaN where labels have none.
    """

    rival: Compared
    mean: float
    low: float
    high: float
    scenes: float

    @property
    def word(self) -> str:
        """What may be said."""
        if np.isnan(self.mean):
            return "not measured"
        words = []
        if self.high < 0:
            words.append("better")
        if self.low > 0:
            words.append("worse")
        if self.low >= -MARGIN and self.high <= MARGIN:
            words.append("as good as")
        return ", ".join(words) or "undecided"


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=Path, default=TABLES)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    parts = ["# The comparison of search methods on tiny worlds"]
    for name in COMPARED:
        if (asked.tables / f"{name}-chosen.jsonl").is_file():
            parts += describe_world(read_results(WORLDS[name], asked.tables))
    text = "\n\n".join(parts) + "\n"
    if asked.out:
        write_atomic(asked.out, text)
    print(text)


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


def compare(results: Results, budget: str, rival: Compared, column: str) -> Verdict:
    """`autobuild` against a rival in one column, draw by draw."""
    teacher = results.teacher(column)
    own, other = results.draws_of(budget, OWN), results.draws_of(budget, rival)
    sign = 1.0 if LOWER_IS_BETTER[column] else -1.0
    gaps = np.array(
        [
            sign * (results.mean(a, column) - results.mean(b, column)) / teacher
            for a, b in zip(own, other, strict=True)
        ]
    )
    n = len(gaps)
    half = float("nan")
    if n > 1:
        quantile = student.ppf(1 - (1 - CONFIDENCE) / 2 / len(RIVALS), n - 1)
        half = float(quantile * gaps.std(ddof=1) / np.sqrt(n))
    mean = float(gaps.mean())
    return Verdict(rival, mean, mean - half, mean + half, _scene_error(results, own, other, column))


def _scene_error(
    results: Results, own: Sequence[Sequence[str]], other: Sequence[Sequence[str]], column: str
) -> float:
    """The jackknife's standard error over blocks of scenes of the mean relative difference."""
    whole = results.left_out([UNPRUNED.key], column)
    parts = [
        (results.left_out(a, column), results.left_out(b, column))
        for a, b in zip(own, other, strict=True)
    ]
    if whole is None or any(a is None or b is None for a, b in parts):
        return float("nan")
    left: Floats = np.mean([(a - b) / whole for a, b in parts if a is not None], axis=0)
    return float(jackknife_error(left))


def describe_world(results: Results) -> list[str]:
    """The tables of one world as Markdown."""
    world = results.world
    parts = [f"## {world.name}: primary endpoint, {world.endpoint}"]
    for budget in dict.fromkeys(budget for budget, _ in results.chosen):
        verdicts = [compare(results, budget, rival, world.endpoint) for rival in RIVALS]
        parts.append(f"{budget}; {len(results.draws_of(budget, OWN))} draws")
        parts.append(_verdict_table(verdicts))
        parts.append("Exploratory: means over four designs, three seeds and all draws")
        parts.append(means_table(results, budget))
    return parts


def _verdict_table(verdicts: Sequence[Verdict]) -> str:
    head = (
        f"| {OWN} against | difference, of the teacher's value | 95 % together "
        "| error over scenes | word |"
    )
    rows = [
        f"| {one.rival} | {one.mean:+.2%} | [{one.low:+.2%}, {one.high:+.2%}] | {one.scenes:.2%} "
        f"| {one.word} |"
        for one in verdicts
    ]
    return "\n".join([head, "|---|---|---|---|---|", *rows])


def means_table(results: Results, budget: str) -> str:
    """Means over the designs of each method under a budget, over seeds and draws, by column."""
    columns = [name for name in SHOWN if not np.isnan(results.teacher(name))]
    groups = {
        method: results.draws_of(budget, method) for at, method in results.chosen if at == budget
    }
    rows = [["designs", *columns], ["---"] * (1 + len(columns))]
    for method, draws in {"teacher": [[UNPRUNED.key]], **groups}.items():
        means = [np.mean([results.mean(keys, name) for keys in draws]) for name in columns]
        if not np.isnan(means).all():
            rows.append([method, *(f"{mean:.4g}" for mean in means)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()
