"""Counts: what is in memory at the worst moment of a UNet call, of a training step, of a VAE pass.

The real modules run, forward and backward, on meta tensors. So a count follows diffusers and
autograd wherever they go; what it cannot see is what kernels take for themselves (`workspaces`).
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sdsearch.unet import TEXT_TOKENS
from sdsearch.weights import make_unet
from sdsearch_eval.planning.kernels import Kernels
from sdsearch_eval.planning.live import LiveMemory
from sdsearch_eval.sampling import cast_unet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from sdsearch.unet import Architecture, Backbone

META = torch.device("meta")
_FEWEST_8BIT, _BLOCK_8BIT = 4096, 256
"""Smaller tensors keep moments in float32; others one float32 scale for a block, of each moment."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Bytes at the worst moment: what is there all the time, by name, and what comes and goes."""

    kept: dict[str, int]
    passing: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.kept.values()) + self.passing


@dataclass(frozen=True, slots=True)
class Training:
    """How a student is trained, as far as memory is concerned.

    Attributes:
        images: how many are learned from at once: a batch, or a micro-batch.
        latent: side of a latent, in its pixels.
        precision: of the student's products; its weights are in float32 (bfloat16 is autocast).
        checkpointing: whether activations are computed twice instead of kept.
        accumulates: whether gradients of an earlier micro-batch are there already.
        optimizer: AdamW with moments in float32, or in 8 bits.
        averages: whether a running mean of the weights is kept beside them.
        device: a kind of device, such as "cuda" or "cpu".
    """

    images: int
    latent: int
    precision: Literal["float32", "bfloat16"] = "float32"
    checkpointing: bool = False
    accumulates: bool = False
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    averages: bool = False
    device: str = "cuda"


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


def count_training(arch: Architecture, backbone: Backbone, how: Training) -> Counted:
    """One step in the middle of a recovery: forward, backward, optimizer.

    The optimizer's own step needs less than the backward pass: a GPU's is one kernel over all
    weights, others go weight by weight.
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
    live = LiveMemory()
    kept = {"weights": live.hold(unet.parameters())}
    moments = list(_moments(unet, how))
    kept["moments"] = live.hold(moments)
    average = [torch.empty_like(weight) for weight in unet.parameters() if how.averages]
    kept["average"] = live.hold(average)
    if how.accumulates:
        for weight in unet.parameters():
            weight.grad = torch.empty_like(weight)
        live.hold(weight.grad for weight in unet.parameters() if weight.grad is not None)
    with live:
        inputs = unet_inputs(backbone, how.images, how.latent, torch.float32)
        targets = [torch.empty_like(inputs[0][:, :4]) for _ in range(2)]
        with kernels:
            output = unet(*inputs, return_dict=False)[0].float()
            loss = F.mse_loss(output, targets[0]) / targets[0].square().mean()
            del output
        loss.backward()
    return Counted(
        {name: size for name, size in kept.items() if size}, live.peak - sum(kept.values())
    )


def unet_inputs(
    backbone: Backbone, images: int, latent: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents (with mask and masked image where the net takes them), times and text, no numbers."""
    return (
        torch.empty(images, backbone.in_channels, latent, latent, device=META, dtype=dtype),
        torch.empty(images, device=META, dtype=torch.int64),
        torch.empty(images, TEXT_TOKENS, backbone.cross_attention_dim, device=META, dtype=dtype),
    )


def _moments(unet: torch.nn.Module, how: Training) -> Iterator[Tensor]:
    """Both moments of every weight, as the optimizer keeps them."""
    for weight in unet.parameters():
        for _ in range(2):
            if how.optimizer == "adamw" or weight.numel() < _FEWEST_8BIT:
                yield torch.empty_like(weight)
            else:
                yield torch.empty_like(weight, dtype=torch.uint8)
                yield torch.empty(-(-weight.numel() // _BLOCK_8BIT), device=META)
