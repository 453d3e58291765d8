"""Latency of a whole UNet call: warmed up, synchronised, median and interquartile range."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from sdsearch.labels import Latency
from sdsearch_eval.sampling.sampling import unet_input

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from sdsearch_eval.sampling.sampling import UNetInputs

WARM_UP = 2
RUNS = 9


@torch.no_grad()
def measure_latency(unet: UNet2DConditionModel, inputs: UNetInputs) -> Latency:
    """Milliseconds of one UNet call on the first task of `inputs`."""
    first = inputs.select(slice(0, 1))
    latent = unet_input(unet, first.noise, first).to(unet.dtype)
    text = first.text.to(unet.dtype)
    device = latent.device
    timestep = torch.tensor(500, device=device)
    durations = []
    for _ in range(WARM_UP + RUNS):
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
        device=device_name(device),
        dtype=str(unet.dtype).removeprefix("torch."),
        batch=1,
        resolution=int(latent.shape[-1]),
        threads=torch.get_num_threads(),
    )


def synchronize(device: torch.device) -> None:
    """Wait until everything queued on a device is done; on the CPU it always is."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def device_name(device: torch.device) -> str:
    """What computes: the name of the GPU, or of the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()


def _processor() -> str:
    """The CPU's model name where the system tells it, else the architecture."""
    import platform
    from pathlib import Path

    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
