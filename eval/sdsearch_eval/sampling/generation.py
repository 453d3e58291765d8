"""From tasks to images: sample, decode, paste back, block by block."""

from __future__ import annotations

from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from sdsearch_eval.devices import release_memory
from sdsearch_eval.sampling.sampling import (
    NotFiniteError,
    cast_unet,
    paste_back,
    sample_latents,
    tensor_to_images,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from diffusers import UNet2DConditionModel
    from numpy.typing import NDArray
    from torch import Tensor

    from sdsearch.labels import Protocol
    from sdsearch_eval.data import Sample
    from sdsearch_eval.models import Components
    from sdsearch_eval.sampling.sampling import UNetInputs


@dataclass(frozen=True, slots=True)
class Generated:
    """Outcome of sampling: latents (n, 4, h, w), raw images (n, H, W, 3) uint8, composited ones.

    Raw images are as the UNet and the decoder made them; those that are composited, (h, w, 3) uint8
    each, have the size of their originals, into whose holes they are pasted.
    `retried` says whose block was not finite in half precision and was sampled again in float32;
    `nfe` how often the UNet was evaluated for a sample, as counted: guidance counts twice.
    """

    latents: Tensor
    raw: NDArray[np.uint8]
    composited: list[NDArray[np.uint8]]
    retried: NDArray[np.bool_]
    nfe: float


def generate(
    unet: UNet2DConditionModel,
    components: Components,
    inputs: UNetInputs,
    samples: Sequence[Sample],
    protocol: Protocol,
) -> Generated:
    """Sample all tasks block by block and decode them; composited images keep the known pixels.

    A block that is not finite in half precision is sampled once more in float32 and marked. Where a
    block does not fit into memory, its halves are tried: pixels may then differ by the
    rounding of kernels, as with any other block size.
    """
    latents, raw, retried = [], [], []
    with counted_evaluations(unet) as evaluated, compiled(unet, protocol.compile):
        for block in inputs.blocks(protocol.block_size):
            again = False
            try:
                found, images = _generate_block(unet, components, block, protocol)
            except NotFiniteError:
                if unet.dtype == torch.float32:
                    raise
                again = True
                whole = cast_unet(_copy(unet), "float32")
                found, images = _generate_block(whole, components, block, protocol)
            latents.append(found)
            raw.append(images)
            retried += [again] * len(block)
    images = np.concatenate(raw)
    return Generated(
        latents=torch.cat(latents),
        raw=images,
        composited=paste_back(images, samples),
        retried=np.array(retried, np.bool_),
        nfe=sum(evaluated) / len(samples),
    )


@contextmanager
def counted_evaluations(unet: UNet2DConditionModel) -> Iterator[list[int]]:
    """The batch size of every forward of `unet` (or of a copy of it) inside, as they come."""
    sizes: list[int] = []

    def count(_: torch.nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        del output
        sizes.append(len(inputs[0]))

    hook = unet.register_forward_hook(count)
    try:
        yield sizes
    finally:
        hook.remove()


@contextmanager
def compiled(unet: UNet2DConditionModel, wanted: bool) -> Iterator[None]:
    """Call `unet` through torch.compile inside, if wanted; hooks stay outside of what is compiled.

    torch keeps what it compiled for a net: only the first call of a student waits for it.
    """
    if wanted:
        unet.forward = torch.compile(unet.forward)
    try:
        yield
    finally:
        unet.__dict__.pop("forward", None)


def _copy(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A copy of a UNet that calls itself, not what was compiled of the original."""
    copy = deepcopy(unet)
    copy.__dict__.pop("forward", None)
    return copy


def _generate_block(
    unet: UNet2DConditionModel, components: Components, block: UNetInputs, protocol: Protocol
) -> tuple[Tensor, NDArray[np.uint8]]:
    try:
        latents = sample_latents(
            unet,
            block,
            components,
            steps=protocol.steps,
            guidance=protocol.guidance,
            sampler=protocol.scheduler,
        )
        return latents, tensor_to_images(components.decode_latents(latents))
    except torch.OutOfMemoryError:
        if len(block) == 1:
            raise
    release_memory(block.noise.device)
    half = len(block) // 2
    halves = (block.select(slice(0, half)), block.select(slice(half, len(block))))
    parts = [_generate_block(unet, components, part, protocol) for part in halves]
    return torch.cat([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
