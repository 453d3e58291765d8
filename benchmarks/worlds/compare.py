"""Who won: the comparison of docs/decisions/0030, from committed labels alone.

    python -m benchmarks.worlds.compare [--out FILE]      # seven minutes on 2 cores
    python -m benchmarks.worlds.compare --quick           # seconds: without the replays

For every world: the primary endpoint with its interval and word against each rival. Then, called
exploratory: the poster's table, what the designs have in other columns, and replays under other
budgets. Printed as Markdown; FILE gets it too.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student

from benchmarks.worlds.poster import poster_table
from benchmarks.worlds.replays import describe_replays, replay_worlds
from benchmarks.worlds.results import read_results
from benchmarks.worlds.studies import TABLES, WORLDS
from sdsearch.files import write_atomic
from sdsearch.stats import jackknife_error
from sdsearch.unet import UNPRUNED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from benchmarks.worlds.choose import Compared
    from benchmarks.worlds.results import Results

    Floats = NDArray[np.float64]

OWN: Compared = "autobuild"
RIVALS: tuple[Compared, ...] = ("exhaustive", "ridge-probe", "one-shot", "most-macs")
CONFIDENCE, MARGIN = 0.95, 0.01
BUDGET, SHARE = "macs 60 %", 0.6
COMPARED = ("words-16", "words-16-b", "fill-16")
SHOWN = (
    "fd_efflite0",
    "fd_vs_teacher",
    "latent_mse_vs_teacher",
    "lpips_like_efflite0",
    "psnr_hole",
)
TITLE = (
    "# The comparison of search methods (tiny worlds)\n\nPrinted by `python -m "
    "benchmarks.worlds.compare` from `assets/worlds/labels`. What is compared, and which word "
    "means what, was written before it was measured: decision 0030. All numbers are of tiny models."
)
EXPLORATORY = "Exploratory. Four designs a method, three label seeds, all draws; 60 % of the MACs."
REPLAYED = (
    "Exploratory. Each draw's 32 labels teach every method, which picks four of the other 224 "
    "measured members: the mean of the four, behind the teacher in percent, lower is better, with "
    "Student's 95 % interval over the draws. A pick has to have been measured, so that these are "
    "worse than designs."
)
LOWER_IS_BETTER = {name: not name.startswith("psnr") for name in SHOWN}


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
    parser.add_argument("--quick", action="store_true", help="without the replays")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    found = [
        read_results(WORLDS[name], asked.tables)
        for name in COMPARED
        if (asked.tables / f"{name}-chosen.jsonl").is_file()
    ]
    parts = [TITLE, "## Primary endpoint", *map(describe_primary, found)]
    parts += ["## The poster's table", EXPLORATORY, poster_table(found, BUDGET, SHARE)]
    parts += ["## Other columns", EXPLORATORY, *map(describe_columns, found)]
    if not asked.quick:
        replayed = replay_worlds(COMPARED, asked.processes)
        parts += ["## Other budgets, by replay", REPLAYED, describe_replays(replayed)]
    text = "\n\n".join(parts) + "\n"
    if asked.out:
        write_atomic(asked.out, text)
    print(text)


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


def describe_primary(results: Results) -> str:
    """The verdicts of one world as Markdown."""
    world = results.world
    verdicts = [compare(results, BUDGET, rival, world.endpoint) for rival in RIVALS]
    draws = len(results.draws_of(BUDGET, OWN))
    return f"**{world.name}**: {world.endpoint}, {draws} draws\n\n{_verdict_table(verdicts)}"


def describe_columns(results: Results) -> str:
    """Means of one world's designs in every column as Markdown."""
    return f"**{results.world.name}**\n\n{means_table(results, BUDGET)}"


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
