"""What a failure of torch means: the architecture's fault, or that of memory or a device.

torch tells many failures of a machine as plain `RuntimeError`s, so their messages are read here,
once, where they are caught; from here on a failure has a kind.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch

from sdsearch.labels import Failure

if TYPE_CHECKING:
    from sdsearch.labels import FailureKind

_MEMORY = re.compile(
    r"out of memory|not enough memory|can't allocate memory|ALLOC_FAILED", re.IGNORECASE
)
_DEVICE = re.compile(
    r"\b(CUDA|CUDA driver|HIP|cuDNN|cuBLAS|NCCL|MPS|XPU) error"
    r"|valid cuDNN algorithm|unable to find an engine|CUBLAS_STATUS|CUDNN_STATUS",
    re.IGNORECASE,
)


def name_failure(error: Exception, phase: str | None = None) -> Failure:
    """The failure that an error of some work on an architecture is; `phase` is where it came up."""
    return Failure(kind=_kind_of(error), message=f"{type(error).__name__}: {error}", phase=phase)


def _kind_of(error: Exception) -> FailureKind:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "memory"
    if isinstance(error, RuntimeError):
        if _MEMORY.search(str(error)):
            return "memory"
        if isinstance(error, torch.AcceleratorError) or _DEVICE.search(str(error)):
            return "device"
    return "architecture"
