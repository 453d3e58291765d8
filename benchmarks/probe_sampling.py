"""Do labels near the front, picked by a probe, order members there better than uniform ones?

    python -m benchmarks.probe_sampling > benchmarks/probe_sampling.txt      # a minute on one core

A replay on labels that are there. In each draw half of a table's members may be labelled and the
other half is held out; of the first half 8 or 16 are taken by each rule; `ridge-probe` learns
from them, and orders the held-out members within 60 % of the teacher's multiply-accumulates; the
last row is the probe's own order. The rule of `[space] strategy = "probe"` is restricted to what
the table holds, some dozens of members within the budget: of a whole space it would find members
much nearer to the front.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdsearch.design import draw_near_front, excess_errors
from sdsearch.labels import Target
from sdsearch.replay import (
    BUILT,
    METHODS,
    WORLDS,
    BudgetShare,
    Pool,
    make_task,
    pick_best,
    read_pool,
    read_world,
)
from sdsearch.replay import UNIFORM as MEMBERS
from sdsearch.stats import mean_and_se, spearman

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdsearch.replay.pool import Floats, Rows

BUDGET = BudgetShare("macs", 0.6)
SIZES, DRAWS = (8, 16), 20  # half of a table has some thirty members within the budget
WEIGHTS = (1.0, 2.0, 3.0)
UNIFORM, NONE = "uniform", "one-shot, no labels"
MEASURES = ("SRCC, within budget", "SRCC, best quarter of these", "mean of 4, lower is better")


def read_pools() -> Iterator[tuple[str, Pool]]:
    """The worlds whose uniform members are all measured, each in the column it is compared in."""
    for name in WORLDS:
        world = read_world(name)
        target = Target(f"-log({world.column})")
        pool = read_pool(world.labels, world.space, target, world.column, probe=world.probe)
        if pool.drawn.sum() == MEMBERS:
            yield name, pool


def make_rules(pool: Pool) -> dict[str, Callable[[Rows, int, np.random.Generator], Rows]]:
    """How labels are chosen: rows that may be labelled, how many, and a generator to rows."""
    assert pool.probe is not None
    errors, allowed = pool.probe.option_errors(pool.space), pool.allowed(BUDGET)
    merit = excess_errors(errors)
    number = np.array([pool.space.index(arch) for arch in pool.architectures])

    def near_front(weight: float, free: Rows, count: int, rng: np.random.Generator) -> Rows:
        within = free[allowed[free]]
        found = draw_near_front(
            pool.space, errors, merit, number[within], count, rng, weight=weight
        )
        return within[[int(np.flatnonzero(number[within] == one)[0]) for one in found]]

    return {
        UNIFORM: lambda free, count, rng: rng.choice(free, count, replace=False),
        "uniform within budget": lambda free, count, rng: rng.choice(
            free[allowed[free]], count, replace=False
        ),
        **{
            f"probe, weight {weight:g}": lambda free, count, rng, weight=weight: near_front(
                weight, free, count, rng
            )
            for weight in WEIGHTS
        },
    }


def judge(pool: Pool, held: Rows, values: Floats) -> tuple[float, ...]:
    """`MEASURES` of an order of the held-out members; `values` (M,) are of `held`."""
    within = pool.allowed(BUDGET)[held]
    truth, guess = pool.y[held][within], values[within]
    best = truth >= np.quantile(truth, 0.75)
    picks = pick_best(pool, held, values, BUDGET)[:BUILT]
    return (
        spearman(truth, guess),
        spearman(truth[best], guess[best]),
        float(pool.quality[picks].mean()),
    )


def replay(pool: Pool, count: int) -> dict[str, Floats]:
    """By rule (draws, measures)."""
    rules = make_rules(pool)
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in (*rules, NONE)}
    for draw in range(DRAWS):
        members = np.flatnonzero(pool.allowed(None))
        mixed = np.random.default_rng([draw, 0]).permutation(members)
        free, held = np.sort(mixed[: len(mixed) // 2]), np.sort(mixed[len(mixed) // 2 :])
        for name, rule in rules.items():
            labelled = rule(free, count, np.random.default_rng([draw, 1]))
            task = make_task(pool, labelled, held)
            values = METHODS["ridge-probe"].rank(task, np.random.default_rng(0))
            found[name].append(judge(pool, held, values))
        values = METHODS["one-shot"].rank(task, np.random.default_rng(0))
        found[NONE].append(judge(pool, held, values))
    return {name: np.array(rows) for name, rows in found.items()}


def describe(found: dict[str, Floats]) -> Iterator[str]:
    """A line a rule: means and standard errors over draws, and the paired gain over uniform."""
    for name, rows in found.items():
        cells = []
        for measure in range(len(MEASURES)):
            mean, se = mean_and_se(rows[:, measure])
            gain, error = mean_and_se(rows[:, measure] - found[UNIFORM][:, measure])
            digits = 3 if mean < 10 else 1
            cell = f"{mean:.{digits}f} ± {se:.{digits}f}"
            paired = "" if name == UNIFORM else f" ({gain:+.{digits}f} ± {error:.{digits}f})"
            cells.append(f"{cell + paired:<36}")
        yield f"  {name:<24}{''.join(cells)}".rstrip()


def main() -> None:
    """Replay every table at every size, and print what comes of it."""
    print(
        f"{DRAWS} draws; mean ± standard error over draws, in brackets the paired gain over "
        f"{UNIFORM}; draws are of one table each and overlap, so that errors are too small"
    )
    for world, pool in read_pools():
        within = int(pool.allowed(BUDGET).sum())
        print(f"\n{world}: {len(pool.y)} members, {within} {BUDGET} ({pool.column})")
        for count in SIZES:
            print(f" {count} labels{'':<15}" + "".join(f"{name:<36}" for name in MEASURES).rstrip())
            print("\n".join(describe(replay(pool, count))), flush=True)


if __name__ == "__main__":
    main()
