from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.pyg_ranker import PygRanker, batch_of
from sdsearch.ranker.features import FeatureLayout, encode_all
from sdsearch.ranker.net import PlanTensors, Ranker, gather
from sdsearch.ranker.plan import plan_batch
from sdsearch.space.space import search_space

HOPS, WIDTH, MEMBERS = 4, 16, 2
SPACE = search_space("tiny")
LAYOUT = FeatureLayout.for_space(SPACE)
ARCHS = SPACE.sample(9, np.random.default_rng(0))


def make_ranker(seed: int = 0) -> Ranker:
    """A ranker whose every tensor is random, statistics included."""
    generator = torch.Generator().manual_seed(seed)
    ranker = Ranker(MEMBERS, LAYOUT, HOPS, WIDTH, generator)
    with torch.no_grad():
        for name, value in ranker.state_dict().items():
            noise = torch.rand(value.shape, generator=generator)
            value.add_(noise * (1.0 if "variance" in name else 0.3))
    return ranker


def make_plan() -> PlanTensors:
    return PlanTensors.of(plan_batch(encode_all(ARCHS, SPACE.backbone, LAYOUT), HOPS))


@pytest.mark.parametrize("member", range(MEMBERS))
def test_shared_hops_equal_pyg_on_whole_graphs(member: int) -> None:
    ranker = make_ranker()
    plan = plan_batch(encode_all(ARCHS, SPACE.backbone, LAYOUT), HOPS)
    with torch.no_grad():
        embedded = ranker.embed(PlanTensors.of(plan))
        predicted = ranker(PlanTensors.of(plan))[0][:, member]
        want, want_predicted = PygRanker.of_member(ranker, member)(
            batch_of(ARCHS, SPACE.backbone, LAYOUT)
        )
    for hop, items in enumerate(plan.items):
        nodes = embedded[hop][torch.from_numpy(np.stack(items, 1))][:, :, member].flatten(0, 1)
        torch.testing.assert_close(nodes, want[hop], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(predicted, want_predicted, atol=1e-5, rtol=1e-5)


def test_a_graphs_norm_is_the_mean_of_its_slots_norms_at_every_hop() -> None:
    ranker, plan = make_ranker(1), plan_batch(encode_all(ARCHS, SPACE.backbone, LAYOUT), HOPS)
    with torch.no_grad():
        embedded = ranker.embed(PlanTensors.of(plan))
        norms = ranker(PlanTensors.of(plan))[1]
    for hop, items in enumerate(plan.items):
        assert bool((embedded[hop] >= 0).all())
        nodes = embedded[hop][torch.from_numpy(np.stack(items, 1))]  # (graphs, 46, members, width)
        pooled = nodes.mean(1).abs().sum(-1)
        torch.testing.assert_close(pooled, nodes.abs().sum(-1).mean(1), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(norms[hop], pooled, atol=1e-5, rtol=1e-5)


def test_batch_statistics_are_those_of_all_slots_of_all_training_graphs() -> None:
    ranker, plan = make_ranker(2), make_plan()
    weights = [count.sum(0)[:, None].expand(-1, MEMBERS) / count.sum() for count in plan.counts]
    with torch.no_grad():
        embedded = ranker.embed(plan, weights)
        layer = ranker.layers[1]
        raw = layer.convolve(embedded[1], plan.sources[1], plan.void[1])
        nodes = raw.repeat_interleave(plan.counts[2].sum(0).long(), dim=0)
    torch.testing.assert_close(layer.mean, nodes.mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(layer.variance, nodes.var(0, correction=0), atol=1e-5, rtol=1e-4)


def test_members_do_not_influence_each_other() -> None:
    ranker, plan = make_ranker(3), make_plan()
    predicted, norms = ranker(plan)
    predicted[:, 0].sum().backward(retain_graph=True)
    norms[:, :, 0].sum().backward()
    for parameter in ranker.parameters():
        members_first = parameter.grad
        assert members_first is not None
        axis = list(members_first.shape).index(MEMBERS)
        others = members_first.movedim(axis, 0)[1:]
        assert bool((others == 0).all())


def test_the_same_generator_seed_gives_the_same_ranker() -> None:
    first, second = make_ranker(4).state_dict(), make_ranker(4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = make_ranker(5).state_dict()
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_gather_takes_rows_by_an_index_of_any_shape() -> None:
    x = torch.arange(24.0).reshape(4, 2, 3)
    index = torch.tensor([[3, 0], [1, 1]])
    assert torch.equal(gather(x, index), x[index])
