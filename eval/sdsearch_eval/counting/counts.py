"""Counts: what is in memory at the worst moment of a UNet call, of a training step, of any pass.

The real modules run, forward and backward, on meta tensors. So a count follows diffusers and
autograd wherever they go; what it cannot see is what kernels take for themselves (`workspaces`).
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sdsearch.unet import TEXT_TOKENS, UNPRUNED
from sdsearch.weights import make_unet, pair_features
from sdsearch_eval.counting.kernels import Kernels
from sdsearch_eval.counting.live import LiveMemory
from sdsearch_eval.recovery import Taps, relative_error
from sdsearch_eval.sampling import cast_unet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from diffusers import UNet2DConditionModel
    from torch import Tensor

    from sdsearch.labels import Optimizer, Precision
    from sdsearch.unet import Architecture, Backbone

META = torch.device("meta")
_FEWEST_8BIT, _BLOCK_8BIT = 4096, 256
"""Smaller tensors keep moments in float32; others one float32 scale for a block, of each moment."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Bytes at the worst moment: what is there all the time, by name, and what comes and goes."""

    kept: Mapping[str, int]
    passing: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.kept.values()) + self.passing

    def beside(self, others: Mapping[str, int]) -> Counted:
        """The same while something else is kept too."""
        return Counted({**self.kept, **others}, self.passing)


@dataclass(frozen=True, slots=True)
class Training:
    """How a student is trained, as far as the memory of its step is concerned.

    Attributes:
        images: how many are learned from at once: a batch, or a micro-batch.
        latent: side of a latent, in its pixels.
        precision: of the student's products; its weights are in float32 (bfloat16 is autocast).
        checkpointing: whether activations are computed twice instead of kept.
        accumulates: whether gradients of an earlier micro-batch are there already.
        teacher: the precision of a teacher whose features are learned too; None without.
        device: a kind of device, such as "cuda" or "cpu".
    """

    images: int
    latent: int
    precision: Literal["float32", "bfloat16"] = "float32"
    checkpointing: bool = False
    accumulates: bool = False
    teacher: Precision | None = None
    device: str = "cuda"


@cache
def count_call(
    arch: Architecture,
    backbone: Backbone,
    images: int,
    latent: int,
    dtype: str = "float32",
    device: str = "cuda",
) -> Counted:
    """A UNet call without gradients, its weights in `dtype`; guidance makes two images of one."""
    unet = cast_unet(make_unet(arch, backbone, META), dtype)
    return count_pass(
        unet, lambda: unet(*unet_inputs(backbone, images, latent, unet.dtype)), device
    )


def count_pass(net: torch.nn.Module, run: Callable[[], object], device: str = "cuda") -> Counted:
    """What `run` needs without gradients, which makes its inputs and calls a net of meta tensors.

    Whatever it keeps, as in a list of results, is counted as long as it does.
    """
    live = LiveMemory()
    weights = live.hold([*net.parameters(), *net.buffers()])
    with torch.no_grad(), live, Kernels(device):
        run()
    return Counted({"weights": weights}, live.peak - weights)


@cache
def count_training(arch: Architecture, backbone: Backbone, how: Training) -> Counted:
    """One step in the middle of a recovery: forward and backward, beside the weights.

    The optimizer's own step needs less than the backward pass: a GPU's is one kernel over all
    weights, others go weight by weight. What it keeps is `weigh_optimizer`'s.
    """
    unet = make_unet(arch, backbone, META).train().requires_grad_(True)
    kernels = Kernels(how.device, None if how.precision == "float32" else torch.bfloat16)
    if how.checkpointing:
        unet.enable_gradient_checkpointing(
            lambda module, *given: checkpoint(
                module.__call__,
                *given,
                use_reentrant=False,
                context_fn=lambda: (nullcontext(), kernels.again()),
            )
        )
    teacher = cast_unet(make_unet(UNPRUNED, backbone, META), how.teacher) if how.teacher else None
    live = LiveMemory()
    kept = {"weights": live.hold(unet.parameters())}
    if teacher is not None:
        kept["teacher"] = live.hold(teacher.parameters())
    if how.accumulates:
        for weight in unet.parameters():
            weight.grad = torch.empty_like(weight)
            live.hold([weight.grad])
    pairs = pair_features(arch, backbone) if teacher is not None else ()
    with live:
        inputs = unet_inputs(backbone, how.images, how.latent, torch.float32)
        with Taps(unet, [pair.student for pair in pairs]) as taps, kernels:
            output = unet(*inputs, return_dict=False)[0].float()
        wanted = torch.empty_like(output)
        losses = [F.mse_loss(output, wanted) / wanted.square().mean()]
        del output
        if teacher is not None:
            said = _ask(teacher, [pair.teacher for pair in pairs], inputs, how.device)
            losses += [_compare(*each) for each in zip(taps.outputs, said, strict=True)]
        torch.stack(losses).sum().backward()
    return Counted(kept, live.peak - sum(kept.values()))


@torch.no_grad()
def _ask(
    teacher: UNet2DConditionModel, paths: Sequence[str], inputs: Sequence[Tensor], device: str
) -> list[Tensor]:
    """The features that a teacher answers with."""
    images, times, text = inputs
    given = images.to(teacher.dtype), times, text.to(teacher.dtype)
    with Taps(teacher, paths) as taps, Kernels(device):
        teacher(*given, return_dict=False)
    return taps.outputs


def _compare(found: Tensor, wanted: Tensor) -> Tensor:
    """The error of a feature; a narrower student is compared with as many channels."""
    return relative_error(found.float(), wanted[:, : found.shape[1]].float())


@cache
def weigh_optimizer(arch: Architecture, backbone: Backbone, optimizer: Optimizer) -> int:
    """Bytes of AdamW's two moments of every weight, in float32 or in 8 bits."""
    sizes = (weight.numel() for weight in make_unet(arch, backbone, META).parameters())
    return sum(2 * _weigh_moment(size, optimizer) for size in sizes)


def _weigh_moment(size: int, optimizer: Optimizer) -> int:
    if optimizer == "adamw" or size < _FEWEST_8BIT:
        return 4 * size
    return size + 4 * -(-size // _BLOCK_8BIT)


def unet_inputs(
    backbone: Backbone, images: int, latent: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents (with mask and masked image where the net takes them), times and text, no numbers."""
    return (
        torch.empty(images, backbone.in_channels, latent, latent, device=META, dtype=dtype),
        torch.empty(images, device=META, dtype=torch.int64),
        torch.empty(images, TEXT_TOKENS, backbone.cross_attention_dim, device=META, dtype=dtype),
    )
