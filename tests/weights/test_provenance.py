import json

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from sdsearch.errors import InputError
from sdsearch.space.space import search_space
from sdsearch.unet.backbone import SD14, SD14_INPAINT
from sdsearch.unet.config import student_path, unet_config
from sdsearch.unet.slots import SLOTS_BY_NAME
from sdsearch.weights.channels import channel_choices
from sdsearch.weights.importance import choose_channels
from sdsearch.weights.provenance import (
    lost_shortcuts,
    provenance_document,
    read_channels,
    trace_weights,
)
from tests.unets import GRADED, TEACHER, hard_members, random_members, random_wide_members, widened

MEMBERS = search_space("sd14").members


def shapes(arch, backbone):
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(unet_config(arch, backbone))
    return {name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()}


def expected_shape(source, student, choices):
    axes = source.axes + ((),) * (len(student) - len(source.axes))
    return tuple(
        sum(choices[name].student for name in axis) if axis else side
        for axis, side in zip(axes, student, strict=True)
    )


def teacher_shape(source, student, choices):
    axes = source.axes + ((),) * (len(student) - len(source.axes))
    shape = [
        sum(choices[name].teacher for name in axis) if axis else side
        for axis, side in zip(axes, student, strict=True)
    ]
    if source.how == "resample":
        shape[1] = choices["level.0"].teacher
    return tuple(shape)


def check_accounted(arch, backbone, teacher_shapes):
    sources, student = trace_weights(arch, backbone), shapes(arch, backbone)
    choices = channel_choices(arch, backbone)
    assert sources.keys() == student.keys()
    for name, source in sources.items():
        assert expected_shape(source, student[name], choices) == student[name], name
        if source.tensor is not None:
            found = teacher_shape(source, student[name], choices)
            assert found == teacher_shapes[source.tensor], name
        else:
            assert source.how in ("zero", "identity"), name


@pytest.mark.parametrize("n", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_every_tensor_of_random_members_is_accounted_for(n):
    teacher = shapes(TEACHER, GRADED)
    for arch in random_members(n, seed=33):
        check_accounted(arch, GRADED, teacher)
    for arch in random_wide_members(n, seed=34, backbone=GRADED):
        check_accounted(arch, GRADED, teacher)


def test_every_tensor_at_full_size_is_accounted_for():
    teacher = shapes(TEACHER, SD14)
    for arch in [hard_members()[7], *random_wide_members(4, seed=35, backbone=SD14)]:
        check_accounted(arch, SD14, teacher)


def test_only_output_projections_of_ghosts_are_zero():
    for arch in [*hard_members(), *random_members(20, seed=32)]:
        zero = {name for name, s in trace_weights(arch, GRADED).items() if s.tensor is None}
        paths = {student_path(SLOTS_BY_NAME[name], arch) for name in arch.ghost_slots}
        assert zero == {f"{path}.proj_out.{part}" for path in paths for part in ("weight", "bias")}


def published_source(name, tiny):
    """The BK-SDM map as peers.md 3.1 words it: stages shift, pair 1 comes from the third."""
    side, *rest = name.split(".")
    if side != "up_blocks":
        return name
    stage, kind, layer = int(rest[0]), rest[1], rest[2]
    if kind in ("resnets", "attentions") and layer == "1":
        layer = "2"
    return ".".join([side, str(stage + tiny), kind, layer, *rest[3:]])


@pytest.mark.parametrize("backbone", [SD14, GRADED], ids=["sd14", "tiny"])
@pytest.mark.parametrize("name", ["bk-base", "bk-small", "bk-tiny"])
def test_the_published_members_inherit_by_the_published_map(name, backbone):
    for student, source in trace_weights(MEMBERS[name], backbone).items():
        assert source.tensor == published_source(student, tiny=name == "bk-tiny")
        assert source.how == "copy"


def test_the_published_counts_of_moved_tensors_hold():
    moved = [n for n, s in trace_weights(MEMBERS["bk-base"], SD14).items() if n != s.tensor]
    assert len(moved) == 126
    counts = shapes(MEMBERS["bk-base"], SD14)
    assert sum(int(np.prod(counts[name])) for name in moved) == 150_669_760


def test_a_nine_channel_student_says_which_input_channels_are_zero():
    source = trace_weights(MEMBERS["bk-tiny"], SD14_INPAINT, 4)["conv_in.weight"]
    assert (source.tensor, source.zero_channels) == ("conv_in.weight", 5)
    assert trace_weights(MEMBERS["bk-tiny"], SD14_INPAINT)["conv_in.weight"].zero_channels == 0
    with pytest.raises(InputError, match="conv_in"):
        trace_weights(MEMBERS["bk-tiny"], SD14, 9)


def test_the_mid_block_of_a_three_level_net_is_sliced_by_level_2():
    arch = next(a for a in hard_members() if a.bottom.depth is None and a.bottom.mid == "resnet")
    sources = trace_weights(widened(arch, (32, 64, 48, 48)), GRADED)
    assert sources["mid_block.resnets.0.conv1.weight"].axes == (("mid.res.0.hidden",), ("level.2",))
    assert sources["mid_block.resnets.0.conv2.bias"].axes == (("level.2",),)
    assert sources["up_blocks.0.resnets.0.norm1.weight"].axes == (("level.2", "level.2"),)


def test_unequal_widths_without_a_teacher_shortcut_get_an_identity():
    sources = trace_weights(widened(TEACHER, (32, 64, 96, 48)), GRADED)
    name = "down_blocks.3.resnets.0.conv_shortcut"
    assert sources[f"{name}.weight"].how == "identity"
    assert sources[f"{name}.bias"].how == "zero"


def test_shortcuts_that_equal_widths_have_no_place_for_are_told():
    arch = widened(TEACHER, (32, 32, 64, 64))
    lost = lost_shortcuts(arch, GRADED)
    assert lost == [f"down_blocks.1.resnets.0.conv_shortcut.{p}" for p in ("weight", "bias")]
    assert lost_shortcuts(TEACHER, GRADED) == []


def test_the_document_lists_every_tensor_and_is_json():
    for arch in (MEMBERS["bk-base"], hard_members()[5]):
        document = provenance_document(arch, GRADED)
        assert document["tensors"].keys() == trace_weights(arch, GRADED).keys()
        assert document["channels"] == {}
        assert json.loads(json.dumps(document)) == document


def test_the_document_of_a_narrow_member_tells_the_slices():
    arch = widened(TEACHER, (32, 64, 96, 48))
    kept = choose_channels(arch, GRADED, {}, "leading")
    document = json.loads(json.dumps(provenance_document(arch, GRADED, kept)))
    mid = document["tensors"]["mid_block.resnets.0.conv1.weight"]
    assert mid == {
        "teacher": "mid_block.resnets.0.conv1.weight",
        "slice": ["mid.res.0.hidden", "level.3"],
    }
    hidden = document["channels"]["mid.res.0.hidden"]
    assert hidden["of"] == 96
    assert hidden["kept"].startswith("0-5,12-17,24-29")
    new = document["tensors"]["down_blocks.3.resnets.0.conv_shortcut.weight"]
    assert new["new"].startswith("identity")
    assert document["tensors"]["down_blocks.3.resnets.0.conv_shortcut.bias"] == {"zero": True}
    with pytest.raises(InputError, match="choose_channels"):
        provenance_document(arch, GRADED)


def test_the_channels_of_a_document_are_read_as_they_were_chosen():
    arch = widened(TEACHER, (24, 48, 48, 96))
    kept = choose_channels(arch, GRADED, {}, "leading")
    kept["level.0"] = kept["level.0"][[1, 0, *range(2, 24)]]  # any order of theirs
    found = read_channels(json.loads(json.dumps(provenance_document(arch, GRADED, kept))))
    assert found.keys() == kept.keys()
    for name, channels in kept.items():
        assert found[name].tolist() == channels.tolist()
    assert read_channels(provenance_document(TEACHER, GRADED)) == {}


@pytest.mark.parametrize("said", ["", "a-b", "3-1", "0-99999999999", "1,,2", None])
def test_channels_that_are_no_runs_are_refused(said):
    with pytest.raises(InputError, match="export again"):
        read_channels({"channels": {"level.0": {"of": 32, "kept": said}}})
