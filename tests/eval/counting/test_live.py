from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch.distributed._tools.mem_tracker import MemTracker
from torch.nn import functional as F

from sdsearch.unet import TINY
from sdsearch.weights import make_unet
from sdsearch_eval.counting.counts import Training, count_training, unet_inputs
from sdsearch_eval.counting.live import BLOCK, LiveMemory
from tests.fakes import tiny_member

if TYPE_CHECKING:
    from collections.abc import Callable

KB = 256
"""So many float32 numbers fill a kibibyte."""


def empty(kibibytes: int) -> torch.Tensor:
    return torch.empty(kibibytes, KB, device="meta")


def test_what_is_dropped_is_gone_and_the_peak_stays() -> None:
    with LiveMemory() as live:
        first = empty(3)
        second = first + 1
        del first
        third = second + 1
        assert live.now == (3 + 3) * 1024
        del second, third
    assert (live.now, live.peak) == (0, (3 + 3) * 1024)


def test_views_and_in_place_operations_make_nothing_new() -> None:
    with LiveMemory() as live:
        whole = empty(4)
        part = whole[1:].t()
        part.add_(1)
        del whole
        assert live.now == 4 * 1024, "a view keeps all that it is a view of"
    assert live.peak == 4 * 1024


def test_held_tensors_count_once_and_blocks_are_whole() -> None:
    one = torch.empty(1, device="meta")
    live = LiveMemory()
    assert live.hold([one, one.view(1)]) == BLOCK
    assert live.hold([one]) == 0
    del one
    assert live.now == 0


def test_autograd_keeps_what_its_formulas_need() -> None:
    weight = torch.empty(KB, KB, device="meta", requires_grad=True)
    live = LiveMemory()
    live.hold([weight])
    with live:
        loss = F.gelu(F.linear(empty(2), weight)).sum()  # keeps the input, and what enters gelu
        assert live.now == (256 + 2 + 2) * 1024 + BLOCK
        loss.backward()
        assert live.now == (256 + 256) * 1024 + BLOCK, "a gradient, and the loss"


def train_really(unet: torch.nn.Module) -> None:
    """The step of `count_training` on tensors that hold numbers."""
    sizes = [(one.shape, one.dtype) for one in unet_inputs(TINY, 2, 16, torch.float32)]
    inputs = [torch.ones(shape, dtype=dtype) for shape, dtype in sizes]
    output = unet(*inputs, return_dict=False)[0].float()
    wanted = torch.empty_like(output)
    losses = [F.mse_loss(output, wanted) / wanted.square().mean()]
    del output
    torch.stack(losses).sum().backward()


def numbered_unet() -> torch.nn.Module:
    unet = make_unet(tiny_member("bk-small"), TINY).train().requires_grad_(True)
    with torch.no_grad():
        for weight in unet.parameters():
            weight.fill_(0.01)
    return unet


def count_on_meta() -> int:
    how = Training(2, 16, device="cpu")
    return count_training(tiny_member("bk-small"), TINY, how).total


def test_meta_tensors_live_as_long_as_real_ones() -> None:
    unet, live = numbered_unet(), LiveMemory()
    live.hold(unet.parameters())
    with live:
        train_really(unet)
    assert live.peak == count_on_meta()


def test_torchs_own_tracker_of_real_tensors_finds_the_same_peak() -> None:
    unet, tracker = numbered_unet(), MemTracker()
    tracker.track_external(unet)
    with tracker:
        train_really(unet)
    found = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    assert found == pytest.approx(count_on_meta(), rel=0.01)


def measure_allocations(work: Callable[[], None]) -> int:
    """The most bytes that torch's allocator has given out at once, by its own record."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        work()
    events = profile.profiler.kineto_results.events()  # type: ignore[union-attr]
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    now = peak = 0
    for _, change in sorted(changes):
        now += change
        peak = max(peak, now)
    return peak


def test_the_allocator_gives_out_what_is_counted() -> None:
    unet = numbered_unet()
    counted = count_on_meta() - sum(weight.nbytes for weight in unet.parameters())
    # oneDNN lays weights out for the processor at hand, which takes 1 % on one and 19 % on another.
    torch._C._set_mkldnn_enabled(False)  # `flags` asks for TF32 too, which warns
    try:
        peak = measure_allocations(lambda: train_really(unet))
    finally:
        torch._C._set_mkldnn_enabled(True)
    assert peak == pytest.approx(counted, rel=0.1)
