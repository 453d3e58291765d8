"""A pretended GPU: tensors stay in host memory, but what mixes devices fails as it does on a card.

A storage that "is on" the device carries a mark. An operation on marked and unmarked tensors, or
`.numpy()` of a marked one, raises what CUDA raises; `.device` answers `cuda:0`. Kernels are those
of the CPU, so that values can be compared with a run on it.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

GPU = torch.device("cuda", 0)
_HOST = torch.device("cpu")
_TAKES_HOST_INDICES = {
    "aten::index",
    "aten::index_put",
    "aten::index_put_",
    "aten::_index_put_impl_",
}
_COPIES = {"aten::copy_", "aten::_to_copy"}
_TO_NUMPY = {torch.Tensor.numpy, torch.Tensor.__array__}


class Marks:
    """Which storages are on the device, and how often the host waited for a number from there."""

    def __init__(self) -> None:
        # A weak reference keeps the address of its storage from being used again.
        self._storages: dict[int, StorageWeakRef] = {}
        self._changing = threading.Lock()
        self.waits = 0

    def has(self, tensor: Tensor) -> bool:
        with torch._C.DisableTorchFunction():
            return tensor.untyped_storage()._cdata in self._storages

    def put(self, tensor: Tensor, *, on: bool = True) -> Tensor:
        with torch._C.DisableTorchFunction():
            storage = tensor.untyped_storage()
        with self._changing:
            if on:
                self._storages[storage._cdata] = StorageWeakRef(storage)
                if len(self._storages) % 4096 == 0:
                    live = {key: ref for key, ref in self._storages.items() if not ref.expired()}
                    self._storages = live
            else:
                self._storages.pop(storage._cdata, None)
        return tensor

    def move(self, tensor: Tensor, device: torch.device) -> Tensor:
        """The tensor itself where it is on the device already, else a copy there."""
        to_gpu = device.type == GPU.type
        if to_gpu == self.has(tensor):
            return tensor
        with torch._C.DisableTorchFunction():
            copy = tensor.clone()
        return self.put(copy, on=to_gpu)


class _Names(TorchFunctionMode):
    """What Python code says about devices: `.device`, `.to`, `device=`."""

    def __init__(self, marks: Marks) -> None:
        super().__init__()
        self.marks = marks

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        marks = self.marks
        if func == torch.Tensor.device.__get__:  # type: ignore[attr-defined]
            return GPU if marks.has(args[0]) else func(*args)
        if func == torch.Tensor.is_cuda.__get__:  # type: ignore[attr-defined]
            return marks.has(args[0])
        if func in _TO_NUMPY and marks.has(args[0]):
            raise TypeError(
                "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the "
                "tensor to host memory first."
            )
        if func is torch.Tensor.cpu:
            return marks.move(args[0], _HOST)
        if func is torch.Tensor.cuda:
            return marks.move(args[0], GPU)
        if func is torch.Tensor.to:
            return self._to(*args, **kwargs)
        device = _device_in(kwargs.get("device"))
        if device is None or func is torch._C._nn._parse_to:  # arguments of `Module.to`
            return func(*args, **kwargs)
        made = func(*args, **{**kwargs, "device": _HOST})
        for tensor in _tensors(made):
            marks.put(tensor, on=device.type == GPU.type)
        return made

    def _to(self, tensor: Tensor, *given: Any, **kwargs: Any) -> Tensor:
        """`.to` with the device taken out of it, then the move."""
        device, left = _device_in(kwargs.pop("device", None)), []
        for value in given:
            if isinstance(value, torch.Tensor):
                device = GPU if self.marks.has(value) else _HOST
                left.append(value.dtype)
            elif (found := _device_in(value)) is not None:
                device = found
            elif value is not None and not isinstance(value, bool):  # a bool is non_blocking
                left.append(value)
        was_on = self.marks.has(tensor)
        if left or kwargs:
            result = torch.Tensor.to(tensor, *left, **kwargs)
            self.marks.put(result, on=was_on)
        else:
            result = tensor
        return result if device is None else self.marks.move(result, device)


class _Kernels(TorchDispatchMode):
    """What kernels are given: all of one device, but for numbers and for indices from the host."""

    def __init__(self, marks: Marks) -> None:
        super().__init__()
        self.marks = marks

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        on = off = number = False
        for tensor in _tensors((args, kwargs)):
            if self.marks.has(tensor):
                on = True
            elif tensor.dim() > 0:
                off = True
            else:
                number = True
        allowed = name in _COPIES or (name in _TAKES_HOST_INDICES and self.marks.has(args[0]))
        # A number in host memory may be read by a kernel, but not written to.
        off = off or (on and number and self._writes_to_host(func, args))
        if on and off and not allowed:
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"cuda:0 and cpu! ({name})"
            )
        # Indices in host memory are copied at each use, and the host waits for that.
        if (name == "aten::_local_scalar_dense" and on) or (on and off and name not in _COPIES):
            self.marks.waits += 1
        made = func(*args, **kwargs)
        if on and name != "aten::copy_":
            for tensor in _tensors(made):
                self.marks.put(tensor)
        return made

    def _writes_to_host(self, func: Any, args: Any) -> bool:
        written = (args[place] for place in _written(func) if place < len(args))
        return any(isinstance(one, torch.Tensor) and not self.marks.has(one) for one in written)


@contextmanager
def pretended_gpu() -> Iterator[Marks]:
    """Inside, `cuda:0` exists, in threads that are started there too."""
    marks = Marks()
    run = threading.Thread.run

    def run_on_it(thread: threading.Thread) -> None:
        with _Kernels(marks), _Names(marks):  # modes belong to the thread that entered them
            run(thread)

    answers = {
        "synchronize": lambda *_: None,
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda *_: None,
        "max_memory_allocated": lambda *_: 1 << 20,
        "get_device_name": lambda *_: "Pretended GPU",
    }
    with ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(patch.object(torch.cuda, name, answer))
        stack.enter_context(patch.object(threading.Thread, "run", run_on_it))
        stack.enter_context(_Kernels(marks))
        stack.enter_context(_Names(marks))
        yield marks


@cache
def _written(func: Any) -> tuple[int, ...]:
    """The places of the arguments that a kernel writes to; asking its schema is slow."""
    infos = [argument.alias_info for argument in func._schema.arguments]
    return tuple(place for place, info in enumerate(infos) if info is not None and info.is_write)


def _device_in(value: object) -> torch.device | None:
    if isinstance(value, str) and value.partition(":")[0] in ("cuda", "cpu"):
        return torch.device(value)
    return value if isinstance(value, torch.device) and value.type != "meta" else None


def _tensors(value: object) -> Iterator[Tensor]:
    """Those among arguments and results; an own walk takes a quarter of what torch's trees do."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
