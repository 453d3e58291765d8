"""Where things are computed: what a device can do, and how tensors get there.

Everything that is cached or read lies in host memory; whoever computes with it asks for it on the
device of its `Components`. What one kind of device lacks is known here and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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


def quick_dtype(device: torch.device, dtype: str) -> str:
    """`dtype`, or float32 on a processor, many of which take five times as long in half precision.

    For what is in no label's name, as a probe: labels are measured as their protocol says.
    """
    return "float32" if device.type == "cpu" else dtype


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


def added_memory(device: torch.device, work: Callable[[], object]) -> int | None:
    """Bytes that `work` takes at most besides what is in memory before it; it is done once.

    On a GPU those that torch hands out, on Linux those of this process, by the page. None where
    nobody can say.
    """
    if device.type in ("cuda", "xpu"):
        before = int(torch.get_device_module(device).memory_allocated())
        watch_memory(device)
        work()
        return (peak_memory(device) or before) - before
    watches = device.type == "cpu" and _watch_process()
    now = _process_memory("VmRSS") if watches else None
    work()
    peak = _process_memory("VmHWM") if watches else None
    return None if now is None or peak is None else max(0, peak - now)


def _watch_process() -> bool:
    """Begin to watch this process's memory, in which nothing is left over; False if that fails."""
    import ctypes
    import gc

    gc.collect()
    try:
        # What was freed would be taken again, and looks as if it had been there all the time.
        ctypes.CDLL(None).malloc_trim(0)
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")  # the peak is what there is now: proc_pid_clear_refs(5)
    except (OSError, AttributeError):
        return False
    return True


def _process_memory(name: str) -> int | None:
    """A line of this process's status on Linux, in bytes: `VmRSS` now, `VmHWM` at most."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            for line in file:
                if line.startswith(f"{name}:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


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
