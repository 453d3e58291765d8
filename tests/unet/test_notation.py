from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdsearch.errors import InputError
from sdsearch.space.space import search_space
from sdsearch.unet.architecture import NAMED, UNPRUNED, Architecture, Bottom, Level
from tests.unets import random_members, random_wide_members

SPACE = search_space("sd14-wide")


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(SPACE) - 1))
def test_what_an_architecture_prints_is_read_back_as_itself(index: int) -> None:
    arch = SPACE.arch(index)
    assert Architecture.parse(str(arch)) == arch


def test_the_repr_is_the_call_that_makes_it() -> None:
    for arch in [*random_members(20, 0), *random_wide_members(20, 0)]:
        assert eval(repr(arch), {"Architecture": Architecture}) == arch  # noqa: S307 (our own text)


def test_options_are_described_in_words() -> None:
    assert str(Level(depth=1, down_attn=(True,), up_attn=(False, True))) == (
        "depth 1, attention down 1 up 01"
    )
    assert str(Bottom(depth=None, mid=None)) == "no level 3, mid none"
    assert str(Bottom(depth=2, mid="attention")) == "level 3 of depth 2, mid attention"


def test_named_members_parse_by_their_names() -> None:
    assert {name: Architecture.parse(name) for name in NAMED} == NAMED
    assert Architecture.parse("BK-Small; Level 0: Depth 2") == (
        Architecture.parse("bk-small; level 0: depth 2")
    )


def test_parts_that_are_not_mentioned_are_those_of_the_teacher_or_the_named_member() -> None:
    own = Architecture.parse("level 1: depth 1, attention down 1 up 01; mid none")
    assert own.levels == (
        UNPRUNED.levels[0],
        Level(depth=1, down_attn=(True,), up_attn=(False, True)),
        UNPRUNED.levels[2],
    )
    assert own.bottom == Bottom(depth=2, mid=None)
    small = Architecture.parse("bk-small; no level 3; widths 32/64/96/96")
    assert small.levels == NAMED["bk-small"].levels
    assert small.bottom == Bottom(depth=None, mid=None)
    assert small.widths == (32, 64, 96, 96)


def test_a_level_of_another_depth_keeps_the_attention_of_the_blocks_that_stay() -> None:
    mixed = Architecture.parse("level 0: attention down 01 up 101")
    shallow = Architecture.parse("level 0: depth 1")
    assert mixed.levels[0].up_attn == (True, False, True)
    assert shallow.levels[0] == Level(depth=1, down_attn=(True,), up_attn=(True, True))
    # The middle decoder block is new at depth 2, and so has attention.
    deep = Architecture.parse("bk-small; level 0: depth 2, attention down 00")
    assert deep.levels[0] == Level(depth=2, down_attn=(False, False), up_attn=(True, True, True))


def test_white_space_and_the_order_of_parts_do_not_matter() -> None:
    assert Architecture.parse(" mid none ;level 2:depth 1,  attention\n up 00 ") == (
        Architecture.parse("level 2 depth 1; level 2 attention up 00; mid none")
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("level 1: depth 1, attention down 11", "attention down must have a digit for each"),
        ("level 1: attention up 02x", "level 1 attention up must be a digit, 0 or 1, for each"),
        ("level 1: depth 3", "level 1 depth must be 1 or 2, but is '3'"),
        ("level 3: attention up 11", "but is 'level 3: attention up 11'"),
        ("bk-smal", "teacher, bk-base, bk-small, bk-tiny"),
        ("bk-smal", "did you mean 'bk-small'?"),
        ("", "'' says nothing; the unpruned one is called 'teacher'"),
        (" ; ", "says nothing"),
        ("level 0", "level 0 must be followed by what it keeps"),
        ("level 0:; mid none", "level 0 must be followed by what it keeps"),
        ("no level 2", "only level 3 can be left out, as in 'no level 3'"),
        ("LEVEL 5: depth 1", "levels of a UNet are 0 to 3, but a part is 'LEVEL 5: depth 1'"),
        (3, "must be said in words, such as 'bk-small', but got 3, of type int"),
        ("mid some", "mid must be attention, resnet or none, but is 'some'"),
        ("mid none; mid resnet", "mid is again in 'mid resnet'"),
        ("mid none; bk-small", "'bk-small' comes later"),
        ("no level 3", "mid = 'attention' needs level 3"),
        ("widths 320/640", "a/b/c/d, the channels of levels 0 to 3"),
        ("bk-tiny; widths 32/64/96/128", "equal widths at levels 2 and 3"),
    ],
)
def test_an_error_names_the_part_and_what_is_allowed(words: Any, said: str) -> None:
    with pytest.raises(InputError) as raised:
        Architecture.parse(words)
    assert said in str(raised.value)


def test_the_named_members_are_those_of_every_space_whose_widths_allow_them() -> None:
    assert search_space("sd14").members == NAMED
    unequal = SPACE.backbone.with_widths((320, 640, 960, 1280))
    assert list(search_space("sd14", unequal).members) == ["teacher", "bk-base", "bk-small"]


def test_a_space_is_printed_in_one_line() -> None:
    assert repr(search_space("tiny")) == "SearchSpace('tiny', 704,000 architectures)"
    assert np.prod(search_space("tiny").radices) == 704_000
