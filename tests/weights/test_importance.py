import numpy as np
import pytest
import torch

from sdsearch.errors import InputError
from sdsearch.weights.channels import ChannelChoice, channel_choices
from sdsearch.weights.importance import (
    best_channels,
    check_channels,
    choose_channels,
    l2_importance,
)
from tests.unets import GRADED, TEACHER, random_unet, random_wide_members, widened


@pytest.fixture(scope="module")
def teacher_state():
    return random_unet(backbone=GRADED, seed=3).state_dict()


def test_the_best_of_every_group_are_kept_in_the_teachers_order():
    choice = ChannelChoice("x", 8, 4, 2, (0, 4), "x")
    score = np.array([1.0, 5.0, 2.0, 4.0, 9.0, 9.0, 9.0, 9.5])
    assert best_channels(choice, score).tolist() == [1, 3, 4, 7]
    assert best_channels(choice, np.zeros(8)).tolist() == [0, 1, 4, 5]


def test_cells_share_a_group_in_proportion():
    choice = ChannelChoice("x", 12, 6, 1, (0, 8), "x")
    score = np.array([9.0] * 8 + [1.0] * 4)
    assert best_channels(choice, score).tolist() == [0, 1, 2, 3, 8, 9]


def test_a_narrower_choice_is_part_of_a_wider_one(teacher_state):
    scores = l2_importance(GRADED, teacher_state, {"level.2"})["level.2"]
    kept = set()
    for width in range(8, 97, 8):
        choice = channel_choices(widened(TEACHER, (32, 64, width, 96)), GRADED)["level.2"]
        wider = set(best_channels(choice, scores).tolist())
        assert kept < wider
        kept = wider


def test_every_choice_is_admissible_and_repeatable(teacher_state):
    for arch in random_wide_members(20, seed=36):
        choices = channel_choices(arch, GRADED)
        for rule in ("l2", "leading"):
            kept = choose_channels(arch, GRADED, teacher_state, rule)
            check_channels(choices, kept)
            again = choose_channels(arch, GRADED, teacher_state, rule)
            assert all(np.array_equal(kept[name], again[name]) for name in kept)


def test_members_of_the_teachers_widths_need_no_choice_and_no_weights():
    assert choose_channels(TEACHER, GRADED, {}) == {}


def test_importance_is_the_joint_norm_of_all_that_writes_or_reads(teacher_state):
    scores = l2_importance(GRADED, teacher_state, {"down.0.res.0.hidden", "level.2", "level.1"})
    at = "down_blocks.0.resnets.0"
    squares = teacher_state[f"{at}.conv1.weight"].double().square().sum((1, 2, 3))
    squares += teacher_state[f"{at}.time_emb_proj.weight"].double().square().sum(1)
    squares += teacher_state[f"{at}.conv2.weight"].double().square().sum((0, 2, 3))
    assert np.allclose(scores["down.0.res.0.hidden"], squares.sqrt().numpy(), rtol=1e-5)


def test_a_channel_that_counts_more_is_kept_in_every_tensor_of_its_stream(teacher_state):
    state = {name: tensor.clone() for name, tensor in teacher_state.items()}
    state["down_blocks.1.resnets.1.conv2.weight"][13] *= 100
    arch = widened(TEACHER, (32, 8, 96, 96))
    kept = choose_channels(arch, GRADED, state)["level.1"]
    assert 13 in kept
    state["down_blocks.1.resnets.1.conv2.weight"][13] = 0
    state["up_blocks.2.resnets.0.conv2.weight"][13] *= 0.01
    scores = l2_importance(GRADED, state, {"level.1"})["level.1"]
    assert scores[13] == scores.min()


def test_geglu_halves_count_together(teacher_state):
    pool = "down.0.attn.0.ff"
    at = "down_blocks.0.attentions.0.transformer_blocks.0.ff.net"
    up = teacher_state[f"{at}.0.proj.weight"].double().square().sum(1)
    down = teacher_state[f"{at}.2.weight"].double().square().sum(0)
    expected = (up[:128] + up[128:] + down).sqrt()
    found = l2_importance(GRADED, teacher_state, {pool})[pool]
    assert np.allclose(found, expected.numpy(), rtol=1e-5)


def test_a_teacher_of_other_widths_is_refused(teacher_state):
    wider = GRADED.model_copy(update={"block_out_channels": (32, 64, 128, 128)})
    with pytest.raises(InputError, match="channels"):
        l2_importance(wider, teacher_state, {"level.2"})
    with pytest.raises(InputError, match="no tensor"):
        l2_importance(GRADED, {"x": torch.zeros(1)}, {"level.2"})


def test_levels_joined_by_an_identity_must_keep_the_same_channels(teacher_state):
    arch = widened(TEACHER, (32, 64, 48, 48))
    kept = choose_channels(arch, GRADED, teacher_state)
    assert np.array_equal(kept["level.2"], kept["level.3"])
    other = choose_channels(arch, GRADED, {}, "leading")
    assert not np.array_equal(kept["level.2"], other["level.3"])
    with pytest.raises(InputError, match="identity joins"):
        check_channels(channel_choices(arch, GRADED), kept | {"level.3": other["level.3"]})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda kept: kept | {"level.9": kept["level.1"]}, "no channel choice 'level.9'"),
        (lambda kept: {k: v for k, v in kept.items() if k != "level.1"}, "none are"),
        (lambda kept: kept | {"level.1": kept["level.1"][:-1]}, "distinct"),
        (lambda kept: kept | {"level.1": np.zeros(32, int)}, "distinct"),
        (lambda kept: kept | {"level.1": np.arange(40, 72)}, r"in \[0, 64\)"),
        (lambda kept: kept | {"level.1": np.arange(32)}, "8 groups"),
        (lambda kept: kept | {"level.1": kept["level.1"][::-1].copy()}, "8 groups"),
    ],
)
def test_channels_that_tear_groups_apart_are_refused(change, reason):
    arch = widened(TEACHER, (32, 32, 96, 96))
    kept = choose_channels(arch, GRADED, {}, "leading")
    with pytest.raises(InputError, match=reason):
        check_channels(channel_choices(arch, GRADED), change(kept))


def test_an_unknown_rule_of_channels_is_refused_for_members_of_every_width():
    with pytest.raises(InputError, match="must be one of l2, leading, but is 'foo'"):
        choose_channels(TEACHER, GRADED, {}, "foo")
