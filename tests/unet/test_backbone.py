import pytest
import torch
from diffusers import UNet2DConditionModel
from pydantic import ValidationError

from sdsearch.errors import InputError
from sdsearch.unet.backbone import PRESETS, SD14, SD14_INPAINT, TINY, Backbone
from sdsearch.unet.config import unet_config
from tests.unets import TEACHER, random_unet

HUB_SD14 = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.2.2",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False,
    "cross_attention_dim": 768,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}


def test_the_published_config_of_sd14_is_the_sd14_backbone():
    assert Backbone.from_config(HUB_SD14) == SD14
    assert Backbone.from_config(HUB_SD14 | {"in_channels": 9}) == SD14_INPAINT


@pytest.mark.parametrize("backbone", PRESETS.values(), ids=PRESETS)
def test_a_teacher_config_reads_back_as_its_backbone(backbone):
    assert Backbone.from_config(unet_config(TEACHER, backbone)) == backbone


def test_the_config_of_a_live_unet_reads_back_as_its_backbone():
    unet: UNet2DConditionModel = random_unet()
    assert Backbone.from_config(unet.config) == TINY


def test_sd2_keeps_its_heads_per_level():
    heads = [5, 10, 20, 20]
    config = HUB_SD14 | {"attention_head_dim": heads, "use_linear_projection": True}
    backbone = Backbone.from_config(config)
    assert unet_config(TEACHER, backbone)["attention_head_dim"] == heads
    assert unet_config(TEACHER, backbone)["use_linear_projection"] is True


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layers_per_block", 1),
        ("mid_block_type", None),
        ("down_block_types", ["DownBlock2D"] * 4),
        ("class_embed_type", "timestep"),
        ("transformer_layers_per_block", [1, 2, 10, 10]),
        ("block_out_channels", [320, 640, 1280]),
        ("_class_name", "UNet3DConditionModel"),
        ("_class_name", "UNetSpatioTemporalConditionModel"),
        ("addition_embed_type", "text_time"),
        ("time_embedding_act_fn", "silu"),
        ("only_cross_attention", True),
    ],
)
def test_what_the_search_cannot_prune_is_refused_by_name(field, value):
    with pytest.raises(InputError, match=field):
        Backbone.from_config(HUB_SD14 | {field: value})


def test_fine_tuned_widths_are_read_and_the_class_default_fills_a_missing_context():
    config = HUB_SD14 | {"block_out_channels": [256, 512, 1024, 1024]}
    del config["cross_attention_dim"]
    backbone = Backbone.from_config(config)
    assert backbone.block_out_channels == (256, 512, 1024, 1024)
    with torch.device("meta"):
        default = UNet2DConditionModel().config.cross_attention_dim
    assert backbone.cross_attention_dim == default


def test_widths_can_shrink_where_groups_and_heads_divide():
    assert SD14.with_widths((320, 480, 640, 640)).block_out_channels == (320, 480, 640, 640)
    with pytest.raises(InputError, match="level 1"):
        SD14.with_widths((320, 500, 640, 640))


def test_a_width_that_groups_do_not_divide_names_the_level():
    with pytest.raises(ValidationError, match="level 1"):
        Backbone(block_out_channels=(32, 36, 96, 96), norm_num_groups=8, attention_head_dim=2)
