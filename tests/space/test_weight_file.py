from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from sdsearch.space.costs import space_params
from sdsearch.space.space import search_space
from sdsearch.space.weight_file import space_file_bytes, weight_file_bytes
from sdsearch.unet.backbone import PRESETS, SD14, TINY, Backbone
from sdsearch.unet.config import unet_config
from tests.space.test_costs import SPACES, some_members
from tests.unets import hard_members, random_members, random_unet, random_wide_members

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.unet.architecture import Architecture


def said_by_the_class(arch: Architecture, backbone: Backbone, value_bytes: int) -> int:
    """The size of the file with the tensors that the stock class has, its header written out."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(unet_config(arch, backbone))
    end, header = 0, {"__metadata__": {"format": "pt"}}
    for name, tensor in sorted(unet.state_dict().items()):
        start, end = end, end + value_bytes * tensor.numel()
        entry = {"dtype": {4: "F32", 2: "F16"}[value_bytes], "shape": list(tensor.shape)}
        header[name] = {**entry, "data_offsets": [start, end]}  # type: ignore[dict-item]
    text = len(json.dumps(header, separators=(",", ":")))
    return 8 + text + -text % 8 + end


@pytest.mark.parametrize(
    "arch",
    [*hard_members()[:4], *random_members(3, seed=21), *random_wide_members(3, seed=22)],
    ids=lambda arch: arch.key,
)
def test_the_size_is_that_of_the_files_that_diffusers_writes(
    arch: Architecture, tmp_path: Path
) -> None:
    unet = random_unet(arch)
    unet.save_pretrained(tmp_path)
    unet.half().save_pretrained(tmp_path, variant="fp16")
    written = {file.name: file.stat().st_size for file in tmp_path.glob("*.safetensors")}
    assert written == {
        "diffusion_pytorch_model.safetensors": weight_file_bytes(arch, TINY, 4),
        "diffusion_pytorch_model.fp16.safetensors": weight_file_bytes(arch, TINY, 2),
    }


@pytest.mark.parametrize(
    ("backbone", "n"),
    [("sd14", 2), ("sd21", 0), *(pytest.param(b, 60, marks=pytest.mark.slow) for b in PRESETS)],
)
def test_the_size_at_full_geometry_is_that_of_the_tensors_of_the_class(
    backbone: str, n: int
) -> None:
    space = search_space("sd14-wide", PRESETS[backbone])
    rng = np.random.default_rng(23)
    for arch in [*space.members.values(), *space.sample(n, rng)]:
        for value_bytes in (4, 2):
            said = said_by_the_class(arch, space.backbone, value_bytes)
            assert weight_file_bytes(arch, space.backbone, value_bytes) == said, arch


@pytest.mark.parametrize(
    ("name", "value_bytes"), [("sd14", 4), *((name, 2) for name in SPACES)], ids=str
)
def test_sizes_of_a_whole_space_agree_with_single_members(name: str, value_bytes: int) -> None:
    space = SPACES[name]
    sizes = space_file_bytes(space, value_bytes)
    assert sizes.shape == (len(space),)
    assert sizes.dtype == np.int64
    for index in some_members(space, 60):
        assert sizes[index] == weight_file_bytes(space.arch(index), space.backbone, value_bytes)


@pytest.mark.slow
@pytest.mark.parametrize("value_bytes", [4, 2])
def test_sizes_of_all_members_of_sd14_blocks_are_those_of_brute_force(value_bytes: int) -> None:
    space = SPACES["sd14-blocks"]
    brute = [weight_file_bytes(space.arch(i), SD14, value_bytes) for i in range(len(space))]
    assert space_file_bytes(space, value_bytes).tolist() == brute
    # Headers differ by more than their tensors' names: sizes are no function of parameters alone.
    headers = space_file_bytes(space, value_bytes) - value_bytes * space_params(space)
    assert len(set(headers.tolist())) > 100
