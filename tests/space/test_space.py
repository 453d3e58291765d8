import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdsearch.errors import InputError
from sdsearch.space.space import SPACES, search_space
from sdsearch.unet.architecture import Architecture, Bottom, Level, member_backbone
from sdsearch.unet.backbone import SD2, SD14, SD14_INPAINT, TINY
from tests.unets import TEACHER, widened

GOLDEN = Path(__file__).with_name("golden_keys.json")

SIZES = {"sd14": 704_000, "sd14-blocks": 5_632, "tiny": 704_000}
WIDE = 40 * (4 * 40) * (4 * 40) * (5 + 4 * 6)  # shallow bottoms have the width of level 2


def test_spaces_have_the_designed_sizes():
    assert {name: len(search_space(name)) for name in SPACES} == SIZES | {"sd14-wide": WIDE}
    assert len(search_space("sd14-wide", resize_level_0=True)) == 4 * WIDE


@given(st.sampled_from(sorted(SPACES)), st.integers(0, 10**9))
def test_index_and_arch_are_inverse(name, number):
    space = search_space(name)
    index = number % len(space)
    assert space.index(space.arch(index)) == index


@pytest.mark.parametrize("name", sorted(SIZES))
def test_digits_and_indices_are_inverse_over_the_whole_space(name):
    space = search_space(name)
    every = np.arange(len(space))
    digits = space.digits(every)
    assert digits.shape == (len(space), 4)
    assert np.array_equal(space.indices(digits), every)
    assert (digits.max(0) + 1).tolist() == [len(unit.options) for unit in space.units]


@pytest.mark.parametrize("name", SPACES)
def test_the_number_of_every_member_leads_back_to_it(name):
    # Members are the product of four units, so the identity holds on the whole space if it holds
    # for every option of every unit (shown on real members) and for all numbers (shown above).
    space = search_space(name)
    for axis, unit in enumerate(space.units):
        digits = np.zeros((len(unit.options), 4), np.int64)
        digits[:, axis] = np.arange(len(unit.options))
        members = [space.arch(int(index)) for index in space.indices(digits)]
        assert len({arch.key for arch in members}) == len(unit.options)
        assert [space.option_indices(arch)[axis] for arch in members] == digits[:, axis].tolist()
        assert [space.index(arch) for arch in members] == space.indices(digits).tolist()


def test_all_29_million_numbers_of_the_wide_space_have_their_own_digits():
    space = search_space("sd14-wide")
    for start in range(0, len(space), 1 << 20):
        every = np.arange(start, min(start + (1 << 20), len(space)))
        assert np.array_equal(space.indices(space.digits(every)), every)


def test_the_first_level_is_the_most_significant_digit():
    space = search_space("sd14")
    assert space.digits(np.array([0, 10, 11, 703_999])).tolist() == [
        [0, 0, 0, 0],
        [0, 0, 0, 10],
        [0, 0, 1, 0],
        [39, 39, 39, 10],
    ]


def test_option_indices_are_the_digits():
    space = search_space("sd14-blocks")
    for index in (0, 17, 5_631):
        digits = space.digits(np.array([index]))[0].tolist()
        assert list(space.option_indices(space.arch(index))) == digits


def test_named_members_are_in_every_space():
    for name in SPACES:
        space = search_space(name)
        assert list(space.members) == ["teacher", "bk-base", "bk-small", "bk-tiny"]
        assert all(space.why_not(arch) is None for arch in space.members.values())


def test_samples_are_distinct_members_and_follow_the_generator():
    space = search_space("sd14-blocks")
    archs = space.sample(2_000, np.random.default_rng(3))
    assert len(set(archs)) == 2_000
    assert archs[:10] == space.sample(2_000, np.random.default_rng(3))[:10]
    assert archs != space.sample(2_000, np.random.default_rng(4))


def test_uniform_samples_use_all_options_about_equally():
    space = search_space("sd14")
    digits = np.array(
        [space.option_indices(a) for a in space.sample(4_000, np.random.default_rng(0))]
    )
    counts = np.bincount(digits[:, 0], minlength=40)
    assert counts.min() > 60
    assert counts.max() < 140


@pytest.mark.parametrize("name", sorted(SIZES))
@pytest.mark.parametrize("n", [40, 68])
def test_stratified_samples_show_every_option_of_every_unit(name, n):
    space = search_space(name)
    archs = space.sample_stratified(n, np.random.default_rng(5))
    assert len(set(archs)) == n
    digits = np.array([space.option_indices(arch) for arch in archs])
    for column, size in zip(digits.T, (len(unit.options) for unit in space.units), strict=True):
        counts = np.bincount(column, minlength=size)
        assert counts.min() >= n // size
        assert counts.max() <= -(-n // size)


def test_a_stratified_sample_of_a_quarter_of_a_space_ends():
    space = search_space("sd14-blocks")
    assert len(set(space.sample_stratified(1_400, np.random.default_rng(0)))) == 1_400


def test_neighbours_differ_in_exactly_one_unit():
    space = search_space("sd14")
    home = space.option_indices(TEACHER)
    around = [space.option_indices(arch) for arch in space.neighbours(TEACHER)]
    assert len(set(around)) == 39 * 3 + 10
    assert all(sum(a != b for a, b in zip(home, o, strict=True)) == 1 for o in around)


def test_why_not_names_the_unit_whose_option_is_missing():
    mixed = Level(depth=1, down_attn=(True,), up_attn=(True, False))
    arch = Architecture(levels=(TEACHER.levels[0], mixed, TEACHER.levels[2]), bottom=TEACHER.bottom)
    assert search_space("sd14").why_not(arch) is None
    space = search_space("sd14-blocks")
    assert "level1" in str(space.why_not(arch))
    with pytest.raises(InputError, match="level1"):
        space.index(arch)


@pytest.mark.parametrize("depth", [0, None])
def test_unequal_widths_at_levels_2_and_3_need_level_3(depth):
    # Without it level 2 feeds the mid block and the decoder, whose teacher tensors have level 3's.
    uneven = SD14.model_copy(update={"block_out_channels": (320, 640, 960, 1280)})
    space = search_space("sd14", uneven)
    arch = Architecture(levels=TEACHER.levels, bottom=Bottom(depth=depth, mid="resnet"))
    assert "equal widths" in str(space.why_not(arch))
    assert len(space) == 40**3 * 6
    assert "bk-tiny" not in space.members


def test_wide_members_have_widths_that_groups_and_heads_divide():
    widths = [unit.widths for unit in search_space("sd14-wide").units]
    assert widths == [
        (320,),
        (160, 320, 480, 640),
        (320, 640, 960, 1280),
        (None, 320, 640, 960, 1280),
    ]
    assert search_space("sd14-wide", resize_level_0=True).units[0].widths == (64, 160, 224, 320)
    sd2 = search_space("sd14-wide", SD2, resize_level_0=True)
    assert sd2.units[0].widths == (160, 320)  # 5 heads and 32 groups: multiples of 160
    for arch in search_space("sd14-wide", TINY).sample(200, np.random.default_rng(1)):
        member_backbone(arch, TINY)  # raises where a width does not divide


def test_a_wide_member_without_level_3_has_no_width_of_its_own_there():
    space = search_space("sd14-wide")
    sample = space.sample(300, np.random.default_rng(8))
    widths = [arch.widths for arch in sample if arch.widths and not arch.bottom.depth]
    assert len(widths) > 10
    assert all(level_3 == level_2 for _, _, level_2, level_3 in widths)


def test_why_not_names_the_width_that_a_space_lacks():
    odd = widened(TEACHER, (320, 600, 1280, 1280))
    assert search_space("sd14-wide").why_not(odd) == (
        "level1 has width 600, but must have one of 160, 320, 480, 640"
    )
    assert "level1 has width 480" in str(
        search_space("sd14").why_not(widened(TEACHER, (320, 480, 1280, 1280)))
    )
    named = widened(TEACHER, (320, 640, 1280, 1280))
    assert "left out" in str(search_space("sd14-wide").why_not(named))


def test_only_the_wide_space_takes_widths():
    with pytest.raises(InputError, match="sd14-wide"):
        search_space("sd14", resize_level_0=True)


def test_keys_are_those_that_were_published_with_the_labels():
    # The same keys in every process and Python version: labels and exports are named by them.
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert set(golden) == {"sd14", "sd14-blocks", "sd14-wide"}
    for name, rows in golden.items():
        space = search_space(name)
        assert len(rows) > 2
        assert {index: space.arch(int(index)).key for index in rows} == rows


def test_a_given_backbone_replaces_the_default_one():
    assert search_space("tiny").backbone == TINY
    assert search_space("sd14").backbone == SD14
    assert search_space("sd14", SD14_INPAINT).backbone == SD14_INPAINT


def test_wrong_names_and_numbers_say_what_would_be_right():
    with pytest.raises(InputError, match="sd14-blocks"):
        search_space("sd14-block")
    space = search_space("sd14-blocks")
    with pytest.raises(InputError, match="5632"):
        space.arch(5_632)
    with pytest.raises(InputError):
        space.arch(-1)
    with pytest.raises(InputError, match="5632"):
        space.sample(5_633, np.random.default_rng(0))


def test_an_architecture_is_in_a_space_or_not() -> None:
    blocks = search_space("sd14-blocks")
    assert TEACHER in blocks
    assert Architecture.parse("level 0: attention up 101") not in blocks
    assert "bk-small" not in blocks
