"""Rounding in torch: the steps, what is left behind, and which part is found to lose most."""

from __future__ import annotations

import numpy as np
import torch

from sdsearch.labels.runtimes import WHOLE
from sdsearch.runtimes.rounding import Range, rank_parts, round_weight
from tests.runtimes.nets import make_small, questions


def test_a_range_is_rounded_to_256_steps_of_which_one_is_zero() -> None:
    generator = np.random.default_rng(0)
    for low, high in ((-3.0, 5.0), (0.0, 2.0), (-1.0, 0.0)):
        values = generator.uniform(low - 1, high + 1, 1000).astype(np.float32)
        scale = (high - low) / 255
        zero = np.rint(-low / scale)
        codes = np.clip(np.rint(values / scale) + zero, 0, 255)
        found = Range(low, high).round(torch.from_numpy(values)).numpy()
        np.testing.assert_allclose(found, (codes - zero) * scale, atol=1e-6)
        assert Range(low, high).round(torch.zeros(1)) == 0


def test_a_weight_keeps_the_largest_of_each_channel_and_a_channel_of_zeros() -> None:
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[2] = 0
    weight[1] *= 100
    found = round_weight(weight)
    torch.testing.assert_close(found.flatten(1).abs().amax(1), weight.flatten(1).abs().amax(1))
    steps = weight.flatten(1).abs().amax(1) / 127
    assert ((found - weight).flatten(1).abs().amax(1) <= steps / 2 + 1e-6).all()
    assert torch.equal(found[2], weight[2])


def test_the_part_whose_input_is_spread_widest_is_found_and_the_net_stays() -> None:
    net, given = make_small(), questions(40)
    with torch.no_grad():
        # A feature far out, which says nothing, makes the steps of all others coarse.
        net.attentions[0].weight[:, 0] = 0
        net.last.weight *= 10
        for _, _, words in given:
            words[..., 0] = 500.0
    state = {name: value.clone() for name, value in net.state_dict().items()}
    found = rank_parts(net, given[:-1], given[-1])
    assert [one.part for one in found[:2]] == [WHOLE, "attentions.0"]
    assert found[1].error > 5 * found[2].error
    assert sorted(one.part for one in found) == [WHOLE, "attentions.0", "last", "resnets.0"]
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_the_unet_comes_back_where_a_question_fails() -> None:
    net = make_small()
    weight = net.resnets[0].weight.clone()
    good = questions(1)
    bad = (good[0][0][:, :2], *good[0][1:])
    try:
        rank_parts(net, good, bad)
    except RuntimeError:
        pass
    else:
        raise AssertionError("two channels cannot be asked")
    assert torch.equal(net.resnets[0].weight, weight)
    assert not net.resnets[0]._forward_hooks
    assert not net.resnets[0]._forward_pre_hooks
