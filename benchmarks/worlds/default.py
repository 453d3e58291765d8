"""Whether the product's default stands on the embedded teacher, and what short recoveries tell.

    python -m benchmarks.worlds.default [--tables FOLDER] [--out FILE]      # seconds

As written in docs/decisions/0030 before it was measured: four designs each of `default`, `one-shot`
and `exhaustive` under two budgets and three label seeds. Then, for the designs of the tighter
budget: whether 30 steps of recovery order them as 480 do, and which columns do so best.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.worlds.compare import LOWER_IS_BETTER, SHOWN, Results, means_table, read_results
from benchmarks.worlds.studies import SEEDS, TABLES, WORLDS
from sdsearch.files import write_atomic
from sdsearch.labels import Measurement, read_label_table
from sdsearch.stats import crossed_difference, spearman, spearman_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.worlds.choose import Compared
    from sdsearch.labels import Label

COLUMN, MARGIN = "fd_efflite0", 0.01
RIVALS: tuple[Compared, ...] = ("one-shot", "exhaustive")
SHORT, LONG = 30, 480
NEAR = 0.05
"""Designs are near each other where the short label puts them within this share of the best."""


def main() -> None:
    """Print both parts as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=Path, default=TABLES)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    results = read_results(WORLDS["tiny-sd"], asked.tables)
    labels = read_label_table(asked.tables / "tiny-sd.jsonl")
    text = "\n\n".join(
        ["# The default on the embedded teacher (tiny)", *judge(results), *compare_steps(labels)]
    )
    if asked.out:
        write_atomic(asked.out, text + "\n")
    print(text)


def judge(results: Results) -> list[str]:
    """The means, and the difference to each rival with its upper bound against the margin."""
    teacher = results.teacher(COLUMN)
    parts = [
        f"Teacher: {COLUMN} {teacher:.2f}; the margin of {MARGIN:.0%} is {MARGIN * teacher:.2f}. "
        f"Designs: four a method, label seeds {', '.join(map(str, SEEDS))}; lower is better."
    ]
    for budget in dict.fromkeys(budget for budget, _ in results.chosen):
        own = mean_measurements(results, results.draws_of(budget, "default")[0])
        rows = [
            "| default against | difference | 95 % interval | upper bound below the margin |",
            "|---|---|---|---|",
        ]
        for rival in RIVALS:
            other = mean_measurements(results, results.draws_of(budget, rival)[0])
            found = crossed_difference(own, other)
            low, high = found.interval()
            stands = "yes" if high < MARGIN * teacher else "**no**"
            rows.append(f"| {rival} | {found.value:+.2f} | [{low:+.2f}, {high:+.2f}] | {stands} |")
        parts += [f"## {budget}", means_table(results, budget), "\n".join(rows)]
    return parts


def mean_measurements(results: Results, keys: Sequence[str]) -> list[Measurement]:
    """For each seed the mean over designs of the column, blocks by blocks."""
    found = []
    for seed in SEEDS:
        each = [results.labels[key, seed].values[COLUMN] for key in keys]
        measured = [one for one in each if isinstance(one, Measurement)]
        assert len(measured) == len(keys), "a Fréchet distance is a measurement"
        blocks = np.mean([one.blocks or () for one in measured], axis=0)
        found.append(
            Measurement(
                value=float(np.mean([one.value for one in measured])),
                n=measured[0].n,
                blocks=tuple(map(float, blocks)),
            )
        )
    return found


def compare_steps(labels: Sequence[Label]) -> list[str]:
    """Whether the short recovery orders near designs as the long one does, column by column."""
    by_steps: dict[int, dict[str, Label]] = {}
    for label in labels:
        steps = label.provenance["protocol"]["recovery"]["steps"]
        if label.seed == SEEDS[0] and not label.failure:
            by_steps.setdefault(steps, {})[label.arch_key] = label
    short, long = by_steps.get(SHORT, {}), by_steps.get(LONG, {})
    best = min((short[key].scalar(COLUMN) for key in long if key in short), default=np.inf)
    keys = [key for key in long if key in short and short[key].scalar(COLUMN) <= (1 + NEAR) * best]
    if len(keys) < 3:
        return []
    rng, truth = np.random.default_rng(0), [-long[key].scalar(COLUMN) for key in keys]
    rows = [
        f"| column after {SHORT} steps | SRCC with {COLUMN} after {LONG} | 95 % interval |",
        "|---|---|---|",
    ]
    for name in (column for column in SHOWN if column in short[keys[0]].values):
        sign = -1.0 if LOWER_IS_BETTER[name] else 1.0
        said = [sign * short[key].scalar(name) for key in keys]
        low, high = spearman_interval(truth, said, rng)
        rows.append(f"| {name} | {spearman(truth, said):+.2f} | [{low:+.2f}, {high:+.2f}] |")
    gone = np.mean([short[key].scalar(COLUMN) - long[key].scalar(COLUMN) for key in keys])
    return [
        f"## {SHORT} steps of recovery against {LONG}",
        f"{len(keys)} designs of the tighter budget, within {NEAR:.0%} of the best of them; "
        f"{LONG} steps bring {COLUMN} down by {gone:.1f} on average. One label seed.",
        "\n".join(rows),
    ]


if __name__ == "__main__":
    main()
