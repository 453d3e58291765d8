"""Whether the product's default stands on the embedded teacher, and what short recoveries tell.

    python -m benchmarks.worlds.default [--tables FOLDER] [--out FILE]      # seconds

As written in docs/decisions/0030 before it was measured: four designs each of `default`, `one-shot`
and `exhaustive` under two budgets and three label seeds. Then, for the designs of the tighter
budget: whether 30 steps of recovery order them as 480 do, and which columns do so best.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.worlds.compare import LOWER_IS_BETTER, SHOWN, means_table
from benchmarks.worlds.results import Results, read_results
from benchmarks.worlds.studies import SEEDS, TABLES, WORLDS
from sdsearch.files import write_atomic
from sdsearch.labels import Measurement, read_label_table
from sdsearch.stats import crossed_difference, spearman, spearman_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.worlds.choose import Compared
    from sdsearch.labels import Label
    from sdsearch.stats import Difference

COLUMN, MARGIN = "fd_efflite0", 0.01
EXPLORED = ("lpips_like_efflite0", "psnr_hole")
"""Columns that each sample has a value of, so that pairs of them differ by less noise."""
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
        ["# Live designs on the embedded teacher (tiny)", *judge(results), *compare_steps(labels)]
    )
    if asked.out:
        write_atomic(asked.out, text + "\n")
    print(text)


def judge(results: Results) -> list[str]:
    """The means, and the difference to each rival with its upper bound against the margin."""
    teacher = results.teacher(COLUMN)
    parts = [
        "Printed by `python -m benchmarks.worlds.default` from labels measured on 2 CPU cores "
        "(`assets/worlds/labels/tiny-sd.jsonl`); tiny numbers, of one teacher. `default` adds up "
        "the unit effects of what `sdsearch fit` picks with a probe (ridge), `exhaustive` takes "
        "the best predictions of the GNN without one; both learn from the same 68 uniform labels. "
        "`one-shot` has none. Intervals are over scenes and seeds; what was to be shown was "
        "written before (`docs/decisions/0030-one-comparison-written-first.md`).",
        f"Teacher: {COLUMN} {teacher:.2f}; the margin of {MARGIN:.0%} is {MARGIN * teacher:.2f}. "
        f"Designs: four a method, label seeds {', '.join(map(str, SEEDS))}; lower is better.",
    ]
    for budget in dict.fromkeys(budget for budget, _ in results.chosen):
        rows = [
            "| default against | column | difference | 95 % interval | bound below margin |",
            "|---|---|---|---|---|",
        ]
        for rival, column in product(RIVALS, (COLUMN, *EXPLORED)):
            found = difference(results, budget, rival, column)
            low, high = found.interval()
            stands = "yes" if high < MARGIN * teacher else "no"
            said = stands if column == COLUMN else "exploratory"
            span = f"{found.value:+.3g} | [{low:+.3g}, {high:+.3g}]"
            rows.append(f"| {rival} | {column} | {span} | {said} |")
        parts += [f"## {budget}", means_table(results, budget), "\n".join(rows)]
    return parts


def difference(results: Results, budget: str, rival: Compared, column: str) -> Difference:
    """The default's mean over its four designs minus the rival's, over scenes and seeds."""
    own, other = (
        mean_measurements(results, results.draws_of(budget, method)[0], column)
        for method in ("default", rival)
    )
    return crossed_difference(own, other)


def mean_measurements(results: Results, keys: Sequence[str], column: str) -> list[Measurement]:
    """For each seed the mean over designs of a column, blocks by blocks."""
    found = []
    for seed in SEEDS:
        each = [results.labels[key, seed].values[column] for key in keys]
        measured = [one for one in each if isinstance(one, Measurement)]
        assert len(measured) == len(keys), "it is a measured column"
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
