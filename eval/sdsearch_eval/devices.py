"""Where things are computed: what a device can do, and how tensors get there.

Everything that is cached or read lies in host memory; whoever computes with it asks for it on the
device of its `Components`. What one kind of device lacks is known here and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

HOST = torch.device("cpu")

Net = TypeVar("Net", bound=torch.nn.Module)


def place_tensors(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The same tensors on a device."""
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def place_net(net: Net, device: torch.device) -> Net:
    """A convolutional net on a device, in the memory format that is fast there."""
    # `ModelMixin.to` warns about modules to be kept in float32 even where there are none.
    move: Any = torch.nn.Module.to
    move(net, device=device, memory_format=memory_format(device))
    return net


def memory_format(device: torch.device) -> torch.memory_format:
    """How convolutions like their images: channels last on a processor only.

    Measured on an H100 at 512 px: in half precision channels last takes 57 ms where the usual
    format takes 53.
    """
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format


def pins_memory(device: torch.device) -> bool:
    """Whether what is copied to a device is pinned in host memory before, to be copied beside."""
    return device.type in ("cuda", "xpu") and torch.accelerator.is_available()


def metric_dtype(device: torch.device) -> torch.dtype:
    """The precision of metrics: float64, which Apple's GPUs lack."""
    return torch.float32 if device.type == "mps" else torch.float64


def set_arithmetic(*, tf32: bool) -> None:
    """Set how exactly this process multiplies float32 numbers on a GPU: 10 or 23 bits of a factor.

    Both are set, since torch's own defaults differ between matrices and convolutions.
    """
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32


def synchronize(device: torch.device) -> None:
    """Wait until everything queued on a device is done; on the CPU it always is."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def release_memory(device: torch.device) -> None:
    """Give back what torch holds of a device for later, as before a smaller try."""
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()


def watch_memory(device: torch.device) -> None:
    """Begin to watch the most memory in use, which `peak_memory` tells."""
    if device.type in ("cuda", "xpu"):
        torch.get_device_module(device).reset_peak_memory_stats()


def peak_memory(device: torch.device) -> int | None:
    """Bytes of a GPU's memory in use at most since `watch_memory`; None where torch cannot say."""
    if device.type not in ("cuda", "xpu"):
        return None
    return int(torch.get_device_module(device).max_memory_allocated())


def device_memory(device: torch.device) -> int | None:
    """Bytes of a GPU's memory in all; None for the processor, whose memory is the host's."""
    if device.type == "cpu":
        return None
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    return int(torch.get_device_module(device).mem_get_info(device)[1])


def name_device(device: torch.device) -> str:
    """What computes: the name of the GPU, or of the processor."""
    if device.type in ("cuda", "xpu"):
        return str(torch.get_device_module(device).get_device_name(device))
    return _name_processor()


def _name_processor() -> str:
    """The CPU's model name where the system tells it, else the architecture."""
    import platform
    from pathlib import Path

    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
