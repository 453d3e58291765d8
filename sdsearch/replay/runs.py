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
from sdsearch.replay.methods import find_methods
from sdsearch.replay.pool import BUILT, BudgetShare, mean_overlap, say_budget
from sdsearch.replay.replay import Trial, replay_once
from sdsearch.stats import bootstrap_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sdsearch.replay.pool import Floats, Pool
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
    budget: BudgetShare | None
    srcc: Spread
    ndcg: Spread
    mean: Spread
    best: Spread
    regret: Spread
    needed: Spread
    behind: tuple[float, float, float]


class ReplaySummary(FrozenModel):
    """What `sdsearch bench` found, as it is written to JSON.

    Attributes:
        architectures: members in the table.
        within: by budget in words, how many may be picked; the teacher may not.
        drawn: members that the labels of methods were drawn from; `source` says which.
        overlap: the mean share of labels that two resamplings have in common.
    """

    schema_version: Literal[2] = Field(2, alias="schema")
    space: str
    column: str
    architectures: int
    within: dict[str, int]
    drawn: int
    source: str
    labels: int
    overlap: float
    resamplings: int
    seed: int
    rows: tuple[MethodSummary, ...]


def run_replay(
    pool: Pool,
    methods: Sequence[str],
    budgets: Sequence[BudgetShare | None],
    labels: int,
    resamplings: int,
    seed: int,
    *,
    processes: int = 2,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Trial]:
    """All trials, in order; the values do not depend on the number of processes."""
    find_methods(methods, pool.probe)  # a typing error shows before the work
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
    budgets: Sequence[BudgetShare | None],
    labels: int,
    seed: int,
    number: int,
) -> list[Trial]:
    import torch

    torch.set_num_threads(1)  # the cores are shared by processes
    found = find_methods(methods, pool.probe)
    return list(replay_once(pool, found, budgets, labels, (seed, number)))


def summarize_trials(trials: Sequence[Trial], pool: Pool, labels: int, seed: int) -> ReplaySummary:
    """Medians with intervals for each method and budget, in the order of the trials.

    `seed` is that of the trials; every interval draws the same resamples by it.
    """
    groups: dict[tuple[str, BudgetShare | None], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.method, trial.budget), []).append(trial)
    first = trials[0].method
    numbers = sorted({trial.resampling for trial in trials})
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
        drawn=int(pool.drawn.sum()),
        source=pool.source,
        labels=labels,
        overlap=mean_overlap([pool.draw(labels, (seed, number)) for number in numbers]),
        resamplings=len(numbers),
        seed=seed,
        rows=tuple(rows),
    )


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
        f"of {summary.drawn} architectures ({summary.source}), {BUILT} picked among the others of "
        f"{summary.architectures} of `{summary.space}`; nobody may pick the teacher. Medians with "
        f"95 % bootstrap intervals over resamplings, two of which share {summary.overlap:.0%} of "
        "their labels on average: intervals are of this table, and too narrow for another. "
        f"{summary.column}, lower is better. *behind* is the mean of four minus that of "
        f"{as_text(summary.rows[0].method)}, paired over resamplings. *needed* counts labels until "
        "one of the best 1 % is found; methods that do not learn need none before."
    ]
    digits = digits_of(summary)
    for budget in dict.fromkeys(row.budget for row in summary.rows):
        within = summary.within[say_budget(budget)]
        parts.append(
            f"**{say_budget(budget)}** ({within} may be picked)\n\n"
            "| method | SRCC | NDCG@4 | mean of 4 | best of 4 | regret | needed | behind |\n"
            "|---|---|---|---|---|---|---|---|\n"
            + "\n".join(
                f"| {as_text(row.method)} | {_cell(row.srcc, 2)} | {_cell(row.ndcg, 2)} "
                f"| {_cell(row.mean, digits)} | {_cell(row.best, digits)} "
                f"| {_cell(row.regret, digits)} | {_cell(row.needed, 0)} "
                f"| {row.behind[0]:+.{digits}f} "
                f"[{row.behind[1]:+.{digits}f}, {row.behind[2]:+.{digits}f}] |"
                for row in summary.rows
                if row.budget == budget
            )
        )
    return "\n\n".join(parts) + "\n"


def digits_of(summary: ReplaySummary) -> int:
    """Decimals that show what the column's values differ in: 1 for distances, 4 for an LPIPS."""
    return 1 if max(abs(row.mean.median) for row in summary.rows) >= 10 else 4


def _cell(spread: Spread, digits: int) -> str:
    return f"{spread.median:.{digits}f} [{spread.low:.{digits}f}, {spread.high:.{digits}f}]"
