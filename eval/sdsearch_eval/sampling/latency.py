"""Latency of a whole UNet call: warmed up, synchronised, median and interquartile range."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from sdsearch.labels import Latency
from sdsearch_eval.devices import name_device, synchronize
from sdsearch_eval.sampling.sampling import unet_input

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from sdsearch_eval.sampling.sampling import UNetInputs

WARM_UP = 2
RUNS = 9
LATENCY_CALLS = WARM_UP + RUNS
"""UNet calls for the latency of one member."""


@torch.no_grad()
def measure_latency(unet: UNet2DConditionModel, inputs: UNetInputs) -> Latency:
    """Milliseconds of one UNet call on the first task of `inputs`."""
    first = inputs.select(slice(0, 1))
    latent = unet_input(unet, first.noise, first).to(unet.dtype)
    text = first.text.to(unet.dtype)
    device = latent.device
    timestep = torch.tensor(500, device=device)
    durations = []
    for _ in range(LATENCY_CALLS):
        synchronize(device)
        start = time.perf_counter()
        unet(latent, timestep, text, return_dict=False)
        synchronize(device)
        durations.append((time.perf_counter() - start) * 1e3)
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
