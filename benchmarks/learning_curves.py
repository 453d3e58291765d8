"""What methods find on the world of the embedded teacher with 0, 8, 16, 32 and 68 labels.

    python -m benchmarks.learning_curves        # 3 minutes on 2 cores; killed, it goes on

Labels are drawn from the 256 uniform members of `fill-16` (docs/worlds.md); draws of a size may
overlap, and the table says how much. All other measured members but the teacher are held out:
methods order them, and the four that each puts first under a budget are looked up.
learning_curves.jsonl gets a line for each draw, learning_curves.md the table.
"""

from __future__ import annotations

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sdsearch.files import write_atomic
from sdsearch.harness import safe_paths
from sdsearch.labels import Target
from sdsearch.model import FrozenModel
from sdsearch.replay import (
    BUILT,
    METHODS,
    WORLDS,
    BudgetShare,
    Pool,
    fit_members,
    make_task,
    mean_overlap,
    pick_best,
    read_pool,
    read_world,
)
from sdsearch.stats import mean_and_se, spearman
from sdsearch.unet import UNPRUNED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdsearch.design import PredictorKind
    from sdsearch.replay.replay import ReplayTask

Floats = npt.NDArray[np.float64]
OUT = Path(__file__).with_suffix(".jsonl")
COLUMN, TARGET = "fd_efflite0", Target("-log(fd_efflite0)")
SIZES, DRAWS, STEPS = (0, 8, 16, 32, 68), 8, 200
WITHOUT_LABELS = ("one-shot", "most-macs", "most-params")
WITH_LABELS = ("one-shot", "ridge", "ridge-probe")
NETS: tuple[PredictorKind, ...] = ("gnn", "gnn-probe")
METHODS_IN_ORDER = dict.fromkeys((*WITHOUT_LABELS, *WITH_LABELS, *NETS))
NEAR = 1.1
"""A member is near the teacher where its distance is at most so many times the teacher's."""
BUDGETS = (
    *(BudgetShare("params", share) for share in (0.6, 0.45)),
    *(BudgetShare("macs", share) for share in (0.7, 0.6)),
)


class Line(FrozenModel):
    """One draw of labels: what each method reaches in each measure."""

    labels: int
    draw: int
    seed: int
    steps: int
    found: dict[str, dict[str, float]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the draws that are missing, then write and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--steps", type=int, default=STEPS, help="of the nets' training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args(arguments)
    pool = read_tiny()
    done = {(line.labels, line.draw): line for line in read_lines(asked.out)}
    if any((line.seed, line.steps) != (asked.seed, asked.steps) for line in done.values()):
        parser.error(f"{asked.out} is of another seed or other steps; move it away, or ask for its")
    wanted = [
        (labels, draw)
        for labels in asked.sizes
        for draw in range(count_draws(pool, labels, asked.draws))
    ]
    missing = [one for one in wanted if one not in done]
    for line in measure_all(pool, missing, asked.seed, asked.steps, asked.processes):
        with asked.out.open("a", encoding="utf-8") as file:
            file.write(line.model_dump_json() + "\n")
        done[line.labels, line.draw] = line
        print(f"{line.labels} labels, draw {line.draw}", flush=True)
    text = describe([done[one] for one in wanted], pool)
    write_atomic(asked.out.with_suffix(".md"), text)
    print(text)


def read_tiny() -> Pool:
    """The embedded teacher's world, with its probe."""
    world = read_world(WORLDS[0])
    return read_pool(world.labels, world.space, TARGET, COLUMN, probe=world.probe)


def read_lines(file: Path) -> list[Line]:
    """The lines of before; one that was cut off while it was written is taken out of the file."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.is_file() else []
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < len(lines):
        write_atomic(file, "".join(whole))
    return [Line.model_validate_json(line) for line in whole]


def count_draws(pool: Pool, labels: int, draws: int) -> int:
    """How often labels are drawn: once where there is one way to draw them."""
    return draws if 0 < labels < pool.drawn.sum() else 1


def measure_all(
    pool: Pool, wanted: Sequence[tuple[int, int]], seed: int, steps: int, processes: int
) -> Iterator[Line]:
    """The lines of (labels, draw), in order."""
    work = partial(measure_draw, pool, seed=seed, steps=steps)
    # Spawned: a forked process would inherit torch's threads in whatever state they are.
    context = multiprocessing.get_context("spawn")
    with safe_paths(), ProcessPoolExecutor(processes, context) as workers:
        yield from workers.map(work, wanted)


def measure_draw(pool: Pool, which: tuple[int, int], seed: int, steps: int) -> Line:
    """What every method makes of draw `which[1]` of `which[0]` labels."""
    import torch

    torch.set_num_threads(1)  # the cores are shared by processes
    labels, draw = which
    labelled = pool.draw(labels, (seed, draw))
    held = pool.others(labelled)
    values = predict_held(make_task(pool, labelled, held), steps)
    found = {name: rate(pool, held, value) for name, value in values.items()}
    return Line(labels=labels, draw=draw, seed=seed, steps=steps, found=found)


def predict_held(task: ReplayTask, steps: int) -> dict[str, Floats]:
    """By method how good it takes the held-out members to be, (M,), higher is better."""
    learns, rng = len(task.y) > 0, np.random.default_rng(0)  # none of these methods draws
    found = {
        name: METHODS[name].rank(task, rng) for name in (WITH_LABELS if learns else WITHOUT_LABELS)
    }
    for kind in NETS if learns else ():
        fitted = fit_members(task, kind, steps)
        found[kind] = fitted.predict(task.candidates, task.space).mean(1)
    return found


def member_sets(pool: Pool) -> dict[str, npt.NDArray[np.bool_]]:
    """(P,) each: the fixed sets in which orders are compared, by true distance; no teacher."""
    others = pool.allowed(None)
    return {
        "all": others,
        "best quarter": others & (pool.quality <= np.quantile(pool.quality[others], 0.25)),
        "within 10 % of the teacher": others & (pool.quality <= NEAR * teacher_quality(pool)),
    }


def teacher_quality(pool: Pool) -> float:
    """The teacher's own distance."""
    (at,) = (number for number, arch in enumerate(pool.architectures) if arch == UNPRUNED)
    return float(pool.quality[at])


def rate(pool: Pool, held: npt.NDArray[np.int64], values: Floats) -> dict[str, float]:
    """SRCC in each set, and the mean distance of the best picks under each budget."""
    orders = {
        f"SRCC, {name}": spearman(pool.y[held][members[held]], values[members[held]])
        for name, members in member_sets(pool).items()
    }
    picks = {
        str(budget): float(pool.quality[pick_best(pool, held, values, budget)[:BUILT]].mean())
        for budget in BUDGETS
    }
    return {**orders, **picks}


def describe(lines: Sequence[Line], pool: Pool) -> str:
    """The lines as Markdown: a table for each measure, methods down and labels across."""
    sizes = sorted({line.labels for line in lines})
    measures = dict.fromkeys(name for row in lines[0].found.values() for name in row)
    parts = [f"# Learning curves (tiny model)\n\n{_introduce(lines, sizes, pool)}"]
    for measure in measures:
        title = measure if measure.startswith("SRCC") else f"mean of {BUILT}, {measure}"
        cells = [
            ["method", *(f"{size} labels" for size in sizes)],
            ["---"] * (1 + len(sizes)),
            *(
                [name, *(_cell(lines, n, name, measure) for n in sizes)]
                for name in METHODS_IN_ORDER
            ),
        ]
        parts.append(f"**{title}**\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in cells))
    return "\n\n".join(parts) + "\n"


def _introduce(lines: Sequence[Line], sizes: Sequence[int], pool: Pool) -> str:
    """How to read the tables: the draws and what they have in common, the sets and budgets."""
    drawn = {size: [line.draw for line in lines if line.labels == size] for size in sizes}
    overlaps = [
        f"of {len(draws)} draws of {size} labels, two share "
        f"{mean_overlap([pool.draw(size, (lines[0].seed, draw)) for draw in draws]):.0%} on average"
        for size, draws in drawn.items()
        if len(draws) > 1
    ]
    sets = ", ".join(f"{name} ({m.sum()})" for name, m in member_sets(pool).items())
    return (
        "Made by `python -m benchmarks.learning_curves`. Labels are drawn from "
        f"{int(pool.drawn.sum())} architectures ({pool.source}). Cells are means ± standard errors "
        f"over draws, which overlap ({'; '.join(overlaps) or 'there is one a size'}), so that the "
        "errors are too small for draws from the whole space. Nets are trained for "
        f"{lines[0].steps} steps. Sets, by true {pool.column}, labels left out: {sets}. Picks are "
        f"among the held-out members; the teacher, which has {teacher_quality(pool):.1f}, is none."
    )


def _cell(lines: Sequence[Line], size: int, method: str, measure: str) -> str:
    found = [
        line.found[method][measure]
        for line in lines
        if line.labels == size and method in line.found
    ]
    if not found:
        return ""
    digits = 3 if measure.startswith("SRCC") else 1
    mean, se = mean_and_se(found)
    return f"{mean:.{digits}f}" + (f" ± {se:.{digits}f}" if len(found) > 1 else "")


if __name__ == "__main__":
    main()
