import json

import pytest
import torch
from diffusers import UNet2DConditionModel

from sdsearch.errors import InputError
from sdsearch.space.space import search_space
from sdsearch.unet.architecture import Architecture
from sdsearch.unet.backbone import SD14, TINY
from sdsearch.unet.config import student_path, unet_config
from sdsearch.unet.slots import SLOTS, SLOTS_BY_NAME
from tests.unets import TEACHER, hard_members, inputs, predict, random_members, random_unet

MEMBERS = search_space("sd14").members


@pytest.mark.parametrize(
    "arch", [*hard_members(), *random_members(3, seed=21)], ids=lambda arch: arch.key
)
def test_a_saved_member_reloads_with_identical_outputs(arch, tmp_path):
    unet = random_unet(arch)
    unet.save_pretrained(tmp_path)
    # Fresh memory: mapped weights differ by their alignment in the last bit.
    again, loading = UNet2DConditionModel.from_pretrained(tmp_path, output_loading_info=True)
    fresh = random_unet(arch, seed=9)
    fresh.load_state_dict(again.state_dict(), strict=True)
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.equal(predict(fresh, *inputs()), predict(unet, *inputs()))


def test_a_config_is_what_json_holds():
    for arch in [*hard_members(), *random_members(30, seed=22)]:
        config = unet_config(arch, SD14)
        assert json.loads(json.dumps(config)) == config
        assert "num_attention_heads" not in config


def test_a_member_without_mixed_attention_has_a_plain_config():
    for arch in [*MEMBERS.values(), *random_members(200, seed=23)]:
        nested = "transformer_layers_per_block" in unet_config(arch, SD14)
        assert nested == bool(arch.ghost_slots)


def test_bk_tiny_has_the_published_config():
    config = unet_config(MEMBERS["bk-tiny"], SD14)
    assert config["block_out_channels"] == [320, 640, 1280]
    assert config["down_block_types"] == ["CrossAttnDownBlock2D"] * 3
    assert config["up_block_types"] == ["CrossAttnUpBlock2D"] * 3
    assert config["mid_block_type"] is None
    assert config["layers_per_block"] in (1, [1, 1, 1])


def test_depths_are_one_number_where_converters_can_compute_with_it():
    assert unet_config(MEMBERS["teacher"], SD14)["layers_per_block"] == 2
    mixed = Architecture.parse("level 1: depth 1")
    assert unet_config(mixed, SD14)["layers_per_block"] == [2, 1, 2, 2]


def test_a_mid_block_with_attention_keeps_its_transformer_beside_ghosts():
    archs = [a for a in hard_members() if a.bottom.mid == "attention" and a.ghost_slots]
    assert archs
    for arch in archs:
        unet = random_unet(arch)
        assert len(unet.mid_block.attentions[0].transformer_blocks) == 1


def test_a_resnet_mid_block_is_one_residual_block():
    arch = next(a for a in hard_members() if a.bottom.mid == "resnet")
    mid = random_unet(arch).mid_block
    assert len(mid.resnets) == 1
    assert not any(mid.attentions)


def check_student_paths(arch):
    """The paths of kept and ghost slots are the blocks of diffusers' own UNet, each of its kind."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(unet_config(arch, TINY))
    kinds = {
        "ResnetBlock2D": "res",
        "Transformer2DModel": "attn",
        "Downsample2D": "sample",
        "Upsample2D": "sample",
    }
    classes = {name: type(module).__name__ for name, module in unet.named_modules()}
    found = {name: kinds[of] for name, of in classes.items() if of in kinds}
    present = [slot for slot in SLOTS if slot.name in arch.kept_slots | arch.ghost_slots]
    named = {student_path(slot, arch): slot.kind for slot in present}
    assert len(named) == len(present)
    assert named == found | {"conv_in": "conv_in", "conv_out": "conv_out"}


@pytest.mark.parametrize(
    "arch", [*hard_members(), *random_members(10, seed=24)], ids=lambda arch: arch.key
)
def test_student_paths_name_every_block_of_the_unet_once(arch):
    check_student_paths(arch)


@pytest.mark.slow
def test_student_paths_of_200_random_members_name_every_block_of_their_unets_once():
    for arch in random_members(200, seed=25):
        check_student_paths(arch)


@pytest.mark.parametrize(
    ("name", "slot", "path"),
    [
        ("teacher", "up.0.res.2", "up_blocks.0.resnets.2"),
        ("bk-base", "up.0.res.2", "up_blocks.0.resnets.1"),
        ("bk-tiny", "up.1.attn.2", "up_blocks.0.attentions.1"),
        ("bk-tiny", "up.2.sample", "up_blocks.1.upsamplers.0"),
        ("teacher", "mid.res.1", "mid_block.resnets.1"),
        ("teacher", "down.2.sample", "down_blocks.2.downsamplers.0"),
    ],
)
def test_a_slot_keeps_its_name_where_the_module_moves(name, slot, path):
    assert student_path(SLOTS_BY_NAME[slot], MEMBERS[name]) == path


@pytest.mark.parametrize("slot", ["up.0.res.2", "down.2.sample", "up.1.res.1", "mid.res.0"])
def test_a_removed_slot_has_no_path(slot):
    assert slot in TEACHER.kept_slots
    with pytest.raises(InputError, match=slot):
        student_path(SLOTS_BY_NAME[slot], MEMBERS["bk-tiny"])
