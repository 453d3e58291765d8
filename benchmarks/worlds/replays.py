"""Exploratory: every method under other budgets, by replay on the measured members of a world.

Each of the eight disjoint draws of 32 labels teaches every method; what it ranks first among the
other uniform members within a budget is looked up. So a method can only pick what was measured, 224
members of 704,000; what it would build elsewhere is not seen. Nothing is measured.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student

from sdsearch.harness import safe_paths
from sdsearch.labels import Target
from sdsearch.replay import (
    BUILT,
    METHODS,
    BudgetShare,
    draw_of_members,
    make_task,
    pick_best,
    read_pool,
    read_world,
)
from sdsearch.unet import UNPRUNED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sdsearch.replay import Pool

    Floats = NDArray[np.float64]
    Picks = dict[tuple[str, BudgetShare], Floats]

BUDGETS = (
    *(BudgetShare("macs", share) for share in (0.7, 0.6, 0.5)),
    BudgetShare("params", 0.6),
)
NAMES = {
    "autobuild-probe": "autobuild",
    "autobuild": "autobuild, without the probe",
    "autobuild-paper": "the published method, five nets",
    "autobuild-paper-one": "the published method, one net",
    "exhaustive-probe": "exhaustive, with the probe",
    "exhaustive": "exhaustive",
    "ridge": "ridge",
    "ridge-probe": "ridge-probe",
    "one-shot": "one-shot",
    "most-macs": "most-macs",
    "most-params": "most-params",
    "random": "random",
}
"""What is replayed, and what the comparison calls it: its `autobuild` knows the probe."""
TARGET = Target("-log(fd_efflite0)")
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Replayed:
    """What the four picks of each method are worth in a world.

    Attributes:
        column: what they are told in, lower is better.
        teacher: the teacher's own value of it.
        picks: by method and budget, (draws,) means of the four picks.
        least: by budget the best of all uniform members, labelled ones among them.
    """

    world: str
    column: str
    teacher: float
    picks: Picks
    least: dict[BudgetShare, float]


def replay_worlds(names: Sequence[str], processes: int = 2) -> list[Replayed]:
    """All methods on all worlds; values do not depend on the number of processes."""
    jobs = [(name, draw) for name in names for draw in range(count_draws(name))]
    context = multiprocessing.get_context("spawn")
    with safe_paths(), ProcessPoolExecutor(processes, context) as workers:
        parts = list(workers.map(_replay_draw, jobs))
    found = []
    for name in names:
        own = [part for job, part in zip(jobs, parts, strict=True) if job[0] == name]
        if not own:
            continue
        pool = pool_of_members(name)
        teacher = pool.quality[_position(pool, UNPRUNED.key)]
        least = {one: float(pool.quality[pool.allowed(one)].min()) for one in BUDGETS}
        picks = {key: np.array([part[key] for part in own]) for key in own[0]}
        found.append(Replayed(name, pool.column, float(teacher), picks, least))
    return found


def count_draws(name: str) -> int:
    """How many draws of labels a world has: none while any uniform member is not measured."""
    draws = draw_of_members(read_world(name).space)
    measured = {arch.key for arch in pool_of_members(name).architectures}
    return max(draws.values()) + 1 if draws.keys() <= measured else 0


def pool_of_members(name: str) -> Pool:
    """The uniform members of a world, and its teacher, which nobody may pick."""
    world = read_world(name)
    keys = draw_of_members(world.space).keys() | {UNPRUNED.key}
    labels = [label for label in world.labels if label.arch_key in keys]
    return read_pool(labels, world.space, TARGET, world.column, probe=world.probe)


def _replay_draw(job: tuple[str, int]) -> dict[tuple[str, BudgetShare], float]:
    import torch

    torch.set_num_threads(1)  # the cores are shared by processes
    name, draw = job
    pool = pool_of_members(name)
    draws = draw_of_members(pool.space)
    rows = [at for at, arch in enumerate(pool.architectures) if draws.get(arch.key) == draw]
    labelled = np.array(rows, dtype=np.int64)
    rest = pool.others(labelled)
    task = make_task(pool, labelled, rest)
    found = {}
    for method in NAMES:
        values = METHODS[method].rank(task, np.random.default_rng([draw, *method.encode()]))
        assert np.isfinite(values).all(), f"{method} must rank all candidates"
        for budget in BUDGETS:
            picked = pick_best(pool, rest, np.asarray(values, dtype=np.float64), budget)[:BUILT]
            found[method, budget] = float(pool.quality[picked].mean())
    return found


def describe_replays(found: Sequence[Replayed]) -> str:
    """A table a budget: methods down, worlds across, each behind the teacher in percent."""
    return "\n\n".join(map(partial(_describe_budget, found), BUDGETS))


def say_missing(names: Sequence[str], found: Sequence[Replayed]) -> str:
    """Which worlds are left out."""
    left = [name for name in names if name not in {one.world for one in found}]
    return f"Not all uniform members are measured: {', '.join(left)}." if left else ""


def _describe_budget(found: Sequence[Replayed], budget: BudgetShare) -> str:
    head = [str(budget), *(f"{one.world} ({one.column})" for one in found)]
    rows = [head, ["---"] * len(head)]
    rows += [[said, *(_cell(one, name, budget) for one in found)] for name, said in NAMES.items()]
    best = [f"{one.least[budget] / one.teacher - 1:+.1%}" for one in found]
    rows.append(["the best member that was measured", *best])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(one: Replayed, name: str, budget: BudgetShare) -> str:
    """The mean over draws, of the teacher's value, with Student's interval where labels count."""
    values = one.picks[name, budget] / one.teacher - 1
    if not METHODS[name].learns and name != "random":
        return f"{values.mean():+.1%}"
    reach = student.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1)
    half = float(reach / np.sqrt(len(values)))
    mean = float(values.mean())
    return f"{mean:+.1%} [{mean - half:+.1%}, {mean + half:+.1%}]"


def _position(pool: Pool, key: str) -> int:
    return next(at for at, arch in enumerate(pool.architectures) if arch.key == key)
