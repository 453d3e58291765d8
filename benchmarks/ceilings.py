"""What a device gives at best: networks called in a loop, with nothing around them.

A label can be no faster than its calls at these rates. Layouts are torch's usual ones (channels
first), optimizers hold float32, peaks are the most bytes of tensors at once on a device that held
nothing else, convolution workspaces included.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, Self

import torch
from torch.nn import functional as F

from benchmarks.random_study import random_unet, random_vae
from sdsearch.unet import UNPRUNED
from sdsearch_eval.devices import (
    peak_memory,
    release_memory,
    set_arithmetic,
    synchronize,
    watch_memory,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from diffusers import AutoencoderKL, UNet2DConditionModel

    from benchmarks.random_study import Geometry
    from sdsearch.unet import Architecture

Precision = Literal["float32", "tf32", "float16", "bfloat16"]
"""bfloat16 of a training step is autocast: weights, gradients and moments are in float32."""


@dataclass(frozen=True, slots=True)
class Halves:
    """What stands for half precision on a device; a processor, whose halves are slow, has none."""

    sampling: Precision
    recovery: Precision

    @classmethod
    def of(cls, device: torch.device) -> Self:
        """float16 and autocast to bfloat16 where they are fast."""
        slow = device.type == "cpu"
        return cls("float32", "float32") if slow else cls("float16", "bfloat16")


FORWARD_BATCH, TRAINING_BATCH, SMALL_BATCH, LARGE_BATCH = 16, 8, 8, 32
_MOST = 40


@dataclass(frozen=True, slots=True)
class Ceiling:
    """A rate that was measured, in samples a second, and the peak of device memory.

    Attributes:
        what: such as "design forward".
        precision: of the arithmetic.
        batch: samples of a call.
        per_second: samples a second; None where the memory did not suffice.
        peak: bytes; None where the device does not count them.
    """

    what: str
    precision: str
    batch: int
    per_second: float | None
    peak: int | None


@dataclass(frozen=True, slots=True)
class Measuring:
    """How rates are measured on a device.

    Attributes:
        seconds: of calls behind every rate, after the warm-up.
        batches: share of the usual batches, at least one sample.
        fewest: calls behind every rate.
        warm_up: calls before them.
    """

    device: torch.device
    seconds: float
    batches: float = 1.0
    fewest: int = 3
    warm_up: int = 2

    def batch(self, usual: int) -> int:
        """The batch to use in place of the usual one."""
        return max(1, int(usual * self.batches))

    def shortest(self) -> Self:
        """The same with one call behind every rate, after one to warm up."""
        return replace(self, seconds=0.0, fewest=1, warm_up=1)

    def rate(self, what: str, precision: str, batch: int, call: Callable[[], object]) -> Ceiling:
        """Samples a second of a call, called again and again."""
        set_arithmetic(tf32=precision == "tf32")
        watch_memory(self.device)
        try:
            per_second: float | None = batch / self._time(call)
        except torch.OutOfMemoryError:
            per_second = None
        peak = peak_memory(self.device)
        release_memory(self.device)
        return Ceiling(what, precision, batch, per_second, peak)

    def _time(self, call: Callable[[], object]) -> float:
        """Seconds of a call."""
        once = math.inf
        for _ in range(self.warm_up):
            start = self._now()
            call()
            once = self._now() - start
        count = min(max(math.ceil(self.seconds / once), self.fewest), _MOST)
        start = self._now()
        for _ in range(count):
            call()
        return (self._now() - start) / count

    def _now(self) -> float:
        """The time once all that was queued is done."""
        synchronize(self.device)
        return time.perf_counter()


def measure_ceilings(
    geometry: Geometry, design: Architecture, halves: Halves, measuring: Measuring
) -> Iterator[Ceiling]:
    """All rates, one by one: forwards, training steps, the autoencoder."""
    device = measuring.device
    half = halves.sampling
    for name, arch in (("teacher", UNPRUNED), ("design", design)):
        unet = random_unet(arch, geometry.backbone, device)
        yield from _measure_forward(f"{name} forward", unet, geometry, half, measuring)
        del unet
    unet = random_unet(design, geometry.backbone, device)
    yield from _measure_training(unet, geometry, halves.recovery, measuring)
    del unet
    yield from _measure_vae(random_vae(geometry, device), geometry, half, measuring)


def _measure_forward(
    what: str, unet: UNet2DConditionModel, geometry: Geometry, half: Precision, measuring: Measuring
) -> Iterator[Ceiling]:
    batch = measuring.batch(FORWARD_BATCH)
    for precision in _precisions(half):
        dtype = _dtype(precision)
        torch.nn.Module.to(unet, dtype)
        latents, text = (x.to(dtype) for x in _unet_inputs(geometry, batch, measuring.device))
        call = torch.no_grad()(partial(unet, latents, 500, text))
        yield measuring.rate(what, precision, batch, call)


def _measure_training(
    unet: UNet2DConditionModel, geometry: Geometry, half: Precision, measuring: Measuring
) -> Iterator[Ceiling]:
    unet.train().requires_grad_(True)
    batch, device = measuring.batch(TRAINING_BATCH), measuring.device
    latents, text = _unet_inputs(geometry, batch, device)
    target = torch.randn_like(latents[:, : geometry.backbone.out_channels])
    fused = True if device.type == "cuda" else None
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-5, weight_decay=0.0, fused=fused)

    def step(precision: Precision) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            output = unet(latents, 500, text, return_dict=False)[0]
        F.mse_loss(output.float(), target).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for precision in _precisions(half):
        yield measuring.rate("training", precision, batch, partial(step, precision))
    unet.enable_gradient_checkpointing()
    what = "training, checkpointing"
    yield measuring.rate(what, half, batch, partial(step, half))


def _measure_vae(
    vae: AutoencoderKL, geometry: Geometry, half: Precision, measuring: Measuring
) -> Iterator[Ceiling]:
    device = measuring.device
    for precision in _precisions(half):
        dtype = _dtype(precision)
        torch.nn.Module.to(vae, dtype)
        # A large batch is for its peak: in float32 one call takes seconds.
        for usual, once in ((SMALL_BATCH, measuring), (LARGE_BATCH, measuring.shortest())):
            batch = once.batch(usual)
            latents = _random(batch, 4, geometry.latent, device).to(dtype)
            images = _random(batch, 3, geometry.resolution, device).to(dtype)
            for what, call in (
                ("decode", partial(vae.decode, latents)),
                ("encode", partial(vae.encode, images)),
            ):
                yield once.rate(what, precision, batch, torch.no_grad()(call))


def _precisions(half: Precision) -> list[Precision]:
    """Those that are compared: exact, with TF32, and half."""
    return list(dict.fromkeys(["float32", "tf32", half]))


def _unet_inputs(
    geometry: Geometry, batch: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    backbone = geometry.backbone
    text = torch.randn(batch, geometry.tokens, backbone.cross_attention_dim)
    return _random(batch, backbone.in_channels, geometry.latent, device), text.to(device)


def _random(batch: int, channels: int, size: int, device: torch.device) -> torch.Tensor:
    return torch.randn(batch, channels, size, size).to(device)


def _dtype(precision: str) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, "float32" if precision == "tf32" else precision)
    return dtype
