"""What painting takes: a UNet call, and a whole picture with text encoder and autoencoder.

Warmed up and synchronised, median and interquartile range.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from sdsearch.labels import Latency, PictureCost, PipelineCost
from sdsearch_eval.devices import added_memory, name_device, synchronize
from sdsearch_eval.sampling.generation import generate
from sdsearch_eval.sampling.sampling import images_to_tensor, unet_input

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffusers import UNet2DConditionModel

    from sdsearch.labels import Protocol
    from sdsearch_eval.data import Sample
    from sdsearch_eval.models import Components
    from sdsearch_eval.sampling.sampling import UNetInputs

WARM_UP = 2
RUNS = 9
LATENCY_CALLS = WARM_UP + RUNS
"""UNet calls for the latency of one member, and pictures for what a picture costs."""
LONG = 20.0
"""Seconds of a picture that is not painted again: what it takes to warm up does not matter then."""


@torch.no_grad()
def measure_latency(unet: UNet2DConditionModel, inputs: UNetInputs) -> Latency:
    """Milliseconds of one UNet call on the first task of `inputs`."""
    first = inputs.select(slice(0, 1))
    latent = unet_input(unet, first.noise, first).to(unet.dtype)
    text = first.text.to(unet.dtype)
    device = latent.device
    timestep = torch.tensor(500, device=device)
    durations = [
        1e3 * _time(lambda: unet(latent, timestep, text, return_dict=False), device)
        for _ in range(LATENCY_CALLS)
    ]
    low, median, high = np.percentile(durations[WARM_UP:], [25, 50, 75])
    return Latency(
        median=float(median),
        iqr=float(high - low),
        n=RUNS,
        device=name_device(device),
        dtype=str(unet.dtype).removeprefix("torch."),
        batch=1,
        resolution=int(latent.shape[-1]),
        threads=torch.get_num_threads(),
    )


def measure_costs(
    name: str,
    unet: UNet2DConditionModel,
    components: Components,
    inputs: UNetInputs,
    sample: Sample,
    protocol: Protocol,
) -> PipelineCost:
    """What a UNet call, and painting all of `sample`, takes; `inputs` are of this sample alone.

    Raises:
        torch.OutOfMemoryError: a single picture does not fit.
    """
    return PipelineCost(
        name=name,
        latency_ms=measure_latency(unet, inputs),
        picture=measure_picture(unet, components, inputs, sample, protocol),
    )


def measure_picture(
    unet: UNet2DConditionModel,
    components: Components,
    inputs: UNetInputs,
    sample: Sample,
    protocol: Protocol,
) -> PictureCost:
    """What painting `sample` takes under a protocol, from its caption to its pixels.

    The first picture is watched for memory; where the UNet is compiled, after one that waits for
    that. One that takes `LONG` is not painted again; others are, and the first `WARM_UP` do not
    count.
    """
    device, durations = components.device, list[float]()

    def paint() -> None:
        durations.append(
            _time(lambda: _paint_picture(unet, components, inputs, sample, protocol), device)
        )

    if protocol.compile:
        _paint_picture(unet, components, inputs, sample, protocol)
    added = added_memory(device, paint)
    if durations[0] < LONG:
        for _ in range(LATENCY_CALLS - 1):
            paint()
    counted = durations[WARM_UP:] or durations
    low, median, high = np.percentile(counted, [25, 50, 75])
    networks = (unet, components.vae, components.text_encoder)
    return PictureCost(
        seconds=float(median),
        iqr=float(high - low),
        n=len(counted),
        peak_bytes=None if added is None else added + sum(map(_weigh, networks)),
        device=name_device(device),
        dtype=str(unet.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        resolution=protocol.resolution,
        scheduler=protocol.scheduler,
        steps=protocol.steps,
        guidance=protocol.guidance,
    )


def _paint_picture(
    unet: UNet2DConditionModel,
    components: Components,
    inputs: UNetInputs,
    sample: Sample,
    protocol: Protocol,
) -> None:
    """Encode a caption, and the image where it is looked at; sample and decode."""
    guided = protocol.guidance > 1
    text = components.encode_text(["", sample.caption] if guided else [sample.caption])
    masked = inputs.masked_latents
    hole = sample.mask == 255
    if unet.config.in_channels != inputs.noise.shape[1] or not hole.all():
        image = images_to_tensor(np.stack([sample.image]))
        masked = components.encode_images(image * ~torch.from_numpy(hole))
    known = replace(inputs, masked_latents=masked, text=text[-1:], empty_text=text[:1])
    generate(unet, components, known, [sample], protocol)


def _weigh(network: torch.nn.Module) -> int:
    """Bytes of a network's weights."""
    return sum(x.numel() * x.element_size() for x in [*network.parameters(), *network.buffers()])


def _time(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that some work takes, until the device is done with it."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start
