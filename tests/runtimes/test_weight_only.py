"""Weight-only int8 by torchao, where it is installed."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from sdsearch.errors import InputError
from sdsearch.runtimes.weight_only import count_stored, quantize_weights
from sdsearch.unet.backbone import TINY
from tests.unets import inputs, lively_unet, predict


def test_what_is_stored_is_counted_tensor_by_tensor() -> None:
    assert count_stored(torch.nn.Linear(3, 5)) == 4 * (15 + 5)  # type: ignore[arg-type]


def test_without_torchao_weights_are_refused_with_the_way_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unet, found = lively_unet(TINY), importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "torchao" else found(name, *rest),
    )
    with pytest.raises(InputError, match="pip install torchao"):
        quantize_weights(unet)


@pytest.mark.filterwarnings("ignore")
def test_linear_weights_take_a_quarter_and_convolutions_stay_what_they_were() -> None:
    pytest.importorskip("torchao")
    unet, asked = lively_unet(TINY).eval(), inputs(TINY)
    linear = sum(m.weight.numel() for m in unet.modules() if isinstance(m, torch.nn.Linear))
    rows = sum(len(m.weight) for m in unet.modules() if isinstance(m, torch.nn.Linear))
    whole, meant = count_stored(unet), predict(unet, *asked)
    convolution = unet.mid_block.resnets[0].conv1.weight.clone()
    quantize_weights(unet)
    assert abs(count_stored(unet) - (whole - 3 * linear + 4 * rows)) <= 8 * rows
    assert torch.equal(unet.mid_block.resnets[0].conv1.weight, convolution)
    found = predict(unet, *asked)
    assert 0 < float((found - meant).norm() / meant.norm()) < 0.05
