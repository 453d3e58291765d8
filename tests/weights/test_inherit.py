import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import Timesteps
from safetensors.torch import save_file

from sdsearch.errors import InputError
from sdsearch.space.space import search_space
from sdsearch.unet.architecture import Architecture, Bottom, Level
from sdsearch.unet.config import student_path
from sdsearch.unet.slots import SLOTS, SLOTS_BY_NAME
from sdsearch.weights.channels import channel_choices
from sdsearch.weights.importance import choose_channels
from sdsearch.weights.inherit import frequency_resampling, inherit_weights, make_unet
from sdsearch.weights.provenance import trace_weights
from sdsearch.weights.tensorfiles import TensorFiles
from tests.unets import (
    GRADED,
    TEACHER,
    hard_members,
    inputs,
    lively_unet,
    predict,
    random_members,
    random_unet,
    random_wide_members,
    widened,
)

MEMBERS = search_space("sd14").members


@pytest.fixture(scope="module")
def teacher():
    return random_unet(backbone=GRADED, seed=3)


@pytest.fixture(scope="module")
def teacher_state(teacher):
    return teacher.state_dict()


@pytest.fixture(scope="module")
def lively_state():
    return lively_unet(GRADED, seed=4).state_dict()


def largest_difference(found, expected):
    return (found - expected).abs().max().item()


@pytest.mark.parametrize(
    "arch", [*hard_members(), *random_members(10, seed=31)], ids=lambda arch: arch.key
)
def test_every_student_tensor_has_a_source_of_its_shape(arch, teacher_state):
    sources = trace_weights(arch, GRADED)
    student = inherit_weights(arch, GRADED, teacher_state).state_dict()
    assert sources.keys() == student.keys()
    for name, tensor in student.items():
        if sources[name].tensor is None:
            assert not tensor.any()
        else:
            assert torch.equal(tensor, teacher_state[sources[name].tensor]), name


def test_the_unpruned_member_is_the_teacher_bit_for_bit(teacher, teacher_state):
    student = inherit_weights(TEACHER, GRADED, teacher_state)
    assert torch.equal(predict(student, *inputs()), predict(teacher, *inputs()))


def test_the_student_does_not_share_memory_with_the_teacher(teacher_state):
    student = inherit_weights(TEACHER, GRADED, teacher_state)
    before = teacher_state["conv_in.weight"].clone()
    with torch.no_grad():
        student.conv_in.weight.zero_()
    assert torch.equal(teacher_state["conv_in.weight"], before)


@pytest.mark.parametrize("arch", hard_members()[4:], ids=lambda arch: arch.key)
def test_ghosts_are_an_exact_identity(arch, teacher_state):
    unet = inherit_weights(arch, GRADED, teacher_state)
    passed = []
    for name in arch.ghost_slots:
        module = unet.get_submodule(student_path(SLOTS_BY_NAME[name], arch))
        module.register_forward_hook(lambda _, a, out: passed.append(torch.equal(a[0], out[0])))
    assert torch.isfinite(predict(unet, *inputs())).all()
    assert len(passed) == len(arch.ghost_slots) > 0
    assert all(passed)


def test_four_input_channels_become_nine_by_zeros():
    four = GRADED.model_copy(update={"in_channels": 4})
    teacher = random_unet(backbone=four, seed=5)
    student = inherit_weights(TEACHER, GRADED, teacher.state_dict())
    weight = student.conv_in.weight
    assert torch.equal(weight[:, :4], teacher.conv_in.weight)
    assert not weight[:, 4:].any()
    latent, step, prompt = inputs()
    expected = predict(teacher, latent[:, :4].contiguous(), step, prompt)
    assert largest_difference(predict(student, latent, step, prompt), expected) == 0.0


@pytest.mark.parametrize("seed", range(6))
def test_a_member_that_only_loses_attentions_is_the_teacher_with_them_bypassed(seed):
    rng = np.random.default_rng(seed)
    levels = [
        Level(
            depth=2,
            down_attn=tuple(rng.random(2) < 0.5),
            up_attn=tuple(rng.random(3) < 0.5),
        )
        for _ in range(3)
    ]
    if seed == 0:  # Whole half-levels without any: another block class.
        levels[1] = Level(depth=2, down_attn=(False, False), up_attn=(False, False, False))
    arch = Architecture(levels=tuple(levels), bottom=Bottom(depth=2, mid="attention"))
    teacher = lively_unet(GRADED, seed=4)
    student = inherit_weights(arch, GRADED, teacher.state_dict())
    removed = [slot for slot in SLOTS if slot.kind == "attn" and slot.name not in arch.kept_slots]
    assert removed
    before = predict(teacher, *inputs())
    for slot in removed:
        module = teacher.get_submodule(student_path(slot, TEACHER))
        module.register_forward_hook(lambda _, given, __: (given[0],))
    bypassed = predict(teacher, *inputs())
    assert largest_difference(before, bypassed) > 1e-3
    assert largest_difference(predict(student, *inputs()), bypassed) == 0.0


def test_a_teacher_without_a_tensor_is_refused_by_name(teacher_state):
    broken = {k: v for k, v in teacher_state.items() if k != "mid_block.resnets.0.conv1.weight"}
    with pytest.raises(InputError, match=r"mid_block\.resnets\.0\.conv1\.weight"):
        inherit_weights(TEACHER, GRADED, broken)


def test_a_teacher_of_another_width_is_refused(teacher_state):
    wider = GRADED.model_copy(update={"block_out_channels": (32, 64, 128, 128)})
    with pytest.raises(InputError, match="shape"):
        inherit_weights(TEACHER, wider, teacher_state)


def test_a_teacher_with_more_input_channels_than_the_backbone_is_refused(teacher_state):
    four = GRADED.model_copy(update={"in_channels": 4})
    with pytest.raises(InputError, match="conv_in"):
        inherit_weights(TEACHER, four, teacher_state)


def admissible_order(choice, rng):
    """All channels of a choice, shuffled inside every cell."""
    ends = [*choice.cells[1:], choice.teacher]
    cells = [np.arange(a, b) for a, b in zip(choice.cells, ends, strict=True)]
    return np.concatenate([rng.permutation(cell) for cell in cells])


@pytest.mark.parametrize("arch", [TEACHER, *hard_members()[1::3]], ids=lambda arch: arch.key)
def test_with_all_widths_kept_any_admissible_order_is_the_same_net(arch, lively_state):
    rng = np.random.default_rng(7)
    expected = predict(inherit_weights(arch, GRADED, lively_state), *inputs())
    wide = widened(arch, GRADED.block_out_channels)
    assert torch.equal(predict(inherit_weights(wide, GRADED, lively_state), *inputs()), expected)
    choices = channel_choices(wide, GRADED)
    for _ in range(3):
        kept = {name: admissible_order(choice, rng) for name, choice in choices.items()}
        if "level.3" in kept:  # An identity joins the streams of levels 2 and 3.
            kept["level.3"] = kept["level.2"]
        student = inherit_weights(wide, GRADED, lively_state, kept)
        changed = student.state_dict()["down_blocks.0.resnets.0.conv1.weight"]
        assert not torch.equal(changed, lively_state["down_blocks.0.resnets.0.conv1.weight"])
        assert largest_difference(predict(student, *inputs()), expected) <= 1e-5


def test_an_order_that_tears_heads_apart_is_another_net(lively_state):
    """The counterpart: what the admissible orders leave out does change the output."""
    state = dict(lively_state)
    at = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    for part in ("to_q.weight", "to_k.weight"):
        state[f"{at}.{part}"] = state[f"{at}.{part}"].roll(8, dims=0)
    expected = predict(inherit_weights(TEACHER, GRADED, lively_state), *inputs())
    assert (
        largest_difference(predict(inherit_weights(TEACHER, GRADED, state), *inputs()), expected)
        > 1e-4
    )


@pytest.mark.parametrize("rule", ["l2", "leading"])
def test_narrow_members_run_and_keep_their_heads(rule, teacher_state):
    for arch in random_wide_members(12, seed=38, backbone=GRADED):
        unet = inherit_weights(arch, GRADED, teacher_state, rule)
        output = predict(unet, *inputs())
        assert output.shape == (1, 4, 16, 16)
        assert torch.isfinite(output).all()
        attentions = [m for n, m in unet.named_modules() if n.endswith((".attn1", ".attn2"))]
        assert {attention.heads for attention in attentions} == {2}


def test_a_narrow_members_tensors_are_the_teachers_at_the_channels_kept(teacher_state):
    arch = widened(TEACHER, (16, 32, 48, 96))
    kept = choose_channels(arch, GRADED, teacher_state)
    student = inherit_weights(arch, GRADED, teacher_state).state_dict()
    choices = channel_choices(arch, GRADED)

    def indices(axis):
        parts, offset = [], 0
        for name in axis:
            parts.append(kept.get(name, np.arange(choices[name].teacher)) + offset)
            offset += choices[name].teacher
        return np.concatenate(parts)

    for name, source in trace_weights(arch, GRADED).items():
        if source.how != "copy":
            continue
        expected = teacher_state[source.tensor].numpy()
        for dimension, axis in enumerate(source.axes):
            if axis:
                expected = np.take(expected, indices(axis), axis=dimension)
        assert np.array_equal(student[name].numpy(), expected), name


def test_the_shortcut_that_unequal_widths_need_passes_the_kept_channels_on(teacher_state):
    arch = widened(TEACHER, (32, 64, 96, 48))
    weight = (
        inherit_weights(arch, GRADED, teacher_state).down_blocks[3].resnets[0].conv_shortcut.weight
    )
    channels = choose_channels(arch, GRADED, teacher_state)["level.3"]
    stream = torch.arange(96.0)[None, :, None, None]
    assert torch.equal(torch.conv2d(stream, weight).flatten(), torch.from_numpy(channels).float())


def test_narrow_halves_of_equal_levels_nest_so_that_an_identity_is_kept(teacher_state):
    arch = widened(TEACHER, (32, 64, 48, 72))
    weight = (
        inherit_weights(arch, GRADED, teacher_state).down_blocks[3].resnets[0].conv_shortcut.weight
    )
    assert weight.sum() == 48
    assert weight.sum(0).max() == weight.sum(1).max() == 1


def test_resampled_frequencies_keep_slow_sinusoids_better_than_cut_ones():
    spread = frequency_resampling(320, 160)
    assert spread.shape == (160, 320)
    assert torch.allclose(spread.sum(0), torch.ones(320))
    assert torch.equal(frequency_resampling(32, 32), torch.eye(32))
    weights = torch.randn(64, 320, generator=torch.Generator().manual_seed(2))
    weights[:, :60] = weights[:, 160:220] = 0  # Slow frequencies alone.
    steps = torch.arange(0, 1000, 50)
    wide = Timesteps(320, flip_sin_to_cos=True, downscale_freq_shift=0)(steps)
    few = Timesteps(160, flip_sin_to_cos=True, downscale_freq_shift=0)(steps)
    expected = wide @ weights.T
    error = (few @ (weights @ spread.T).T - expected).square().mean()
    halves = torch.cat([weights[:, :80], weights[:, 160:240]], dim=1)
    cut = (few @ halves.T - expected).square().mean()
    assert error < 0.02 * expected.square().mean()
    assert error < 0.1 * cut


def test_a_width_without_pairs_of_sinusoids_is_refused():
    with pytest.raises(InputError, match="even width"):
        frequency_resampling(32, 15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_file_gives_the_same_student_as_its_tensors(dtype, teacher_state, tmp_path):
    path = tmp_path / "teacher.safetensors"
    stored = {name: tensor.to(dtype) for name, tensor in teacher_state.items()}
    save_file(stored, path)
    for arch in (MEMBERS["bk-tiny"], hard_members()[5], widened(TEACHER, (16, 32, 48, 48))):
        student = inherit_weights(arch, GRADED, TensorFiles(path)).state_dict()
        for name, tensor in inherit_weights(arch, GRADED, stored).state_dict().items():
            assert tensor.dtype == torch.float32
            assert torch.equal(student[name], tensor), name


def test_a_file_cut_short_is_refused(teacher_state, tmp_path):
    path = tmp_path / "teacher.safetensors"
    save_file(dict(teacher_state), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="cut short"):
        inherit_weights(TEACHER, GRADED, TensorFiles(path))


@pytest.mark.slow
def test_students_survive_a_round_trip_through_the_stock_class(teacher_state, tmp_path):
    members = [*random_members(25, seed=39), *random_wide_members(25, seed=40, backbone=GRADED)]
    for arch in members:
        student = inherit_weights(arch, GRADED, teacher_state)
        student.save_pretrained(tmp_path / arch.key)
        loaded = UNet2DConditionModel.from_pretrained(tmp_path / arch.key).eval()
        meant, found = student.state_dict(), loaded.state_dict()
        assert meant.keys() == found.keys()
        assert all(torch.equal(meant[name], found[name]) for name in meant)
        expected = predict(student, *inputs())
        assert largest_difference(predict(loaded, *inputs()), expected) <= 1e-5
        # Memory-mapped weights are aligned differently; in fresh memory nothing differs.
        fresh = make_unet(arch, GRADED)
        fresh.load_state_dict(found)
        assert torch.equal(predict(fresh, *inputs()), expected)
