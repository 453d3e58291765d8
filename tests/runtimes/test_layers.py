"""What int8 saves by count, at full geometry and by hand."""

from __future__ import annotations

import pytest
import torch

from sdsearch.runtimes.layers import count_quantized, find_floats, find_layers
from sdsearch.space.space import search_space
from sdsearch.unet.backbone import SD14, SD14_INPAINT, TINY, Backbone
from sdsearch.weights.inherit import make_unet
from tests.fakes import tiny_member


@pytest.mark.parametrize("name", ["teacher", "bk-small"])
@pytest.mark.parametrize("backbone", [SD14, SD14_INPAINT], ids=["4", "9"])
def test_at_full_geometry_int8_takes_a_quarter_of_its_layers_and_below_30_percent_of_all(
    name: str, backbone: Backbone
) -> None:
    with torch.device("meta"):
        unet = make_unet(search_space("sd14").members[name], backbone)
    found = count_quantized(unet)
    assert 0.25 < found.share <= 0.27
    assert found.whole_share <= 0.30
    assert found.float_bytes + found.kept_bytes == 4 * unet.num_parameters()


@pytest.mark.parametrize("name", ["teacher", "bk-tiny"])
def test_every_convolution_and_linear_layer_is_in_int8_or_is_one_that_stays(name: str) -> None:
    with torch.device("meta"):
        unet = make_unet(tiny_member(name), TINY)
    floats, found = find_floats(unet), find_layers(unet)
    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    assert floats | found.keys() == {n for n, one in unet.named_modules() if isinstance(one, kinds)}
    assert floats.isdisjoint(found)
    last = f"up_blocks.{len(unet.up_blocks) - 1}.resnets.{len(unet.up_blocks[-1].resnets) - 1}."
    assert {path for path in floats if path.startswith(last)} == {
        f"{last}{layer}" for layer in ("conv1", "conv2", "time_emb_proj", "conv_shortcut")
    }
    others = {path for path in floats if not path.startswith(last)}
    assert {path.rpartition(".")[2] for path in others} == {
        *("conv_in", "conv_out", "linear_1", "linear_2", "conv_shortcut")
    }
    assert "down_blocks.0.resnets.0.time_emb_proj" in found
