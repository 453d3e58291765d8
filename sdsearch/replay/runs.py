"""Many resamplings of a replay, side by side on the CPU's cores, and their summary."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from sdsearch.files import as_text
from sdsearch.harness import safe_paths
from sdsearch.model import FrozenModel
from sdsearch.replay.methods import METHODS
from sdsearch.replay.replay import BUILT, Trial, find_method, replay_once
from sdsearch.stats import bootstrap_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sdsearch.replay.replay import Floats, Pool
    from sdsearch.stats import Interval

MEASURES = ("srcc", "ndcg", "mean", "best", "regret", "needed")
_BOOTSTRAPS = 2000


class Spread(FrozenModel):
    """A median over resamplings with the 95 % bootstrap interval of that median."""

    median: float
    low: float
    high: float


class MethodSummary(FrozenModel):
    """One method under one budget; see `replay.Trial` for the measures.

    `behind` is the method's mean of four minus the first method's, paired over resamplings: the
    mean difference and its 95 % bootstrap interval, positive where the first method is better.
    """

    method: str
    budget: float | None
    srcc: Spread
    ndcg: Spread
    mean: Spread
    best: Spread
    regret: Spread
    needed: Spread
    behind: tuple[float, float, float]


class ReplaySummary(FrozenModel):
    """What `sdsearch bench` found, as it is written to JSON."""

    schema_version: Literal[1] = Field(1, alias="schema")
    space: str
    column: str
    architectures: int
    within: dict[str, int]
    labels: int
    resamplings: int
    seed: int
    rows: tuple[MethodSummary, ...]


def run_replay(
    pool: Pool,
    methods: Sequence[str],
    budgets: Sequence[float | None],
    labels: int,
    resamplings: int,
    seed: int,
    *,
    processes: int = 2,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Trial]:
    """All trials, in order; the values do not depend on the number of processes."""
    for name in methods:
        find_method(name, METHODS)  # a typing error shows before the work
    work = partial(_resampling, pool, tuple(methods), tuple(budgets), labels, seed)
    trials: list[Trial] = []
    # Spawned: a forked process would inherit torch's threads in whatever state they are.
    context = multiprocessing.get_context("spawn")
    with safe_paths(), ProcessPoolExecutor(processes, context) as workers:
        for done, found in enumerate(workers.map(work, range(resamplings)), start=1):
            trials += found
            progress(done)
    return trials


def _resampling(
    pool: Pool,
    methods: Sequence[str],
    budgets: Sequence[float | None],
    labels: int,
    seed: int,
    number: int,
) -> list[Trial]:
    import torch

    torch.set_num_threads(1)  # the cores are shared by processes
    found = {name: find_method(name, METHODS) for name in methods}
    return list(replay_once(pool, found, budgets, labels, (seed, number)))


def summarize_trials(trials: Sequence[Trial], pool: Pool, labels: int, seed: int) -> ReplaySummary:
    """Medians with intervals for each method and budget, in the order of the trials.

    `seed` is that of the trials; every interval draws the same resamples by it.
    """
    groups: dict[tuple[str, float | None], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.method, trial.budget), []).append(trial)
    first = trials[0].method
    count = len({trial.resampling for trial in trials})
    rows = []
    for (method, budget), group in groups.items():
        columns = {name: np.array([getattr(t, name) for t in group]) for name in MEASURES}
        ahead = np.array([t.mean for t in groups[first, budget]])
        gap = columns["mean"] - ahead
        rows.append(
            MethodSummary(
                method=method,
                budget=budget,
                behind=(float(gap.mean()), *_interval(gap, np.mean, seed)),
                **{name: _spread(values, seed) for name, values in columns.items()},
            )
        )
    budgets = dict.fromkeys(budget for _, budget in groups)
    return ReplaySummary(
        space=pool.space.name,
        column=pool.column,
        architectures=len(pool.y),
        within={say_budget(budget): int(pool.allowed(budget).sum()) for budget in budgets},
        labels=labels,
        resamplings=count,
        seed=seed,
        rows=tuple(rows),
    )


def say_budget(budget: float | None) -> str:
    """A budget in words."""
    return "no budget" if budget is None else f"<= {budget:.0%} of the parameters"


def _spread(values: Floats, seed: int) -> Spread:
    low, high = _interval(values, np.median, seed)
    return Spread(median=float(np.median(values)), low=low, high=high)


def _interval(values: Floats, statistic: Callable[..., float | Floats], seed: int) -> Interval:
    rng = np.random.default_rng(seed)  # the same draws for all: differences between rows are theirs
    return bootstrap_interval(statistic, (values,), rng, resamples=_BOOTSTRAPS)


def describe_summary(summary: ReplaySummary) -> str:
    """The summary as Markdown: one table a budget, and how to read it."""
    parts = [
        f"{summary.resamplings} resamplings (seed {summary.seed}): {summary.labels} random labels "
        f"of {summary.architectures} architectures of `{summary.space}`, {BUILT} picked among the "
        f"others. Medians with 95 % bootstrap intervals; {summary.column}, lower is better. "
        f"*behind* is the mean of four minus that of {summary.rows[0].method}, paired over "
        "resamplings. *needed* counts labels until one of the best 1 % is found."
    ]
    for budget in dict.fromkeys(row.budget for row in summary.rows):
        within = summary.within[say_budget(budget)]
        parts.append(
            f"**{say_budget(budget)}** ({within} architectures)\n\n"
            "| method | SRCC | NDCG@4 | mean of 4 | best of 4 | regret | needed | behind |\n"
            "|---|---|---|---|---|---|---|---|\n"
            + "\n".join(
                f"| {as_text(row.method)} | {_cell(row.srcc, 2)} | {_cell(row.ndcg, 2)} "
                f"| {_cell(row.mean, 1)} | {_cell(row.best, 1)} | {_cell(row.regret, 1)} "
                f"| {_cell(row.needed, 0)} "
                f"| {row.behind[0]:+.1f} [{row.behind[1]:+.1f}, {row.behind[2]:+.1f}] |"
                for row in summary.rows
                if row.budget == budget
            )
        )
    return "\n\n".join(parts) + "\n"


def _cell(spread: Spread, digits: int) -> str:
    return f"{spread.median:.{digits}f} [{spread.low:.{digits}f}, {spread.high:.{digits}f}]"
