import json

import numpy as np
import pytest

from sdsearch.errors import InputError
from sdsearch.space.space import search_space
from sdsearch.unet.backbone import PRESETS, SD2, SD14, TINY
from sdsearch.unet.config import read_architecture, unet_config
from tests.unets import TEACHER, hard_members, random_members, random_unet

MEMBERS = search_space("sd14").members

BK_COMMON = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.15.0",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "center_input_sample": False,
    "class_embed_type": None,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "cross_attention_dim": 768,
    "downsample_padding": 1,
    "dual_cross_attention": False,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 1,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "num_class_embeds": None,
    "only_cross_attention": False,
    "out_channels": 4,
    "resnet_time_scale_shift": "default",
    "sample_size": 64,
    "time_embedding_type": "positional",
    "upcast_attention": False,
    "use_linear_projection": False,
}
BK_FOUR = BK_COMMON | {
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
BK_THREE = BK_COMMON | {
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3,
    "up_block_types": ["CrossAttnUpBlock2D"] * 3,
    "mid_block_type": None,
}
BK = {
    "bk-base": BK_FOUR | {"mid_block_type": "UNetMidBlock2DCrossAttn"},
    "bk-small": BK_FOUR | {"mid_block_type": None},
    "bk-tiny": BK_THREE,
}


@pytest.mark.parametrize("name", BK)
def test_configs_that_bk_sdm_published_are_its_named_members(name):
    assert search_space("sd14").contains_config(BK[name]) == MEMBERS[name]
    heads = [5, 10, 20, 20][: len(BK[name]["block_out_channels"])]
    second = BK[name] | {
        "attention_head_dim": heads,
        "cross_attention_dim": 1024,
        "use_linear_projection": True,
        "sample_size": 96,
        "upcast_attention": True,
    }
    assert search_space("sd14", SD2).contains_config(second) == MEMBERS[name]


def test_a_config_without_a_mid_block_type_has_the_default_one():
    assert search_space("sd14").contains_config(BK_FOUR) == MEMBERS["bk-base"]


@pytest.mark.parametrize(
    ("name", "backbone", "n"),
    [("sd14", SD14, 1_000), ("sd14-blocks", SD14, 100), ("sd14-wide", SD2, 1_000)],
)
def test_a_config_leads_back_to_its_member(name, backbone, n):
    space = search_space(name, backbone)
    for arch in [*hard_members(), *space.sample(n, np.random.default_rng(21))]:
        config = json.loads(json.dumps(unet_config(arch, backbone)))
        found = space.contains_config(config)
        assert found == (arch if space.why_not(arch) is None else None)


def test_the_config_of_a_live_unet_with_tuples_is_recognised():
    for arch in random_members(5, seed=22):
        assert read_architecture(random_unet(arch).config, TINY) == arch


@pytest.mark.parametrize("name", PRESETS)
def test_presets_differ_so_that_a_config_belongs_to_its_own(name):
    config = unet_config(TEACHER, PRESETS[name])
    same = {"sd2": "sd21", "sd21": "sd2"}  # they differ in the sample size alone
    for other, backbone in PRESETS.items():
        found = search_space("sd14", backbone).contains_config(config)
        assert (found is not None) == (other in (name, same.get(name)))


MIXED = unet_config(hard_members()[4], SD14)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (BK_FOUR | {"attention_head_dim": 16}, "number of heads"),
        (BK_FOUR | {"attention_head_dim": [8, 8, 8]}, "attention_head_dim must have one entry"),
        (BK_FOUR | {"norm_num_groups": 16}, "norm_num_groups"),
        (BK_FOUR | {"num_attention_heads": 8}, "num_attention_heads"),
        (BK_FOUR | {"in_channels": 9}, "in_channels"),
        (BK_FOUR | {"layers_per_block": [1, 1, 1]}, "layers_per_block must have one entry"),
        (BK_FOUR | {"layers_per_block": 3}, "layers_per_block must be 1 or 2"),
        (BK_FOUR | {"layers_per_block": [0, 1, 1, 1]}, "0 at level 0"),
        (BK_FOUR | {"transformer_layers_per_block": 2}, "0 or 1"),
        (BK_FOUR | {"transformer_layers_per_block": [0, 1, 1, 1]}, "keeps the projections"),
        (BK_FOUR | {"transformer_layers_per_block": [1, 1, 1, 0]}, "mid block's depth"),
        (BK_FOUR | {"up_block_types": ["CrossAttnUpBlock2D"] * 4}, "level 3 has no attention"),
        (BK_FOUR | {"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"}, "mid_block_type"),
        (BK_THREE | {"mid_block_type": "UNetMidBlock2DCrossAttn"}, "three-level net"),
        (BK_FOUR | {"block_out_channels": [320, 640]}, "3 or 4 levels"),
        ({**MIXED, "reverse_transformer_layers_per_block": None}, "reverse_"),
        ({**BK_FOUR, "cross_attention_dim": None}, "cross_attention_dim"),
        (BK_FOUR | {"addition_embed_type": "text_time"}, "addition_embed_type"),
    ],
)
def test_what_is_no_member_is_refused_by_field(config, reason):
    with pytest.raises(InputError, match=reason):
        read_architecture(config, SD14)
    assert search_space("sd14").contains_config(config) is None
