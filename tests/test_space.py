import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdsearch.architecture import Architecture, Bottom, Level
from sdsearch.backbone import SD14, SD14_INPAINT, TINY
from sdsearch.errors import InputError
from sdsearch.space import SPACES, search_space
from tests.unets import TEACHER

SIZES = {"sd14": 704_000, "sd14-blocks": 5_632, "tiny": 704_000}


def test_spaces_have_the_designed_sizes():
    assert {name: len(search_space(name)) for name in SPACES} == SIZES


@given(st.sampled_from(sorted(SIZES)), st.integers(0, 10**9))
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
