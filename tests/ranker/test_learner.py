"""A linear predictor of some labels predicts the space as scoring it does, only sooner."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from benchmarks.told_signs import score_truth
from sdsearch.design import PredictorKind
from sdsearch.errors import InputError
from sdsearch.ranker import FeatureLayout, FitReport, FittedRanker, LinearLearner, score_space
from sdsearch.ranker.validation import fit_baselines
from sdsearch.space import search_space
from tests.planted import SMALL, PlantedTruth, planted_probe

TINY = search_space("tiny")
REPORT = FitReport(
    labels=24,
    failed=1,
    kind="ridge",
    reason="",
    predictors={},
    hops=(),
    members=0,
    seconds=0.0,
)
KINDS = [kind for kind in get_args(PredictorKind) if kind in ("ridge", "ridge-probe", "one-shot")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["sd14-blocks", pytest.param("sd14-wide", marks=pytest.mark.slow)])
def test_it_predicts_every_member_as_scoring_the_space_does(name: str, kind: PredictorKind) -> None:
    space, rng = search_space(name, TINY.backbone), np.random.default_rng(0)
    archs = space.sample(24, rng)
    y: list[float | None] = list(PlantedTruth.draw(rng).labels(archs, rng))
    y[3] = None
    errors = [0.01 * (1 + number % 3) for number in range(24)]
    probe = planted_probe(space)
    learner = LinearLearner.of(kind, space, archs, y, errors, probe)
    guesses, members = learner.learn(np.arange(24))
    made = fit_baselines(learner.kept, learner.target, learner.weight, 0, learner.logs)
    fitted = FittedRanker(
        SMALL,
        FeatureLayout.for_space(space),
        REPORT.model_copy(update={"kind": kind}),
        {},
        {kind: made[kind]} if learner.logs is not None else made,
        probe.option_errors(space) if learner.logs is not None else None,
    )
    whole = score_space(fitted, space).predicted
    np.testing.assert_allclose(members, whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(guesses, members[[space.index(arch) for arch in archs]], atol=1e-9)


def test_rows_that_are_left_out_change_nothing() -> None:
    rng = np.random.default_rng(0)
    archs = TINY.sample(12, rng)
    y = list(PlantedTruth.draw(rng).labels(archs, rng))
    wild = [*y[:6], *(value + 100 for value in y[6:])]
    first, second = (
        LinearLearner.of("ridge", TINY, archs, values).learn(np.arange(6))[1]
        for values in (y, wild)
    )
    np.testing.assert_allclose(first, second)
    assert np.ptp(first) > 0


def test_without_one_measured_label_there_is_nothing_to_learn() -> None:
    archs = TINY.sample(2, np.random.default_rng(1))
    with pytest.raises(InputError, match="at least one that did not fail"):
        LinearLearner.of("ridge", TINY, archs, [None, None])


@pytest.mark.parametrize("kind", ["ridge", "ridge-probe"])
def test_effects_that_ridge_tells_from_zero_have_the_sign_that_was_planted(
    kind: PredictorKind,
) -> None:
    told = []
    for seed in range(3):
        scores, true = score_truth(kind, 32, seed)
        clear = [block for block in scores.blocks if not block.unclear]
        told += [(block.effect > 0) == (true[block.name] > 0) for block in clear]
        assert len(clear) < len(scores.blocks), "32 labels do not tell all"
    assert len(told) >= len(scores.blocks), "of three times as many"
    assert np.mean(told) >= 0.95


@pytest.mark.parametrize("kind", ["ridge", "ridge-probe"])
def test_labels_that_are_noise_tell_next_to_nothing_from_zero(kind: PredictorKind) -> None:
    told = [
        not block.unclear
        for labels in (16, 32)
        for seed in range(4)
        for block in score_truth(kind, labels, seed, noise=np.inf)[0].blocks
    ]
    assert np.mean(told) <= 0.05, "two spreads"
