from collections import Counter
from itertools import pairwise

import pytest

from sdsearch.unet.backbone import SD14, TINY
from sdsearch.unet.config import student_path
from sdsearch.unet.slots import SLOTS, SLOTS_BY_NAME
from tests.unets import TEACHER, random_unet


def test_there_are_46_slots_as_the_design_counts_them():
    blocks = Counter(slot.block for slot in SLOTS)
    halves = Counter(slot.half for slot in SLOTS)
    assert len(SLOTS) == len({slot.name for slot in SLOTS}) == 46
    assert halves == {"in": 1, "enc": 17, "mid": 3, "dec": 24, "out": 1}
    assert blocks["mid"] == 3


def test_positions_count_the_operations_of_a_half_level():
    for half, level in {(slot.half, slot.level) for slot in SLOTS}:
        positions = [s.position for s in SLOTS if (s.half, s.level) == (half, level)]
        assert positions == list(range(len(positions)))


def test_the_last_samplers_belong_to_the_bottom():
    unit = {slot.name: slot.unit for slot in SLOTS}
    assert unit["down.2.sample"] == unit["up.0.sample"] == unit["mid.res.0"] == "bottom"
    assert unit["up.1.res.0"] == "level2"
    assert unit["conv_in"] is unit["conv_out"] is None


def test_a_name_says_what_the_fields_say():
    for slot in SLOTS:
        parts = {"sample": [slot.kind], "conv_in": [], "conv_out": []}
        own = parts.get(slot.kind, [slot.kind, str(slot.layer)])
        assert slot.name == ".".join([slot.block, *own])


def test_a_res_block_names_the_attention_that_runs_next():
    for slot, following in pairwise(SLOTS):
        reads = following.kind == "attn"
        assert slot.attention == (following.name if reads else None)
        assert (following.block, following.layer) == (slot.block, slot.layer) or not reads


def test_channels_are_those_of_the_real_convolutions():
    unet = random_unet()
    for slot in SLOTS:
        module = unet.get_submodule(student_path(slot, TEACHER))
        if slot.kind == "res":
            expected = (module.conv1.in_channels, module.conv2.out_channels)
        elif slot.kind == "attn":
            expected = (module.proj_in.in_channels, module.proj_out.out_channels)
        else:
            conv = getattr(module, "conv", module)
            expected = (conv.in_channels, conv.out_channels)
        assert (slot.in_channels(TINY), slot.out_channels(TINY)) == expected, slot.name


@pytest.mark.parametrize(("name", "channels"), [("up.2.res.0", 1920), ("up.3.res.2", 640)])
def test_decoder_blocks_read_the_skip_too(name, channels):
    assert SLOTS_BY_NAME[name].in_channels(SD14) == channels
