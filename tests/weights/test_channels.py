import numpy as np
import pytest
from pydantic import ValidationError

from sdsearch.errors import InputError
from sdsearch.unet.backbone import SD14
from sdsearch.weights.channels import channel_choices, student_widths
from tests.unets import GRADED, TEACHER, hard_members, widened


def test_a_streams_cells_are_cut_by_every_norm_that_reads_it():
    choices = channel_choices(TEACHER, SD14)
    # 640 channels in groups of 20; behind a concatenation with 320 more, in groups of 30.
    assert choices["level.1"].cells[:6] == (0, 20, 30, 40, 60, 80)
    # 320 in groups of 10: those of the concatenations, 20 and 30 wide, hold whole ones.
    assert choices["level.0"].cells == tuple(range(0, 320, 10))
    assert choices["level.1"].groups == choices["level.0"].groups == 32


def test_heads_and_geglu_have_choices_of_their_own():
    choices = channel_choices(widened(TEACHER, (320, 480, 960, 1280)), SD14)
    qk, ff = choices["down.1.attn.0.self.qk"], choices["down.1.attn.0.ff"]
    assert (qk.teacher, qk.student, qk.groups) == (640, 480, 8)
    assert (ff.teacher, ff.student, ff.groups) == (2560, 1920, 1)


def test_levels_that_an_identity_joins_are_ranked_together():
    choices = channel_choices(TEACHER, SD14)
    assert choices["level.3"].pool == choices["level.2"].pool == "level.2"
    assert choices["level.3"].cells == choices["level.2"].cells
    assert choices["level.1"].pool == "level.1"


def test_the_mid_block_of_a_three_level_net_has_the_width_of_level_2():
    arch = next(a for a in hard_members() if a.bottom.depth is None and a.bottom.mid == "resnet")
    narrow = widened(arch, (32, 64, 48, 48))
    assert student_widths(narrow, GRADED) == (32, 64, 48, 48)
    assert channel_choices(narrow, GRADED)["mid.res.0.hidden"].student == 48
    assert "level.3" not in channel_choices(narrow, GRADED)


@pytest.mark.parametrize(
    ("widths", "reason"),
    [
        ((32, 60, 96, 96), "level 1: width must be a multiple of norm_num_groups"),
        ((32, 64, 104, 96), "level 2: 0 < width <= 96"),
        ((32, 64, 96, 0), "level 3: 0 < width"),
    ],
)
def test_widths_that_cannot_be_inherited_are_refused(widths, reason):
    with pytest.raises(InputError, match=reason):
        student_widths(widened(TEACHER, widths), GRADED)


def test_without_an_encoder_at_level_3_its_width_is_that_of_level_2():
    arch = next(a for a in hard_members() if a.bottom.depth == 0)
    with pytest.raises(ValidationError, match="equal widths at levels 2 and 3"):
        widened(arch, (32, 64, 96, 48))
    uneven = GRADED.with_widths((32, 64, 64, 96))
    with pytest.raises(InputError, match="levels 2 and 3 must have equal"):
        student_widths(arch, uneven)


def test_cells_lie_inside_groups_and_cover_the_stream():
    for choice in channel_choices(TEACHER, GRADED).values():
        starts = np.arange(0, choice.teacher, choice.teacher // choice.groups)
        assert set(starts) <= set(choice.cells)
        assert list(choice.cells) == sorted(set(choice.cells))
        assert choice.cells[-1] < choice.teacher
