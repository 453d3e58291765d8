"""Optuna's samplers on the tabular benchmark: how soon does each find a good member?

    python -m benchmarks.optuna_samplers [WORLD] [--out FILE]      # minutes on 2 cores

An example of how any searcher that asks and is told can run on measured members. A sampler proposes
which blocks are kept; the nearest member of the world that was drawn uniformly, fits the budget and
was not told yet is told to it, with the value that was measured. Beside them stand a random order
of the members, and one that needs no measurement at all: the one-shot error of the probe.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import optuna

from sdsearch.errors import InputError
from sdsearch.files import write_atomic
from sdsearch.labels import Target
from sdsearch.ranker import errors_of
from sdsearch.replay import WORLDS, BudgetShare, draw_of_members, read_pool, read_world
from sdsearch.replay.replay import slots_kept
from sdsearch.stats import mean_and_se

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from optuna.samplers import BaseSampler

    from sdsearch.replay import Pool, World

    Floats = NDArray[np.float64]

BUDGET, TOLD, SHOWN, RUNS = BudgetShare("macs", 0.6), 32, (4, 8, 16, 32), 20
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "RandomSampler": lambda seed: optuna.samplers.RandomSampler(seed),
    "TPESampler": lambda seed: optuna.samplers.TPESampler(
        n_startup_trials=8, multivariate=True, seed=seed
    ),
    "GPSampler": lambda seed: optuna.samplers.GPSampler(n_startup_trials=8, seed=seed),
}


def main() -> None:
    """Print how far the best that was told is behind the best that could have been."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("world", nargs="?", choices=WORLDS, default="words-16")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    text = describe(read_world(asked.world), asked.runs)
    if asked.out:
        write_atomic(asked.out, text)
    print(text)


def describe(world: World, runs: int) -> str:
    """A row for each sampler: the regret after some trials, a mean over runs."""
    pool = read_pool(
        world.labels, world.space, Target("-log(fd_efflite0)"), world.column, probe=world.probe
    )
    members = draw_of_members(world.space)
    uniform = np.array([arch.key in members for arch in pool.architectures])
    rows = uniform & pool.allowed(BUDGET)
    if uniform.sum() < len(members) or rows.sum() < TOLD:
        raise InputError(
            f"samplers need all {len(members)} uniform members measured and {TOLD} of them within "
            f"the budget, but {world.name} has {uniform.sum()} and {rows.sum()}; take another world"
        )
    kept, values = kept_slots(pool)[rows], pool.quality[rows]
    best = float(values.min())
    lines = [
        f"`{world.name}`: {world.column}, lower is better; {len(values)} of the uniform members "
        f"are {BUDGET}, the best of them has {best:.4g}. How far the best that was told is behind "
        f"it, in percent: mean ± standard error over {runs} seeds.",
        "",
        "| sampler | " + " | ".join(f"{count} told" for count in SHOWN) + " |",
        "|---|" + "---|" * len(SHOWN),
    ]
    rng = np.random.default_rng(0)
    runs_of = {
        "members in random order": [rng.permutation(values) for _ in range(runs)],
        **{
            name: [search(make(seed), kept, values) for seed in range(runs)]
            for name, make in SAMPLERS.items()
        },
    }
    for name, found in runs_of.items():
        cells = []
        for count in SHOWN:
            mean, se = mean_and_se([100 * (told[:count].min() / best - 1) for told in found])
            cells.append(f"{mean:.1f} ± {se:.1f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if world.probe is not None:
        archs = [arch for arch, row in zip(pool.architectures, rows, strict=True) if row]
        errors = errors_of(archs, world.space, world.probe.option_errors(world.space))
        told = values[np.argsort(errors)]
        cells = [f"{100 * (told[:count].min() / best - 1):.1f}" for count in SHOWN]
        lines.append(f"| in the order of the probe, no sampler | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def kept_slots(pool: Pool) -> Floats:
    """(P, slots) which blocks each member keeps, 0 or 1, of those in which members differ."""
    kept = slots_kept(pool.architectures)
    return kept[:, kept.std(0) > 0]


def search(sampler: BaseSampler, kept: Floats, values: Floats) -> Floats:
    """(TOLD,) the values that a sampler was told, in order."""
    study = optuna.create_study(direction="minimize", sampler=sampler)
    flag = optuna.distributions.CategoricalDistribution((0, 1))
    space = {f"block {at}": flag for at in range(kept.shape[1])}
    free, told = np.ones(len(values), dtype=bool), []
    for _ in range(min(TOLD, len(values))):
        trial = study.ask(space)
        proposed = np.array([trial.params[name] for name in space])
        # It is a table: the nearest member that was measured is told in the place of the proposal.
        distance = np.where(free, np.abs(kept - proposed).sum(1), np.inf)
        at = int(np.argmin(distance))
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        params = dict(zip(space, map(int, kept[at]), strict=True))
        study.add_trial(
            optuna.trial.create_trial(
                params=params, distributions=dict(space), value=float(values[at])
            )
        )
        free[at] = False
        told.append(values[at])
    return np.array(told)


if __name__ == "__main__":
    main()
