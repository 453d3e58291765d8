import pytest
import torch

from sdsearch.backbone import TINY
from sdsearch.errors import InputError
from sdsearch.space import search_space
from sdsearch.unet_config import student_path
from sdsearch.weights import inherit, provenance
from tests.unets import TEACHER, hard_members, inputs, predict, random_members, random_unet

MEMBERS = search_space("sd14").members


@pytest.fixture(scope="module")
def teacher():
    return random_unet(seed=3)


@pytest.fixture(scope="module")
def teacher_state(teacher):
    return teacher.state_dict()


@pytest.mark.parametrize(
    "arch", [*hard_members(), *random_members(10, seed=31)], ids=lambda arch: arch.key
)
def test_every_student_tensor_has_a_source_of_its_shape(arch, teacher_state):
    sources = provenance(arch, TINY)
    student = inherit(arch, TINY, teacher_state).state_dict()
    assert sources.keys() == student.keys()
    for name, tensor in student.items():
        if sources[name].tensor is None:
            assert not tensor.any()
        else:
            assert torch.equal(tensor, teacher_state[sources[name].tensor]), name


def test_only_output_projections_of_ghosts_are_zero():
    for arch in [*hard_members(), *random_members(20, seed=32)]:
        zero = {name for name, s in provenance(arch, TINY).items() if s.tensor is None}
        paths = {student_path(slot, arch) for slot in arch.ghost_slots}
        assert zero == {f"{path}.proj_out.{part}" for path in paths for part in ("weight", "bias")}


def test_the_unpruned_member_is_the_teacher_bit_for_bit(teacher, teacher_state):
    student = inherit(TEACHER, TINY, teacher_state)
    assert torch.equal(predict(student, *inputs()), predict(teacher, *inputs()))


def test_the_student_does_not_share_memory_with_the_teacher(teacher_state):
    student = inherit(TEACHER, TINY, teacher_state)
    before = teacher_state["conv_in.weight"].clone()
    with torch.no_grad():
        student.conv_in.weight.zero_()
    assert torch.equal(teacher_state["conv_in.weight"], before)


@pytest.mark.parametrize("arch", hard_members()[4:], ids=lambda arch: arch.key)
def test_ghosts_are_an_exact_identity(arch, teacher_state):
    unet = inherit(arch, TINY, teacher_state)
    passed = []
    for slot in arch.ghost_slots:
        module = unet.get_submodule(student_path(slot, arch))
        module.register_forward_hook(lambda _, a, out: passed.append(torch.equal(a[0], out[0])))
    assert torch.isfinite(predict(unet, *inputs())).all()
    assert len(passed) == len(arch.ghost_slots) > 0
    assert all(passed)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ("up_blocks.0.resnets.0.conv1.weight", "up_blocks.1.resnets.0.conv1.weight"),
        ("up_blocks.0.resnets.1.conv1.weight", "up_blocks.1.resnets.2.conv1.weight"),
        ("up_blocks.2.attentions.1.proj_in.bias", "up_blocks.3.attentions.2.proj_in.bias"),
        ("up_blocks.1.upsamplers.0.conv.bias", "up_blocks.2.upsamplers.0.conv.bias"),
        ("down_blocks.2.resnets.0.conv1.weight", "down_blocks.2.resnets.0.conv1.weight"),
    ],
)
def test_bk_tiny_inherits_by_the_published_map(student, teacher):
    assert provenance(MEMBERS["bk-tiny"], TINY)[student].tensor == teacher


@pytest.mark.parametrize("name", ["bk-base", "bk-small"])
def test_the_second_decoder_block_comes_from_the_teachers_third(name):
    for student, source in provenance(MEMBERS[name], TINY).items():
        moved = student.startswith("up_blocks.") and ".1." in student[len("up_blocks.0") :][:14]
        if moved and student.split(".")[2] in ("resnets", "attentions"):
            kind = student.split(".")[2]
            assert source.tensor == student.replace(f".{kind}.1.", f".{kind}.2.")


def test_four_input_channels_become_nine_by_zeros():
    four = TINY.model_copy(update={"in_channels": 4})
    teacher = random_unet(backbone=four, seed=5)
    student = inherit(TEACHER, TINY, teacher.state_dict())
    weight = student.conv_in.weight
    assert torch.equal(weight[:, :4], teacher.conv_in.weight)
    assert not weight[:, 4:].any()
    latent, step, prompt = inputs()
    expected = predict(teacher, latent[:, :4], step, prompt)
    # Not bit-equal: a wider convolution adds its (zero) terms in another order.
    assert torch.allclose(predict(student, latent, step, prompt), expected, atol=1e-5)
    assert provenance(TEACHER, TINY, 4)["conv_in.weight"].zero_channels == 5


def test_a_teacher_without_a_tensor_is_refused_by_name(teacher_state):
    broken = {k: v for k, v in teacher_state.items() if k != "mid_block.resnets.0.conv1.weight"}
    with pytest.raises(InputError, match=r"mid_block\.resnets\.0\.conv1\.weight"):
        inherit(TEACHER, TINY, broken)


def test_a_teacher_of_another_width_is_refused(teacher_state):
    wider = TINY.model_copy(update={"block_out_channels": (32, 64, 128, 128)})
    with pytest.raises(InputError, match="shape"):
        inherit(TEACHER, wider, teacher_state)


def test_a_teacher_with_more_input_channels_than_the_backbone_is_refused(teacher_state):
    four = TINY.model_copy(update={"in_channels": 4})
    with pytest.raises(InputError, match="conv_in"):
        inherit(TEACHER, four, teacher_state)
