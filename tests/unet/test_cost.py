import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sdsearch.space.space import search_space
from sdsearch.unet.backbone import PRESETS, SD2, SD14, SD14_INPAINT, SD21, TINY
from sdsearch.unet.config import unet_config
from sdsearch.unet.cost import count_macs, count_params, unet_cost
from sdsearch.unet.memory import activation_values
from tests.unets import (
    TEACHER,
    hard_members,
    inputs,
    predict,
    random_members,
    random_unet,
    random_wide_members,
)

MEMBERS = search_space("sd14").members


def hooked_macs(arch, size: tuple[int, int], tokens: int) -> tuple[int, int]:
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
    latent, timestep, text = inputs(size=max(size), tokens=tokens)
    predict(unet, latent[..., : size[0], : size[1]], timestep, text)
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


def params_on_meta(arch, backbone) -> int:
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(unet_config(arch, backbone))
    return sum(p.numel() for p in unet.parameters())


@pytest.mark.parametrize("backbone", PRESETS)
def test_named_members_of_every_backbone_have_the_parameters_of_the_class(backbone):
    backbone = PRESETS[backbone]
    for arch in MEMBERS.values():
        assert params_on_meta(arch, backbone) == count_params(arch, backbone)


def test_stable_diffusion_2_costs_what_is_published():
    assert count_params(TEACHER, SD2) == 865_910_724
    base, large = count_macs(TEACHER, SD2), count_macs(TEACHER, SD21)
    published = [339.10, 402.13, 760.49, 1074.55]
    ours = [base.conv_linear, base.total, large.conv_linear, large.total]
    assert [macs / 1e9 for macs in ours] == pytest.approx(published, abs=0.01)


@pytest.mark.parametrize(
    ("seed", "n"),
    [(10, 20), *(pytest.param(seed, 100, marks=pytest.mark.slow) for seed in (11, 12, 13))],
)
def test_parameters_of_random_members_are_those_of_the_class(seed, n):
    for arch in [*hard_members(), *random_members(n, seed)]:
        assert params_on_meta(arch, SD14) == count_params(arch, SD14), arch


@pytest.mark.parametrize(
    ("backbone", "n"), [(SD14, 20), (SD2, 20), pytest.param(SD14, 100, marks=pytest.mark.slow)]
)
def test_parameters_of_random_wide_members_are_those_of_the_class(backbone, n):
    space = search_space("sd14-wide", backbone, resize_level_0=True)
    members = space.sample(n, np.random.default_rng(14))
    assert sum(arch.widths is not None for arch in members) > 0.9 * n
    for arch in members:
        assert params_on_meta(arch, backbone) == count_params(arch, backbone), arch


@pytest.mark.parametrize(
    "arch",
    [*hard_members(), *random_members(12, seed=12), *random_wide_members(12, seed=15)],
    ids=lambda arch: arch.key,
)
def test_macs_are_those_of_a_real_forward_pass(arch):
    macs = count_macs(arch, TINY, 16)
    assert (macs.conv_linear, macs.attention) == hooked_macs(arch, (16, 16), 77)


@pytest.mark.parametrize("name", ["teacher", "bk-tiny"])
def test_macs_hold_at_odd_sizes_and_other_prompt_lengths(name):
    macs = count_macs(MEMBERS[name], TINY, (13, 22), tokens=5)
    assert (macs.conv_linear, macs.attention) == hooked_macs(MEMBERS[name], (13, 22), 5)


class LiveBytes(TorchDispatchMode):
    """Follows the storages of a call but the weights; `peak` is the most that was alive at once."""

    def __init__(self, unet, *given) -> None:
        super().__init__()
        self.weights = {p.untyped_storage().data_ptr() for p in unet.parameters()}
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0
        self._follow(given)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self._follow((args, result))
        self.alive = {k: (ref, n) for k, (ref, n) in self.alive.items() if not ref.expired()}
        self.peak = max(self.peak, sum(n for _, n in self.alive.values()))
        return result

    def _follow(self, values) -> None:
        for tensor in tree_leaves(values):
            if not isinstance(tensor, torch.Tensor):
                continue
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self.weights:
                reference = StorageWeakRef(storage)
                self.alive[reference.cdata] = reference, storage.nbytes()


@pytest.mark.parametrize(
    "arch",
    [
        *hard_members()[:6],
        *random_members(6, seed=17),
        *random_wide_members(6, seed=18),
        search_space("sd14").arch(0),  # no attention anywhere
    ],
    ids=lambda arch: arch.key,
)
def test_peak_activations_are_those_of_the_tensors_alive_in_a_real_call(arch):
    latent, timestep, text = inputs(size=32)
    latent, text = latent[..., :26].repeat(2, 1, 1, 1), text.repeat(2, 1, 1)
    unet = random_unet(arch)
    with LiveBytes(unet, latent, text) as live:
        predict(unet, latent, timestep, text)
    cost = unet_cost(arch, TINY, (32, 26), batch=1, cfg=True)
    time_embedding = 2 * 4 * TINY.time_embed_dim  # and its activation: not worth a formula
    assert cost.activation_bytes == pytest.approx(live.peak, abs=4 * time_embedding)


def test_a_batch_and_guidance_multiply_what_depends_on_samples():
    one = unet_cost(TEACHER, SD14)
    four = unet_cost(TEACHER, SD14, batch=2, cfg=True, value_bytes=2)
    assert four.params == one.params == 859_520_964
    assert four.macs == one.macs * 4
    assert four.activation_bytes == one.activation_bytes * 2
    assert one.activation_bytes == 4 * max(activation_values(TEACHER, SD14, (64, 64), 77))
    assert one.macs == count_macs(TEACHER, SD14)


def test_linear_projections_cost_the_same_as_convolutions():
    linear = SD14.model_copy(update={"use_linear_projection": True})
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(unet_config(TEACHER, linear))
    assert sum(p.numel() for p in unet.parameters()) == count_params(TEACHER, linear)
