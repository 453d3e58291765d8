from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from sdsearch.unet import TINY
from sdsearch.weights import make_unet
from sdsearch_eval.counting.counts import unet_inputs
from sdsearch_eval.counting.kernels import Kernels
from sdsearch_eval.counting.live import LiveMemory
from tests.fakes import tiny_member

HALF = torch.bfloat16


def query(tokens: int, dtype: torch.dtype = torch.float32, width: int = 40) -> torch.Tensor:
    return torch.empty(2, 8, tokens, width, dtype=dtype, device="meta", requires_grad=True)


@pytest.mark.parametrize(
    ("device", "dtype", "width"),
    [
        ("cuda", torch.float32, 40),
        ("cuda", torch.float16, 40),
        ("cuda", torch.float16, 512),
        ("cpu", torch.float32, 40),
        ("cpu", HALF, 40),
    ],
)
def test_attention_is_fused_forth_and_back(device: str, dtype: torch.dtype, width: int) -> None:
    one = query(4096, dtype, width)
    live = LiveMemory()
    live.hold([one])
    with live, Kernels(device):
        output = F.scaled_dot_product_attention(one, one, one)
        output.sum().backward()
    assert output.dtype == dtype
    assert live.peak < 8 * one.nbytes, "a map of all pairs would be 100 times as large"


def test_a_mask_is_left_to_torch() -> None:
    one, mask = query(77), torch.empty(77, 77, device="meta")
    with Kernels():
        output = F.scaled_dot_product_attention(one, one, one, attn_mask=mask)
    assert output.shape == one.shape


def dtypes_under(mode: Any) -> dict[str, set[torch.dtype]]:
    """Kind of module -> the precisions of its outputs, in one pass of real numbers."""
    unet = make_unet(tiny_member("bk-small"), TINY)
    found: dict[str, set[torch.dtype]] = {}
    for module in unet.modules():
        module.register_forward_hook(
            lambda module, _, output: (
                found.setdefault(type(module).__name__, set()).add(output.dtype)
                if isinstance(output, torch.Tensor)
                else None
            )
        )
    with torch.no_grad():
        for weight in unet.parameters():
            weight.fill_(0.01)
    inputs = [
        torch.ones(one.shape, dtype=one.dtype) for one in unet_inputs(TINY, 1, 16, torch.float32)
    ]
    with torch.no_grad(), mode:
        unet(*inputs)
    return found


def test_autocast_computes_products_low_and_norms_in_float32_as_cuda_does() -> None:
    ours = dtypes_under(Kernels("cpu", HALF))
    theirs = dtypes_under(torch.autocast("cpu", HALF))
    for kind in ("Linear", "Conv2d"):
        assert ours[kind] == theirs[kind] == {HALF}
    for kind in ("GroupNorm", "LayerNorm"):  # torch's autocast of the CPU leaves some of them low
        assert ours[kind] == {torch.float32}


def test_without_autocast_all_is_as_the_weights_are() -> None:
    assert dtypes_under(Kernels("cpu"))["Linear"] == {torch.float32}


def test_copies_of_weights_are_made_once_and_last_for_one_pass() -> None:
    weight = torch.empty(256, 256, device="meta", requires_grad=True)
    live, kernels = LiveMemory(), Kernels(autocast=HALF)
    live.hold([weight])
    given = torch.empty(1, 256, device="meta")
    with live, torch.no_grad():
        with kernels:
            for _ in range(3):
                F.linear(given, weight)
            assert live.now == weight.nbytes * 3 / 2
        assert live.now == weight.nbytes


def test_gradients_of_autocast_come_back_in_the_precision_of_the_weights() -> None:
    weight = torch.ones(4, 4, requires_grad=True)
    with Kernels("cpu", HALF):
        low = F.linear(torch.full((2, 4), 1 / 3), weight)
    low.float().sum().backward()
    assert low.dtype == HALF
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    assert weight.grad.flatten().tolist() == pytest.approx([2 / 3] * 16, rel=0.01)
