from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_geometric.nn import GATv2Conv

from sdsearch.ranker.published import (
    HOPS,
    STAGES,
    ChainAttention,
    ChainRanker,
    Chains,
    PaperConfig,
    PaperFit,
    fit_paper,
    score_options,
    score_stages,
    split_stages,
    target_moments,
)
from sdsearch.space.space import search_space
from tests.planted import PlantedTruth

SPACE = search_space("tiny")
ARCHS = SPACE.sample(12, np.random.default_rng(0))
QUICK = PaperConfig(width=8, steps=5, learning_rate=1e-3)


def made_net(seed: int = 0) -> ChainRanker:
    """A net in evaluation mode whose batch norms are not the identity."""
    generator = torch.Generator().manual_seed(seed)
    net = ChainRanker(8, generator)
    for norm in net.norms:
        norm.running_mean.uniform_(-0.1, 0.1, generator=generator)
        norm.running_var.uniform_(0.5, 1.5, generator=generator)
    return net.eval()


def test_the_unpruned_net_has_nine_stages_of_kept_operators() -> None:
    words = ["".join("RAdu"[op] for op in ops) for _, ops in split_stages(SPACE.members["teacher"])]
    assert words == ["RARAd"] * 3 + ["RR", "RAR", "RRRu", "RARARAu", "RARARAu", "RARARA"]
    small = ["".join("RAdu"[op] for op in ops) for _, ops in split_stages(SPACE.members["bk-tiny"])]
    assert small[3:6] == ["", "", ""]
    assert small[2] == "RA"  # nothing lies below, so that nothing is downsampled


def test_every_level_has_40_options_of_its_two_stages_and_the_bottom_11() -> None:
    scores = score_options(
        fit_paper(ARCHS, np.arange(12.0), np.random.default_rng(0), QUICK), SPACE
    )
    assert [len(found) for found in scores] == [40, 40, 40, 11]
    assert all(np.isfinite(found).all() and np.ptp(found) > 0 for found in scores)


def test_attention_on_a_chain_is_pygs() -> None:
    layer = ChainAttention(3, 8, torch.Generator().manual_seed(1))
    with torch.no_grad():
        layer.bias.uniform_(-1, 1, generator=torch.Generator().manual_seed(2))
        layer.source.bias.uniform_(-1, 1, generator=torch.Generator().manual_seed(3))
    conv = GATv2Conv(3, 8)
    with torch.no_grad():
        conv.lin_l.load_state_dict(layer.source.state_dict())
        conv.lin_r.load_state_dict(layer.target.state_dict())
        conv.att.copy_(layer.attention[None, None])
        conv.bias.copy_(layer.bias)
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(4))
    edges = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]])
    with torch.no_grad():
        torch.testing.assert_close(layer(x[None])[0], conv(x, edges), atol=1e-5, rtol=1e-5)


def test_padding_changes_nothing_and_norms_are_means_of_node_norms() -> None:
    net = made_net()
    stages = [split_stages(arch) for arch in ARCHS]
    with torch.no_grad():
        predicted, norms = net(Chains.of(stages))
        for number, one in enumerate(stages):
            alone = net(Chains.of([one]))
            torch.testing.assert_close(alone[0][0], predicted[number], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(alone[1][:, 0], norms[:, number], atol=1e-5, rtol=1e-5)
            hops = net.embed(Chains.of([one]))
            pooled = torch.stack([x[0].mean(0).abs().sum() for x in hops])
            torch.testing.assert_close(pooled, norms[:, number], atol=1e-5, rtol=1e-5)


def test_the_last_node_of_a_stage_sees_exactly_the_stage_after_depth_minus_one_hops() -> None:
    net, checked = made_net(1), 0
    for arch in ARCHS:
        stages = split_stages(arch)
        with torch.no_grad():
            whole = net.embed(Chains.of([stages]))
        end = 0
        for number, ops in stages:
            end += len(ops)
            if not ops or end == len(ops):
                continue
            with torch.no_grad():
                alone = net.embed(Chains.of([[(number, ops)]]))
            hop = len(ops) - 1
            torch.testing.assert_close(
                alone[hop][0, -1], whole[hop][0, end - 1], atol=1e-5, rtol=1e-5
            )
            if hop < HOPS:
                apart = (alone[hop + 1][0, -1] - whole[hop + 1][0, end - 1]).abs().max()
                checked += int(apart > 1e-4)
    assert checked > 20


def test_targets_have_moments_by_stage_and_depth_and_those_of_all_where_none_is() -> None:
    depths = np.array([[1, 2], [1, 3], [2, 3]])
    y = np.array([1.0, 3.0, 8.0])
    found = target_moments(depths, y)
    assert found[0, 1].tolist() == [2.0, 1.0]
    assert found[0, 2].tolist() == [8.0, 0.0]
    assert found[1, 3].tolist() == [5.5, 2.5]
    assert found[1, 7].tolist() == pytest.approx([y.mean(), y.std()])


def test_a_stages_score_is_its_standardised_norm_in_units_of_the_target() -> None:
    net = made_net(2)
    hop_moments = np.stack([np.arange(7.0), np.full(7, 2.0)], axis=1)
    moments = np.zeros((len(STAGES), 8, 2))
    moments[2, 3], moments[4, 0] = (10.0, 4.0), (-7.0, 1.0)
    fitted = PaperFit(net, hop_moments, moments)
    stage = (2, (0, 1, 0))
    with torch.no_grad():
        norm = float(net.embed(Chains.of([[stage]]))[2][0, 2].sum())
    found = score_stages(fitted, [stage, (4, ())])
    assert found[0] == pytest.approx(10.0 + 4.0 * (norm - 2.0) / 2.0)
    assert found[1] == -7.0


def test_hop_moments_are_of_all_nodes_of_all_training_chains() -> None:
    fitted = fit_paper(ARCHS, np.arange(12.0), np.random.default_rng(0), QUICK)
    norms = []
    for arch in ARCHS:
        with torch.no_grad():
            norms.append(fitted.net.embed(Chains.of([split_stages(arch)]))[3][0].sum(-1))
    every = torch.cat(norms).double()
    assert fitted.hop_moments[3] == pytest.approx(
        [float(every.mean()), float(every.std())], rel=1e-4
    )


def test_training_follows_the_targets_and_repeats_with_its_seed() -> None:
    rng = np.random.default_rng(3)
    truth, archs = PlantedTruth.draw(rng), SPACE.sample(30, rng)
    y = np.array(truth.labels(archs, rng))
    chains = Chains.of([split_stages(arch) for arch in archs])
    correlations, fitted = [], []
    for steps in (1, 1, 200):
        config = PaperConfig(width=8, steps=steps, learning_rate=3e-3)
        fitted.append(fit_paper(archs, y, np.random.default_rng(0), config))
        with torch.no_grad():
            predicted, norms = fitted[-1].net(chains)
        correlations.append([np.corrcoef(x, y)[0, 1] for x in (predicted, norms[-1])])
    assert min(correlations[2]) > 0.5
    assert max(correlations[0]) < min(correlations[2])
    scores = [score_options(found, SPACE) for found in fitted[:2]]
    for one, other in zip(*scores, strict=True):
        np.testing.assert_array_equal(one, other)
