"""Are effects that ridge tells from zero true ones? Twelve planted truths, without a harness.

    python -m benchmarks.told_signs

Each truth is an additive effect of every block and ten interactions; labels of uniform members of
the tiny space carry 3 % noise. An effect is told from zero where it is larger than two of its
spreads, which are those of fits to resampled labels. The planted probe knows nothing of the truth.
"""

from __future__ import annotations

from dataclasses import replace
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
from tests.planted import PlantedTruth, planted_probe

if TYPE_CHECKING:
    from sdsearch.design import PredictorKind, Scores

TRUTHS = 12
KINDS: tuple[PredictorKind, ...] = ("ridge", "ridge-probe")


def score_truth(kind: PredictorKind, labels: int, seed: int) -> tuple[Scores, dict[str, float]]:
    """The scores of a fit to so many labels of a planted truth, and each block's true effect."""
    space, rng = search_space("tiny"), np.random.default_rng(seed)
    truth, archs = PlantedTruth.draw(rng), space.sample(labels, rng)
    probe = planted_probe(space, seed)
    learner = LinearLearner.of(kind, space, archs, truth.labels(archs, rng), (), probe)
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
    print("| predictor | labels | told | right | not told | right | true effect within 2 spreads |")
    print("|---|---|---|---|---|---|---|")
    for kind in KINDS:
        for labels in (16, 32, 68):
            rows = []
            for seed in range(TRUTHS):
                scores, true = score_truth(kind, labels, seed)
                for block in scores.blocks:
                    error = abs(block.effect - true[block.name])
                    right = (block.effect > 0) == (true[block.name] > 0)
                    rows.append((not block.unclear, right, error < 2 * block.spread))
            told, right, near = np.array(rows).T
            print(
                f"| {kind} | {labels} | {told.sum()} | {(told & right).sum()} | {(~told).sum()} | "
                f"{(~told & right).sum()} | {near.mean():.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
