"""Are effects that ridge tells from zero true ones? Twelve planted truths, without a harness.

    python -m benchmarks.told_signs

Each truth is an additive effect of every block and ten interactions. Labels of uniform members of
`sd14-blocks` carry noise of so many deviations of the truth over them, or are noise alone: then no
effect should be told, and two spreads imply one in twenty. An effect is told from zero where it is
larger than two of its spreads, those of fits to resampled labels. The planted probe knows nothing
of the truth.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from sdsearch.ranker import (
    FeatureLayout,
    FitReport,
    FittedRanker,
    LinearLearner,
    RankerConfig,
    fit_baselines,
    score_space,
    score_units,
)
from sdsearch.space import search_space
from sdsearch.unet import TINY
from tests.planted import PlantedTruth, planted_probe

if TYPE_CHECKING:
    from sdsearch.design import PredictorKind, Scores

TRUTHS = 12
KINDS: tuple[PredictorKind, ...] = ("ridge", "ridge-probe")
LABELS = (16, 32, 68)
NOISES = (0.1, 0.5, 1.0, np.inf)


def score_truth(
    kind: PredictorKind, labels: int, seed: int, noise: float = 0.1
) -> tuple[Scores, dict[str, float]]:
    """The scores of a fit to so many labels of a planted truth, and each block's true effect.

    `noise` is in deviations of the truth over the labels; infinite, they are noise alone.
    """
    space, rng = search_space("sd14-blocks", TINY), np.random.default_rng(seed)
    truth, archs = PlantedTruth.draw(rng), space.sample(labels, rng)
    quality = -np.log(truth.fid(archs)) if np.isfinite(noise) else np.zeros(labels)
    scale = noise * quality.std() if np.isfinite(noise) else 1.0
    y = quality + scale * rng.normal(size=labels)
    probe = planted_probe(space, seed)
    learner = LinearLearner.of(kind, space, archs, y.tolist(), (), probe)
    fit = learner.target, learner.weight, 0, learner.logs
    report = FitReport(
        labels=labels,
        failed=0,
        kind=kind,
        reason="",
        predictors={},
        hops=(),
        members=0,
        seconds=0.0,
    )
    errors = None if learner.logs is None else probe.option_errors(space)
    fitted = FittedRanker(
        RankerConfig(),
        FeatureLayout.for_space(space),
        report,
        {},
        fit_baselines(learner.kept, *fit),
        errors,
    )
    scored = score_space(fitted, space)
    marginals = tuple(truth.marginals(space, axis, rng)[:, None] for axis in range(4))
    true = score_units(fitted, space, replace(scored, marginals=marginals))
    return score_units(fitted, space, scored), {block.name: block.effect for block in true.blocks}


def main() -> None:
    """Print a row for each predictor and number of labels."""
    print("| predictor | labels | noise | told | of them right | others right | within 2 spreads |")
    print("|---|---|---|---|---|---|---|")
    for kind, labels, noise in product(KINDS, LABELS, NOISES):
        rows = []
        for seed in range(TRUTHS):
            scores, true = score_truth(kind, labels, seed, noise)
            for block in scores.blocks:
                error = abs(block.effect - true[block.name])
                right = (block.effect > 0) == (true[block.name] > 0)
                rows.append((not block.unclear, right, error <= 2 * block.spread))
        told, right, near = np.array(rows).T
        shares = ["", "", ""]
        if np.isfinite(noise):
            shares = [f"{one.mean():.0%}" for one in (right[told], right[~told], near)]
        what = f"{noise:g}" if np.isfinite(noise) else "alone"
        line = [kind, str(labels), what, f"{told.sum()} of {len(told)}", *shares]
        print(f"| {' | '.join(line)} |", flush=True)


if __name__ == "__main__":
    main()
