"""What a failure of torch means: the architecture's fault, or that of memory, a device or a disk.

torch tells many failures of a machine as plain `RuntimeError`s, so their messages are read here,
once, where they are caught; from here on a failure has a kind.
"""

from __future__ import annotations

import errno
import os
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


_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EROFS)


def find_disk_error(error: Exception) -> OSError | None:
    """What a disk refused where torch tells it as a failure of its own; None for anything else.

    >>> find_disk_error(RuntimeError("unable to write </torch_1>: No space left on device (28)"))
    OSError(28, 'unable to write </torch_1>: No space left on device (28)')
    """
    said = str(error)
    number = next((one for one in _DISK if os.strerror(one) in said), None)
    return None if number is None else OSError(number, said)


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
