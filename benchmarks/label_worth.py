"""Is what half of the labels loses by the present prediction what it loses in truth?

    python -m benchmarks.label_worth > benchmarks/label_worth.txt      # some minutes on one core

`sdsearch fit` says how much worse the designs are that half of the labels would have found, judged
by the fit on all of them. Here the measured values judge them too: in each draw 16, 32 or 64
members of a table are labelled, the four that `ridge-probe` puts first among the other members
within 60 % of the teacher's multiply-accumulates are its designs, and ten halves are fitted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.probe_sampling import BUDGET, read_pools
from sdsearch.design import halve_labels
from sdsearch.ranker import LinearLearner
from sdsearch.replay import BUILT, Pool
from sdsearch.stats import mean_and_se

if TYPE_CHECKING:
    from sdsearch.replay.pool import Floats, Rows

SIZES, DRAWS, HALVES = (16, 32, 64), 20, 10


def weigh(pool: Pool, labelled: Rows, seed: int) -> tuple[float, float]:
    """The loss of the designs of halves: by the present prediction, and by the measured values."""
    space = pool.space
    archs = [pool.architectures[row] for row in labelled]
    learner = LinearLearner.of(
        "ridge-probe", space, archs, pool.y[labelled].tolist(), (), pool.probe
    )
    held = np.setdiff1d(np.flatnonzero(pool.allowed(BUDGET)), labelled)
    numbers = np.array([space.index(pool.architectures[row]) for row in held])
    allowed, logs = np.zeros(len(space), np.bool_), np.log(pool.quality[held])
    allowed[numbers] = True
    found: list[float] = []  # of all labels, then of each half

    def learn(rows: Rows) -> tuple[Floats, Floats]:
        guesses, members = learner.learn(rows)
        best = np.argsort(-members[numbers], kind="stable")[:BUILT]
        found.append(float(logs[best].mean()))
        return guesses, members

    rng = np.random.default_rng(seed)
    _, losses = halve_labels(learner.target, learn, allowed, BUILT, rng, HALVES)
    whole, *halves = found
    return float(np.expm1(losses).mean()), float(np.expm1(np.array(halves) - whole).mean())


def main() -> None:
    """Weigh labels of every table at every size, and print both losses."""
    print(f"{DRAWS} draws, {HALVES} halves each; mean ± standard error over draws, which overlap")
    for world, pool in read_pools():
        members = np.flatnonzero(pool.allowed(None))
        print(f"\n{world}: loss of the designs of half of the labels, {BUDGET}")
        for count in SIZES:
            rows = [
                weigh(pool, np.random.default_rng([draw, 3]).choice(members, count, False), draw)
                for draw in range(DRAWS)
            ]
            told, true = (mean_and_se([row[at] for row in rows]) for at in (0, 1))
            said = [f"{100 * mean:5.1f} ± {100 * se:.1f} %" for mean, se in (told, true)]
            print(f"  {count} labels: predicted {said[0]}, measured {said[1]}", flush=True)


if __name__ == "__main__":
    main()
