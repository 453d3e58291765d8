"""Kernels: what a device runs, where meta tensors alone would take another way.

Attention is fused there, so that no N x N map exists and the backward pass keeps queries, keys,
values, the output and a sum for each row. Autocast, which knows no meta tensors, is done as CUDA
does it: convolutions and products in the low precision, each weight's copy kept until the forward
pass ends; norms, softmax, sums and losses in float32; anything else as its inputs are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_LOW = frozenset(
    {"linear", "conv2d", "matmul", "bmm", "baddbmm", "addmm", "scaled_dot_product_attention"}
)
_FULL = frozenset({"group_norm", "layer_norm", "softmax", "mse_loss", "pow", "sum", "exp", "log"})
_FLASH_HEAD = 256
"""The widest head that flash attention takes; wider ones, as in a VAE, go to another kernel."""


class Kernels(TorchFunctionMode):
    """Runs fused attention, and products in `autocast` where that is a precision.

    Enter it for the forward pass alone: autograd calls kernels of its own.
    """

    def __init__(self, device: str = "cuda", autocast: torch.dtype | None = None) -> None:
        TorchFunctionMode.__init__(self)
        self._device, self._autocast = device, autocast
        self._copies: dict[int, Tensor] = {}

    def again(self) -> Kernels:
        """The same for what checkpointing runs once more: a pass of its own, with own copies."""
        return Kernels(self._device, self._autocast)

    def __exit__(self, *error: object) -> None:
        """The copies of weights are gone with the pass that they were made for."""
        self._copies.clear()
        TorchFunctionMode.__exit__(self, *error)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run what the device would run in place of `func`."""
        name, given = getattr(func, "__name__", ""), dict(kwargs or {})
        wanted = torch.float32 if name in _FULL else self._autocast
        if self._autocast is not None and wanted is not None and name in _LOW | _FULL:
            args = [self._cast(value, wanted) for value in args]
            given = {key: self._cast(value, wanted) for key, value in given.items()}
        if name == "scaled_dot_product_attention" and given.get("attn_mask") is None:
            return self._attend(*args[:3])
        return func(*args, **given)

    def _cast(self, value: Any, dtype: torch.dtype) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype == dtype:
            return value
        if not (value.is_leaf and value.requires_grad and dtype == self._autocast):
            return value.to(dtype)
        if id(value) not in self._copies:
            self._copies[id(value)] = value.to(dtype)
        return self._copies[id(value)]

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        aten: Any = torch.ops.aten
        trained = any(tensor.requires_grad for tensor in (query, key, value))
        if self._device == "cpu":
            found = aten._scaled_dot_product_flash_attention_for_cpu(query, key, value)
        elif query.dtype != torch.float32 and query.shape[-1] <= _FLASH_HEAD:
            found = aten._scaled_dot_product_flash_attention(query, key, value)
        else:
            found = aten._scaled_dot_product_efficient_attention(query, key, value, None, trained)
        output: Tensor = found[0]
        return output
