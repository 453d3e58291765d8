"""Safetensors files written one tensor at a time, so that a model is never in memory for it."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from sdsearch.errors import WorkError
from sdsearch.weights.tensorfiles import DTYPES, TensorFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

METADATA = {"format": "pt"}
"""What loaders ask of a file: releases of transformers before 5 refuse one without it."""
_CODES = {dtype: code for code, dtype in DTYPES.items()}


class _Plan(NamedTuple):
    """A tensor as it will be stored."""

    source: str
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)


def write_tensors(
    file: Path,
    tensors: Mapping[str, Tensor],
    *,
    half: bool = False,
    rename: Callable[[str], str] = str,
    said: Mapping[str, str] = METADATA,
) -> None:
    """Write a new file, holding one tensor of `tensors` at a time.

    The bytes are those that `safetensors.torch.save_file` writes with the metadata `said`.

    Args:
        file: must not exist.
        tensors: of any mapping; of `TensorFiles` each is read when it is its turn.
        half: store floating point in float16; integers stay.
        rename: from a name in `tensors` to that in the file.
        said: what the header says beside the tensors; the format first.

    Raises:
        WorkError: a value is beyond half precision.
    """
    plans = [_plan(tensors, name, rename, half=half) for name in tensors]
    # The order of the library: aligned without gaps, since the largest values come first.
    plans.sort(key=lambda plan: (-plan.dtype.itemsize, plan.name))
    header: dict[str, object] = {"__metadata__": dict(said)}
    end = 0
    for plan in plans:
        start, end = end, end + plan.size
        header[plan.name] = {
            "dtype": _CODES[plan.dtype],
            "shape": list(plan.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with file.open("xb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for plan in plans:
            tensor = tensors[plan.source].to(plan.dtype)
            if half and not torch.isfinite(tensor).all():
                raise WorkError(f"weights must fit into half precision, but {plan.name} overflows")
            stream.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)


def stored_as(tensors: Mapping[str, Tensor], name: str) -> tuple[torch.dtype, tuple[int, ...]]:
    """Precision and shape of a tensor, which is not read where `tensors` are `TensorFiles`."""
    if isinstance(tensors, TensorFiles):
        return tensors.dtype(name), tensors.shape(name)
    return tensors[name].dtype, tuple(tensors[name].shape)


def _plan(
    tensors: Mapping[str, Tensor], name: str, rename: Callable[[str], str], *, half: bool
) -> _Plan:
    dtype, shape = stored_as(tensors, name)
    if half and dtype.is_floating_point:
        dtype = torch.float16
    return _Plan(name, rename(name), dtype, shape)
