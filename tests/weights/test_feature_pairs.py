import pytest
import torch

from sdsearch.space.space import search_space
from sdsearch.unet.backbone import SD14
from sdsearch.weights.feature_pairs import pair_features
from sdsearch.weights.inherit import inherit_weights
from tests.unets import GRADED, TEACHER, hard_members, inputs, random_unet, random_wide_members

MEMBERS = search_space("sd14").members


def paths(name):
    return [(pair.student, pair.teacher) for pair in pair_features(MEMBERS[name], SD14)]


def test_base_and_small_are_compared_at_the_eight_block_outputs():
    outputs = [
        ("down_blocks.0.downsamplers.0", "down_blocks.0.downsamplers.0"),
        ("down_blocks.1.downsamplers.0", "down_blocks.1.downsamplers.0"),
        ("down_blocks.2.downsamplers.0", "down_blocks.2.downsamplers.0"),
        ("down_blocks.3.resnets.0", "down_blocks.3.resnets.1"),
        ("up_blocks.0.upsamplers.0", "up_blocks.0.upsamplers.0"),
        ("up_blocks.1.upsamplers.0", "up_blocks.1.upsamplers.0"),
        ("up_blocks.2.upsamplers.0", "up_blocks.2.upsamplers.0"),
        ("up_blocks.3.attentions.1", "up_blocks.3.attentions.2"),
    ]
    assert paths("bk-base") == paths("bk-small") == outputs


def test_tiny_meets_the_teacher_before_it_downsamples_and_one_block_further_up():
    assert paths("bk-tiny") == [
        ("down_blocks.0.downsamplers.0", "down_blocks.0.downsamplers.0"),
        ("down_blocks.1.downsamplers.0", "down_blocks.1.downsamplers.0"),
        ("down_blocks.2.attentions.0", "down_blocks.2.attentions.1"),
        ("up_blocks.0.upsamplers.0", "up_blocks.1.upsamplers.0"),
        ("up_blocks.1.upsamplers.0", "up_blocks.2.upsamplers.0"),
        ("up_blocks.2.attentions.1", "up_blocks.3.attentions.2"),
    ]


def features(unet, modules):
    found = {}

    def keep(name):
        def hook(_module, _args, output):
            found[name] = output if isinstance(output, torch.Tensor) else output[0]

        return hook

    for name in modules:
        unet.get_submodule(name).register_forward_hook(keep(name))
    with torch.no_grad():
        unet(*inputs())
    return found


@pytest.mark.slow
def test_pairs_have_the_channels_and_the_resolution_that_they_state():
    teacher = random_unet(backbone=GRADED, seed=3)
    state = teacher.state_dict()
    for arch in [*hard_members(), *random_wide_members(5, seed=37, backbone=GRADED)]:
        pairs = pair_features(arch, GRADED)
        student = features(inherit_weights(arch, GRADED, state), [pair.student for pair in pairs])
        whole = features(random_unet(backbone=GRADED, seed=3), [pair.teacher for pair in pairs])
        for pair in pairs:
            side = 16 // pair.reduction
            assert student[pair.student].shape == (1, pair.student_channels, side, side)
            assert whole[pair.teacher].shape == (1, pair.teacher_channels, side, side)


def test_features_of_the_unpruned_member_are_the_teachers():
    pairs = pair_features(TEACHER, GRADED)
    assert [pair.student for pair in pairs] == [pair.teacher for pair in pairs]
    assert len(pairs) == 8
