from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy import stats

from sdsearch.design.builder import build_designs
from sdsearch.design.scores import SpaceScores
from sdsearch.errors import InputError
from sdsearch.ranker.features import encode_all
from sdsearch.ranker.fit import LinearLearner, fit_ranker
from sdsearch.ranker.net import PlanTensors
from sdsearch.ranker.plan import plan_batch
from sdsearch.ranker.rules import (
    hop_weights,
    output_slots,
    rule_scores,
    slot_norms,
    stability,
)
from sdsearch.ranker.scoring import score_space, score_units
from sdsearch.ranker.training import RankerConfig
from sdsearch.ranker.validation import fit_baselines
from sdsearch.space.budget import Budget
from sdsearch.space.costs import add_up
from sdsearch.space.meter import Meter
from sdsearch.space.space import SearchSpace, search_space
from sdsearch.space.units import Unit
from sdsearch.study.config import RankerSettings
from sdsearch.unet.architecture import UNPRUNED
from sdsearch.unet.slots import SLOTS
from tests.planted import PlantedTruth, small_fit

if TYPE_CHECKING:
    from sdsearch.design.scores import NormRule, Scores
    from sdsearch.ranker.fit import FittedRanker
    from sdsearch.unet.architecture import Architecture

SPACE = search_space("tiny")
BLOCKS = search_space("sd14-blocks", SPACE.backbone)


@pytest.fixture(scope="module")
def scores() -> Scores:
    return score_units(small_fit(), SPACE, score_space(small_fit(), SPACE))


def graph_norms(fitted: FittedRanker, archs: list[Architecture]) -> np.ndarray:
    """(hops + 1, graphs, members) norms, by listing every graph."""
    plan = plan_batch(encode_all(archs, SPACE.backbone, fitted.layout), fitted.config.hops)
    with torch.no_grad():
        norms: np.ndarray = fitted.nets["gnn"].ranker(PlanTensors.of(plan))[1].double().numpy()
    return norms


@pytest.mark.parametrize("kind", ["gnn", "ridge"])
def test_every_member_gets_the_prediction_of_the_dense_pass(kind: str) -> None:
    fitted = small_fit(kind)
    scored = score_space(fitted, SPACE)
    assert scored.predicted.shape == (704_000,)
    assert np.isfinite(scored.predicted).all()
    numbers = np.random.default_rng(0).choice(len(SPACE), 64, replace=False)
    dense = fitted.predict([SPACE.arch(int(i)) for i in numbers], SPACE)
    np.testing.assert_allclose(scored.predicted[numbers], dense.mean(1), atol=1e-5)
    np.testing.assert_allclose(scored.spread[numbers], dense.std(1), atol=1e-5)


@pytest.mark.parametrize("kind", ["gnn", "ridge", "forest"])
def test_a_small_space_is_scored_exactly_and_its_marginals_are_means(kind: str) -> None:
    fitted = small_fit(kind)
    scored = score_space(fitted, BLOCKS)
    numbers = np.random.default_rng(1).choice(len(BLOCKS), 64, replace=False)
    dense = fitted.predict([BLOCKS.arch(int(i)) for i in numbers], BLOCKS)
    np.testing.assert_allclose(scored.predicted[numbers], dense.mean(1), atol=1e-5)
    cube = scored.predicted.reshape(BLOCKS.radices).astype(np.float64)
    for axis, marginal in enumerate(scored.marginals):
        others = tuple(i for i in range(4) if i != axis)
        np.testing.assert_allclose(marginal.mean(1), cube.mean(axis=others), atol=1e-5)


def test_option_norms_are_the_mean_graph_norms_over_all_backgrounds() -> None:
    fitted, axis, option = small_fit(), 3, 5
    digits = BLOCKS.digits(np.arange(len(BLOCKS)))
    with_option = BLOCKS.indices(digits[digits[:, axis] == option])
    norms = graph_norms(fitted, [BLOCKS.arch(int(i)) for i in with_option])
    found = slot_norms(fitted.nets["gnn"], BLOCKS)[axis][:, :, option].sum(1) / len(SLOTS)
    np.testing.assert_allclose(found, norms.mean(1), rtol=1e-4)


def few_of_many_widths() -> SearchSpace:
    """A small space whose units have options of several widths."""
    wide = search_space("sd14-wide", SPACE.backbone)
    whole = wide.option_indices(wide.members["teacher"])
    level0, level1, level2, bottom = (
        Unit(unit.name, tuple(unit.options[i] for i in sorted({*range(0, last, step), last})))
        for unit, step, last in zip(wide.units, (13, 23, 31, 5), whole, strict=True)
    )
    return SearchSpace("few", SPACE.backbone, (level0, level1, level2, bottom))


@pytest.mark.parametrize("kind", ["gnn", "ridge"])
def test_a_space_with_widths_is_scored_exactly_part_by_part(kind: str) -> None:
    space, fitted = few_of_many_widths(), small_fit(kind)
    assert space.chooses_widths
    archs = [space.arch(i) for i in range(len(space))]
    assert len({arch.widths for arch in archs}) > 20
    scored = score_space(fitted, space)
    dense = fitted.predict(archs, space)
    np.testing.assert_allclose(scored.predicted, dense.mean(1), atol=1e-5)
    np.testing.assert_allclose(scored.spread, dense.std(1), atol=1e-5)
    cube = dense.reshape(*space.radices, -1)
    for axis, marginal in enumerate(scored.marginals):
        others = tuple(i for i in range(4) if i != axis)
        np.testing.assert_allclose(marginal, cube.mean(axis=others), atol=1e-5)


def test_option_norms_of_a_space_with_widths_are_the_mean_norms_of_its_graphs() -> None:
    space, fitted = few_of_many_widths(), small_fit()
    norms = graph_norms(fitted, [space.arch(i) for i in range(len(space))])
    cube = norms.reshape(len(norms), *space.radices, -1)
    for axis, found in enumerate(slot_norms(fitted.nets["gnn"], space)):
        others = tuple(i + 1 for i in range(4) if i != axis)
        graph = found.sum(1) / len(SLOTS)
        np.testing.assert_allclose(graph, cube.mean(axis=others), rtol=1e-4)


def test_options_of_many_widths_say_theirs_and_blocks_are_compared_within_a_width() -> None:
    space = few_of_many_widths()
    scores = score_units(small_fit(), space, score_space(small_fit(), space))
    words = [option.words for option in scores.unit("level1").options]
    assert len(set(words)) == len(words)
    assert all("width" in one for one in words)
    assert "width" not in scores.unit("level0").options[0].words


def test_norms_of_slots_sum_to_the_graph_norm_of_the_unpruned_net(scores: Scores) -> None:
    whole, found = graph_norms(small_fit(), [UNPRUNED])[:, 0].mean(-1), scores.norms
    assert found is not None
    assert list(found.slots) == [slot.name for slot in SLOTS]
    assert all(value >= 0 for value in found.slots.values())
    total = float(np.dot(found.hop_weights, whole))
    assert sum(found.slots.values()) == pytest.approx(total, rel=1e-5)
    assert sum(found.hop_weights) == pytest.approx(1.0)
    assert {one.category for one in found.features} >= {"joint", "level", "params_share"}
    assert all(one.norm >= 0 for one in found.features)


def test_scores_cover_options_and_blocks(scores: Scores) -> None:
    assert [len(unit.options) for unit in scores.units] == [40, 40, 40, 11]
    names = {block.name for block in scores.blocks}
    assert {"down.0.attn.0", "down.1.res.1", "up.3.res.1", "mid.attn.0", "up.0.res.2"} <= names
    assert "down.0.res.0" not in names
    assert len(scores.insights()) >= 5


@pytest.mark.parametrize("kind", ["gnn", "ridge", "forest"])
def test_an_options_score_is_its_marginal_effect_unless_another_rule_is_asked_for(
    kind: str,
) -> None:
    fitted = small_fit(kind)
    scored = score_space(fitted, BLOCKS)
    scores = score_units(fitted, BLOCKS, scored)
    assert scores.rule == RankerSettings().rule == "partial-dependence"
    for unit, values, marginal in zip(scores.units, scores.values(), scored.marginals, strict=True):
        assert list(values) == [option.effect for option in unit.options]
        np.testing.assert_allclose(values, marginal.mean(1) - marginal.mean(), atol=1e-12)


def test_the_sum_of_scores_is_an_additive_prediction_itself() -> None:
    """What a model without interactions predicts is its mean and the effects of the options."""
    fitted = small_fit("ridge")
    scored = score_space(fitted, BLOCKS)
    scores = score_units(fitted, BLOCKS, scored)
    sums = scores.mean + add_up(scores.values())
    np.testing.assert_allclose(sums, scored.predicted, atol=1e-5)


def test_effects_of_an_additive_truth_are_what_was_planted() -> None:
    planted = dict(zip([slot.name for slot in SLOTS], np.linspace(0.1, 1.0, 46), strict=True))
    marginals = []
    for axis, unit in enumerate(SPACE.units):
        digits = np.zeros((len(unit.options), 4), dtype=np.int64)
        digits[:, axis] = np.arange(len(unit.options))
        archs = [SPACE.arch(int(index)) for index in SPACE.indices(digits)]
        worth = [sum(planted[name] for name in arch.kept_slots) for arch in archs]
        marginals.append(np.array(worth)[:, None])
    nothing = np.zeros(len(SPACE), np.float32)
    scores = score_units(small_fit(), SPACE, SpaceScores(nothing, nothing, tuple(marginals)))
    for values, marginal in zip(scores.values(), marginals, strict=True):
        assert stats.spearmanr(values, marginal[:, 0]).statistic > 0.999999
    worth = scores.block_worth
    alone = [
        block.name for block in scores.blocks if ".attn." in block.name and block.unit[0] == "l"
    ]
    assert len(alone) == 15
    assert {name: worth[name] for name in alone} == pytest.approx({n: planted[n] for n in alone})
    for block in scores.blocks:  # what goes with it in some options alone counts too
        gone = sum(planted[name] for name in (block.name, *block.together_with))
        assert worth[block.name] > gone - 1e-9


@pytest.mark.parametrize("rule", ["graph", "module", "last"])
def test_scores_by_norms_order_within_a_unit_and_span_what_its_effects_do(rule: NormRule) -> None:
    fitted, scored = small_fit(), score_space(small_fit(), SPACE)
    found = score_units(fitted, SPACE, scored, rule)
    assert found.rule == rule
    norms, weights = slot_norms(fitted.nets["gnn"], SPACE), hop_weights(fitted)
    for unit, values, norm in zip(found.units, found.values(), norms, strict=True):
        effects = np.array([option.effect for option in unit.options])
        assert np.abs([effects.mean(), values.mean()]).max() < 1e-9
        assert values.std() == pytest.approx(effects.std())
        order = rule_scores(rule, norm, unit.unit, weights).mean(1)
        assert stats.spearmanr(values, order).statistic > 0.999
        assert -1.0 <= unit.stability <= 1.0


@pytest.mark.parametrize("rule", ["module", "last"])
def test_the_module_rule_reads_own_slots_and_the_last_rule_output_slots_alone(
    rule: NormRule,
) -> None:
    rng = np.random.default_rng(0)
    norms = rng.random((5, len(SLOTS), 40, 2))
    weights = np.full(5, 0.2)
    outputs = dict(output_slots("level1"))
    said = {SLOTS[number].name: hop for number, hop in outputs.items()}
    assert said == {"down.1.sample": 2, "up.2.sample": 3}
    own = [number for number, slot in enumerate(SLOTS) if slot.unit == "level1"]
    read = own if rule == "module" else list(outputs)
    others = [number for number in range(len(SLOTS)) if number not in read]
    before = rule_scores(rule, norms, "level1", weights)
    changed = norms.copy()
    changed[:, others] += rng.random((40, 2))
    np.testing.assert_allclose(rule_scores(rule, changed, "level1", weights), before)
    changed = norms.copy()
    changed[:, read] += rng.random((40, 2))
    assert not np.allclose(rule_scores(rule, changed, "level1", weights), before)


def test_stability_is_the_mean_rank_correlation_of_ensemble_members() -> None:
    one = np.arange(6.0)
    assert stability(np.stack([one, one * 2, one + 1], axis=1)) == pytest.approx(1.0)
    assert stability(np.stack([one, -one], axis=1)) == pytest.approx(-1.0)
    assert stability(one[:, None]) == 1.0
    assert stability(np.stack([one, one * 0], axis=1)) == 0.0


def test_a_block_is_compared_with_the_option_that_keeps_most_without_it(scores: Scores) -> None:
    together = {block.name: block.together_with for block in scores.blocks}
    assert together["down.0.attn.0"] == ()
    assert together["mid.attn.0"] == ("mid.res.1",)
    assert together["down.1.res.1"] == ("up.2.res.1",)


def test_baselines_have_effects_but_no_norms() -> None:
    fitted = small_fit("ridge")
    scored = score_space(fitted, BLOCKS)
    found = score_units(fitted, BLOCKS, scored, "graph")
    assert (found.kind, found.norms, found.rule) == ("ridge", None, "partial-dependence")
    assert found == score_units(fitted, BLOCKS, scored)


def test_a_block_that_no_label_varies_cannot_be_told_from_zero() -> None:
    archs = SPACE.sample(3, np.random.default_rng(0))
    learner = LinearLearner.of("ridge", SPACE, archs, [-1.0, -2.0, -4.0])
    made = fit_baselines(learner.kept, learner.target, learner.weight, 0)
    few = replace(small_fit("ridge"), baselines=made)
    blocks = score_units(few, BLOCKS, score_space(few, BLOCKS)).blocks
    nothing = [block for block in blocks if block.effect == 0]
    assert nothing
    assert all(block.unclear for block in nothing)


def test_scoring_is_deterministic(scores: Scores) -> None:
    assert score_units(small_fit(), SPACE, score_space(small_fit(), SPACE)) == scores


def test_a_space_of_another_backbone_is_refused() -> None:
    with pytest.raises(InputError, match="backbone"):
        score_space(small_fit(), search_space("sd14"))


def with_hop_srcc(*srcc: float) -> FittedRanker:
    """A fit whose hops 0..M rank held-out labels with these correlations."""
    fitted = small_fit()
    hops = tuple(
        hop.model_copy(update={"srcc": value})
        for hop, value in zip(fitted.report.hops, srcc, strict=True)
    )
    return replace(fitted, report=fitted.report.model_copy(update={"hops": hops}))


def test_hops_weigh_as_they_correlate_and_negative_ones_nothing() -> None:
    weights = hop_weights(with_hop_srcc(0.2, -0.5, 0.6, 0.0, 0.8))
    np.testing.assert_allclose(weights, [0.125, 0.0, 0.375, 0.0, 0.5])


@pytest.mark.parametrize("features", [0.0, 0.7])
def test_hops_without_any_correlation_weigh_the_same(features: float) -> None:
    # Hop 0 has seen no neighbour: its correlation alone says nothing of the graph.
    weights = hop_weights(with_hop_srcc(features, -0.1, 0.0, -0.3, 0.0))
    np.testing.assert_allclose(weights, 0.2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_planted_truth_is_recovered(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, archs = PlantedTruth.draw(rng), SPACE.sample(68, rng)
    fitted = fit_ranker(SPACE, archs, truth.labels(archs, rng), RankerConfig(kind="gnn"), rng)
    scored = score_space(fitted, SPACE)
    scores = score_units(fitted, SPACE, scored)
    order = [
        stats.spearmanr([o.effect for o in unit.options], truth.marginals(SPACE, axis, rng))
        for axis, unit in enumerate(scores.units)
    ]
    within = [result.statistic for result in order]
    assert min(within[:3]) >= 0.75, within
    assert np.mean(within[:3]) >= 0.9, within
    marginals = tuple(truth.marginals(SPACE, axis, rng)[:, None] for axis in range(4))
    true = score_units(fitted, SPACE, replace(scored, marginals=marginals)).block_worth
    clear = {block.name: block.effect < 0 for block in scores.blocks if not block.unclear}
    assert len(clear) >= len(scores.blocks) / 2
    right = [(true[name] > 0) == needed for name, needed in clear.items()]
    assert np.mean(right) >= 0.95, "what is told from zero has its sign"
    designs = build_designs(Meter(SPACE), ["autobuild"], Budget(), scores, scored, rng)
    built = truth.fid([design.architecture for design in designs])
    assert built.mean() < truth.fid(archs).min()
