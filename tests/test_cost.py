import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from sdsearch.backbone import SD14, SD14_INPAINT, TINY
from sdsearch.cost import count_macs, count_params, space_costs
from sdsearch.space import SPACES, search_space
from sdsearch.unet_config import unet_config
from tests.unets import TEACHER, hard_members, inputs, predict, random_members, random_unet

MEMBERS = search_space("sd14").members


def hooked_macs(arch, size: int, tokens: int) -> tuple[int, int]:
    """(conv + linear, attention) MACs, counted by hooks on a real forward pass."""
    unet = random_unet(arch)
    counted = {"layers": 0, "attention": 0}

    def layer(module, _, output):
        per_output = module.weight[0].numel()
        counted["layers"] += per_output * output.numel()

    def attention(module, args, kwargs):
        queries = args[0].shape[-2]
        context = kwargs.get("encoder_hidden_states")
        keys = queries if context is None else context.shape[-2]
        counted["attention"] += 2 * queries * keys * module.to_q.out_features

    for module in unet.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(layer)
        if type(module).__name__ == "Attention":
            module.register_forward_pre_hook(attention, with_kwargs=True)
    predict(unet, *inputs(size=size, tokens=tokens))
    return counted["layers"], counted["attention"]


@pytest.mark.parametrize(
    ("name", "params", "inpaint", "conv_linear", "total"),
    [
        ("teacher", 859_520_964, 859_535_364, 338.61, 401.64),
        ("bk-base", 579_384_964, 579_399_364, 223.67, 261.50),
        ("bk-small", 482_346_884, 482_361_284, 217.65, 255.45),
        ("bk-tiny", 323_384_964, 323_399_364, 204.95, 242.75),
    ],
)
def test_named_members_cost_what_is_published(name, params, inpaint, conv_linear, total):
    macs = count_macs(MEMBERS[name], SD14, 64)
    assert count_params(MEMBERS[name], SD14) == params
    assert count_params(MEMBERS[name], SD14_INPAINT) == inpaint
    assert macs.conv_linear / 1e9 == pytest.approx(conv_linear, abs=0.005)
    assert macs.total / 1e9 == pytest.approx(total, abs=0.01)  # published columns are rounded


@pytest.mark.parametrize(
    "arch", [*hard_members(), *random_members(20, seed=11)], ids=lambda arch: arch.key
)
def test_parameters_are_those_of_the_diffusers_class(arch):
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(unet_config(arch, SD14))
    assert sum(p.numel() for p in unet.parameters()) == count_params(arch, SD14)


@pytest.mark.parametrize(
    "arch", [*hard_members(), *random_members(6, seed=12)], ids=lambda arch: arch.key
)
def test_macs_are_those_of_a_real_forward_pass(arch):
    macs = count_macs(arch, TINY, 16)
    assert (macs.conv_linear, macs.attention) == hooked_macs(arch, 16, 77)


@pytest.mark.parametrize("name", ["teacher", "bk-tiny"])
def test_macs_hold_at_odd_sizes_and_other_prompt_lengths(name):
    macs = count_macs(MEMBERS[name], TINY, 13, tokens=5)
    assert (macs.conv_linear, macs.attention) == hooked_macs(MEMBERS[name], 13, 5)


def test_linear_projections_cost_the_same_as_convolutions():
    linear = SD14.model_copy(update={"use_linear_projection": True})
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(unet_config(TEACHER, linear))
    assert sum(p.numel() for p in unet.parameters()) == count_params(TEACHER, linear)


@pytest.mark.parametrize("name", SPACES)
def test_costs_of_a_whole_space_agree_with_single_members(name):
    space = search_space(name)
    params, macs = space_costs(space)
    assert params.shape == macs.shape == (len(space),)
    assert params.dtype == macs.dtype == np.int64
    drawn = np.random.default_rng(2).choice(len(space), size=40, replace=False)
    named = [space.index(arch) for arch in space.members.values()]
    for index in [*drawn.tolist(), *named]:
        arch = space.arch(index)
        assert params[index] == count_params(arch, space.backbone)
        assert macs[index] == count_macs(arch, space.backbone, space.backbone.sample_size).total
    assert params.max() == count_params(TEACHER, space.backbone)
