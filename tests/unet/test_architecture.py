import pytest
from pydantic import ValidationError

from sdsearch.errors import InputError
from sdsearch.unet.architecture import Architecture, Bottom, Level, member_backbone
from sdsearch.unet.backbone import SD14, TINY
from sdsearch.unet.slots import SLOTS
from tests.unets import TEACHER, hard_members, random_members


def test_json_round_trip_keeps_the_architecture_and_its_key():
    for arch in [*hard_members(), *random_members(20, seed=0)]:
        again = Architecture.model_validate_json(arch.model_dump_json())
        assert again == arch
        assert again.key == arch.key


def test_every_architecture_has_its_own_key():
    archs = random_members(500, seed=1)
    assert len({arch.key for arch in archs}) == 500


def test_the_key_is_stable_across_versions():
    # Labels of other machines are found by this key: a change makes them all unreachable.
    assert TEACHER.key == "d67dd4964d68"


def test_the_teacher_keeps_all_slots():
    assert TEACHER.kept_slots == {slot.name for slot in SLOTS}
    assert not TEACHER.ghost_slots


def test_kept_and_ghost_slots_are_disjoint_slots_of_the_teacher():
    for arch in [*hard_members(), *random_members(50, seed=2)]:
        assert arch.kept_slots | arch.ghost_slots <= TEACHER.kept_slots
        assert not arch.kept_slots & arch.ghost_slots


def test_depth_1_drops_the_second_encoder_and_the_middle_decoder_block():
    level = Level(depth=1, down_attn=(True,), up_attn=(True, True))
    arch = Architecture(levels=(TEACHER.levels[0], level, TEACHER.levels[2]), bottom=TEACHER.bottom)
    dropped = {"down.1.res.1", "down.1.attn.1", "up.2.res.1", "up.2.attn.1"}
    assert TEACHER.kept_slots - arch.kept_slots == dropped


@pytest.mark.parametrize(
    ("bottom", "dropped"),
    [
        (Bottom(depth=0, mid="attention"), "down.3.res.0 down.3.res.1 up.0.res.0 up.0.res.1"),
        (Bottom(depth=1, mid="resnet"), "down.3.res.1 up.0.res.1 mid.attn.0 mid.res.1"),
        (Bottom(depth=2, mid=None), "mid.res.0 mid.attn.0 mid.res.1"),
        (
            Bottom(depth=None, mid="resnet"),
            "down.2.sample down.3.res.0 down.3.res.1 mid.attn.0 mid.res.1 "
            "up.0.res.0 up.0.res.1 up.0.res.2 up.0.sample",
        ),
    ],
)
def test_the_bottom_decides_about_level_3_and_the_mid_block(bottom, dropped):
    arch = Architecture(levels=TEACHER.levels, bottom=bottom)
    assert TEACHER.kept_slots - arch.kept_slots == set(dropped.split())


def test_only_a_half_level_with_some_attention_has_ghosts():
    level = Level(depth=2, down_attn=(False, True), up_attn=(False, False, False))
    arch = Architecture(levels=(level,) * 3, bottom=TEACHER.bottom)
    assert arch.ghost_slots == {f"down.{i}.attn.0" for i in range(3)}


@pytest.mark.parametrize(
    "build",
    [
        lambda: Level(depth=1, down_attn=(True, True), up_attn=(True, True)),
        lambda: Level(depth=2, down_attn=(True, True), up_attn=(True, True)),
        lambda: Level(depth=3, down_attn=(True,) * 3, up_attn=(True,) * 4),
        lambda: Bottom(depth=None, mid="attention"),
    ],
)
def test_what_a_stock_unet_cannot_say_is_refused(build):
    with pytest.raises(ValidationError):
        build()


def test_a_member_wider_than_its_backbone_is_refused_with_both_widths() -> None:
    wide = Architecture.parse("widths 320/640/1280/1280")
    with pytest.raises(InputError, match=r"level 0 must be no wider than .* 32 .* but has 320"):
        member_backbone(wide, TINY)
    assert member_backbone(wide, SD14) == SD14
