"""The original layout of a UNet: importers rebuild and compute it, and it reads back bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

from sdsearch.errors import InputError
from sdsearch.original import name_unet, read_original_layout, read_unet
from sdsearch.space.loaders import why_not_loaded
from sdsearch.space.space import search_space
from sdsearch.space.weight_file import tensor_shapes
from sdsearch.unet.architecture import NAMED, UNPRUNED, Architecture
from sdsearch.unet.backbone import PRESETS, SD14, SD14_INPAINT, TINY, Backbone
from sdsearch.unet.config import unet_config
from sdsearch.weights.single_file import MovedTensors, fill_transformers
from tests.original.importer import Detected, OriginalUNet, detect, member_of
from tests.unets import hard_members, inputs, predict, random_members, random_unet, widened

SD2 = PRESETS["sd2-inpaint"]


def original_shapes(arch: Architecture, backbone: Backbone) -> dict[str, tuple[int, ...]]:
    shapes = tensor_shapes(arch, backbone)
    return {move.original: shapes[move.diffusers[0]] for move in name_unet(shapes).moves}


def detected(arch: Architecture, backbone: Backbone = SD14) -> Detected:
    return detect(original_shapes(arch, backbone))


def rebuilt(arch: Architecture) -> Architecture | None:
    try:
        return member_of(detected(arch))
    except ValueError:
        return None


def original_tensors(unet: torch.nn.Module) -> dict[str, torch.Tensor]:
    state = fill_transformers(unet.state_dict())
    moves = name_unet(state).moves
    return dict(MovedTensors({move.original: (state, move) for move in moves}))


def student(arch: Architecture, backbone: Backbone = TINY) -> torch.nn.Module:
    """With weights that are alive, and attention blocks of depth 0 that do nothing."""
    unet = random_unet(arch, backbone)
    idle = set(name_unet(unet.state_dict()).left_out)
    with torch.no_grad():
        for name, tensor in unet.named_parameters():
            if name in idle and ".proj_out." in name:
                tensor.zero_()
            elif "norm" in name and name.endswith("weight"):
                tensor.add_(1.0)
    return unet


@pytest.mark.parametrize(
    ("backbone", "drawn", "least"),
    [
        (SD14, 740, 500),
        pytest.param(SD14_INPAINT, 740, 500, marks=pytest.mark.slow),
        (SD14_INPAINT, 60, 30),
        (SD2, 60, 30),
    ],
    ids=["4 channels", "9 channels", "some of 9 channels", "some of SD 2"],
)
def test_an_importer_rebuilds_every_qualifying_member_from_names_and_shapes(
    backbone: Backbone, drawn: int, least: int
) -> None:
    qualifying = [
        arch
        for arch in (*NAMED.values(), *random_members(drawn, 5))
        if why_not_loaded(arch, backbone, "comfyui") is None
    ]
    assert set(NAMED.values()) <= set(qualifying)
    assert len(qualifying) >= least + len(NAMED)
    for arch in qualifying:
        found = detected(arch, backbone)
        assert member_of(found) == arch
        assert found.inputs == backbone.in_channels
        assert found.context == backbone.cross_attention_dim
        assert found.linear == backbone.use_linear_projection


def test_no_importer_rebuilds_a_member_that_does_not_qualify() -> None:
    space, rng = search_space("sd14"), np.random.default_rng(3)
    others = [
        arch
        for arch in space.sample(150, rng)
        if why_not_loaded(arch, SD14, "single-file") is not None
    ]
    blind = {"depth": 1, "down_attn": (False,), "up_attn": (True, True)}
    no_encoder = Architecture.model_validate({**UNPRUNED.model_dump(), "levels": [blind] * 3})
    assert why_not_loaded(no_encoder, SD14, "single-file") is not None
    for arch in (*others, no_encoder):
        assert rebuilt(arch) != arch


def test_widths_that_are_multiples_of_the_first_are_read_and_others_are_not() -> None:
    whole, odd = (widened(UNPRUNED, (320, widths, 640, 640)) for widths in (320, 480))
    assert why_not_loaded(whole, SD14, "comfyui") is None
    assert member_of(detected(whole)) == whole
    assert "320/480/640/640" in (why_not_loaded(odd, SD14, "single-file") or "")
    assert member_of(detected(odd)) != odd


@pytest.mark.parametrize("number", range(0, 8, 2))
def test_what_an_importer_computes_is_what_diffusers_computes(number: int) -> None:
    members = [arch for arch in hard_members() if arch.bottom.depth != 0]
    arch = members[number % len(members)]
    unet = student(arch)
    tensors = original_tensors(unet)
    found = detect({name: tuple(one.shape) for name, one in tensors.items()})
    importer = OriginalUNet(found, tensors, heads=TINY.heads[0], groups=TINY.norm_num_groups)
    latent, time, text = inputs()
    meant = predict(unet, latent, time, text)
    assert meant.std() > 0.01
    assert torch.allclose(importer(latent, time[None], text), meant, atol=2e-5)


@pytest.mark.parametrize("number", range(0, 15, 3))
def test_names_read_back_bit_by_bit_without_what_does_nothing(number: int) -> None:
    arch = hard_members()[number]
    state = random_unet(arch).state_dict()
    renaming = name_unet(state)
    originals = {move.original: state[move.diffusers[0]] for move in renaming.moves}
    back = {move.diffusers[0]: originals[move.original] for move in read_unet(originals).moves}
    assert back.keys() | set(renaming.left_out) == state.keys()
    assert all(torch.equal(state[name], one) for name, one in back.items())
    ghosts = len(arch.ghost_slots)
    assert len(renaming.left_out) == 6 * ghosts


@pytest.mark.parametrize("name", NAMED)
def test_the_converter_of_diffusers_reads_the_named_members(name: str) -> None:
    arch = NAMED[name]
    state = random_unet(arch).state_dict()
    originals = {
        f"model.diffusion_model.{move.original}": state[move.diffusers[0]]
        for move in name_unet(state).moves
    }
    config = {**unet_config(arch, TINY), "layers_per_block": arch.levels[0].depth}
    found = convert_ldm_unet_checkpoint(originals, config)
    assert found.keys() == state.keys()
    assert all(torch.equal(state[one], found[one]) for one in found)


def test_the_unpruned_layout_is_that_of_stable_diffusion() -> None:
    found = original_shapes(UNPRUNED, SD14)
    assert found["input_blocks.3.0.op.weight"] == (320, 320, 3, 3)
    assert found["input_blocks.11.0.in_layers.2.weight"] == (1280, 1280, 3, 3)
    assert found["output_blocks.2.1.conv.weight"] == (1280, 1280, 3, 3)
    assert found["output_blocks.5.2.conv.weight"] == (1280, 1280, 3, 3)
    assert found["output_blocks.11.1.transformer_blocks.0.attn2.to_k.weight"] == (320, 768)
    assert found["middle_block.1.proj_in.weight"] == (1280, 1280, 1, 1)
    assert found["output_blocks.8.0.skip_connection.weight"] == (640, 960, 1, 1)
    assert len(found) == 686


MIXED = Architecture.parse("level 0: attention down 01; level 1: attention up 010")


def test_a_block_of_depth_0_that_was_trained_computes_the_same_as_a_whole_attention() -> None:
    unet = random_unet(MIXED, TINY)
    with torch.no_grad():
        for name, tensor in unet.named_parameters():
            if "norm" in name and name.endswith("weight"):
                tensor.add_(1.0)
    tensors = original_tensors(unet)
    found = detect({name: tuple(one.shape) for name, one in tensors.items()})
    assert (found.down[:2], found.up[3:6]) == ((1, 1), (1, 1, 1))
    importer = OriginalUNet(found, tensors, heads=TINY.heads[0], groups=TINY.norm_num_groups)
    latent, time, text = inputs()
    meant = predict(unet, latent, time, text)
    assert meant.std() > 0.01
    assert torch.allclose(importer(latent, time[None], text), meant, atol=2e-5)


def test_the_filled_in_attention_has_the_tensors_of_one_that_was_kept() -> None:
    silent = fill_transformers(random_unet(MIXED).state_dict())
    whole = random_unet().state_dict()
    added = silent.keys() - random_unet(MIXED).state_dict().keys()
    assert len(added) == 20 * len(MIXED.ghost_slots)
    for name in added:
        assert silent[name].shape == whole[name].shape
        assert not silent[name].any()


def test_a_block_of_depth_0_that_does_nothing_is_left_out() -> None:
    state = dict(random_unet(MIXED).state_dict())
    for name in name_unet(state).left_out:
        state[name] = torch.zeros_like(state[name])
    assert fill_transformers(state) is state


@pytest.mark.parametrize(
    "name", ["down_blocks.0.motion.weight", "mid_block.resnets.2.conv1.weight"]
)
def test_a_tensor_of_no_block_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=name):
        name_unet([*tensor_shapes(UNPRUNED, SD14), name])


def test_what_lies_behind_a_gap_is_refused() -> None:
    names = original_shapes(UNPRUNED, SD14)
    gap = {name: one for name, one in names.items() if not name.startswith("input_blocks.4.")}
    assert len(read_original_layout(gap).down) == 2
    with pytest.raises(InputError, match="input_blocks"):
        read_unet(gap)
