"""Who won: the comparison of docs/decisions/0030, from committed labels alone.

    python -m benchmarks.worlds.compare [--out FILE]      # 9 minutes on 2 cores
    python -m benchmarks.worlds.compare --quick           # seconds: without them

For every world: the primary endpoint with its interval and word against each rival. Then, called
exploratory: the poster's table, what the designs have in other columns, and replays under other
budgets. Printed as Markdown; FILE gets it too.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student

from benchmarks.worlds.gate import measure_gate
from benchmarks.worlds.poster import poster_table
from benchmarks.worlds.replays import describe_replays, replay_worlds, say_missing
from benchmarks.worlds.results import read_results
from benchmarks.worlds.rules import BUDGETS
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
SCENE_ERRORS = 2.0
GATE = "From the probe, forward passes and labels, as `python -m benchmarks.worlds.gate` says."
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
    "benchmarks.worlds.compare{quick}`. What is compared, and which word means what, was written "
    "before it was measured (decision 0030). All numbers are of tiny models. The budget is 60 % of "
    "the teacher's multiply-accumulates, counted as studies count them, with texts of 77 tokens."
)
PRIMARY = (
    "`autobuild` is the sum of unit effects of the GNN that knows the probe. Differences are "
    "relative to the teacher's value, below 0 it is ahead; intervals are over eight draws of 32 "
    "labels, of four rivals together. They hold neither the scenes nor the noise of label seeds: "
    "the error over scenes stands beside them, and a word with * is about a difference of less "
    "than two of it."
)
POSTER = (
    "Exploratory. Designs are means over three label seeds, drawn members of one; ± is half of "
    "Student's 95 % interval over the draws of labels, and is missing where no draw changes the "
    "value. The best of many noisy labels is lucky too, that of 32 more than that of four."
)
COLUMNS = "Exploratory. Means over four designs a method, three label seeds, and all draws."
REPLAYED = (
    "Exploratory. Each draw's 32 labels teach every method, which picks four of the other 224 "
    "uniform members: the mean of the four, behind the teacher in percent, lower is better. "
    "Intervals are Student's 95 % over the eight draws; all of them pick from one table, so that "
    "they are too narrow for another. Rules without labels have none: draws only change what they "
    "may pick. A pick has to have been measured: what a method would build elsewhere is unseen."
)
ROUNDING = 1e-9
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
        """What may be said; marked where other scenes could turn it."""
        if np.isnan(self.mean):
            return "not measured"
        words = []
        if self.high < 0:
            words.append("better")
        if self.low > 0:
            words.append("worse")
        turns = bool(words) and abs(self.mean) < SCENE_ERRORS * self.scenes
        if self.low >= -MARGIN and self.high <= MARGIN:
            words.append("as good as")
        return (", ".join(words) or "undecided") + (" *" if turns else "")


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=Path, default=TABLES)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true", help="without gates and replays")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    if asked.tables != TABLES and not asked.quick:
        parser.error("replays are of the committed tables; give --quick with other --tables")
    there = [name for name in COMPARED if (asked.tables / f"{name}-chosen.jsonl").is_file()]
    found = [read_results(WORLDS[name], asked.tables) for name in there]
    title = TITLE.format(quick=" --quick" if asked.quick else "")
    parts = [title, "## Primary endpoint", PRIMARY, *map(describe_primary, found)]
    parts += [f"**{name}**: no designs were chosen yet" for name in COMPARED if name not in there]
    parts += ["## The poster's table", POSTER, poster_table(found, BUDGET, SHARE)]
    parts += ["## Other columns", COLUMNS, *map(describe_columns, found)]
    print("\n\n".join(parts), flush=True)
    if not asked.quick:
        more = ["## Which worlds pass the gate", GATE, describe_gates(COMPARED)]
        replayed = replay_worlds(COMPARED, asked.processes)
        more += ["## Other budgets, by replay", REPLAYED, describe_replays(replayed)]
        more += list(filter(None, [say_missing(COMPARED, replayed)]))
        print("\n" + "\n\n".join(more))
        parts += more
    if asked.out:
        write_atomic(asked.out, "\n\n".join(parts) + "\n")


def describe_gates(names: Sequence[str]) -> str:
    """By world and budget whether it deserves a search."""
    with TemporaryDirectory() as folder:
        gates = [measure_gate(WORLDS[name], Path(folder)) for name in names]
    head = ["", *names]
    rows = [[budget, *(gate.word(budget) for gate in gates)] for budget in BUDGETS]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


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
    left: Floats = np.mean([(a - b) / whole for a, b in parts], axis=0)  # type: ignore[operator]
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
    return "\n".join([head, "|---|---|---|---|---|", *map(_verdict_row, verdicts)])


def _verdict_row(one: Verdict) -> str:
    if np.isnan(one.mean):
        return f"| {one.rival} | | | | {one.word} |"
    span = f"{one.mean:+.2%} | [{one.low:+.2%}, {one.high:+.2%}] | {one.scenes:.2%}"
    return f"| {one.rival} | {span} | {one.word} |"


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
            # What is zero but for rounding is told as zero.
            rows.append([method, *(f"{0.0 if abs(m) < ROUNDING else m:.4g}" for m in means)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()
