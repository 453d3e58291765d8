"""Weight-only int8 for torch: linear layers by torchao; convolutions stay in float32."""

from __future__ import annotations

import importlib.util
import warnings
from typing import TYPE_CHECKING

from sdsearch.errors import InputError

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

WHY_NO_TORCHAO = "torchao is not installed (pip install torchao)"


def has_torchao() -> bool:
    """Whether torchao is installed, as the extra `torchao` has it."""
    return importlib.util.find_spec("torchao") is not None


def quantize_weights(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """The same UNet, with the weights of its linear layers in int8; they are changed in place.

    Raises:
        InputError: the extra `torchao` is not installed.
    """
    if not has_torchao():
        raise InputError(f"weights in int8 need torchao: {WHY_NO_TORCHAO}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of kernels for GPUs that its build lacks
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        quantize_(unet, Int8WeightOnlyConfig())
    return unet


def count_stored(unet: UNet2DConditionModel) -> int:
    """Bytes of a UNet's tensors as they are stored; those of an int8 weight and of its scales.

    A tensor of torchao tells its own type and shape, but not that it is kept in fewer bytes.
    """
    total = 0
    for tensor in unet.state_dict().values():
        names, _ = getattr(tensor, "__tensor_flatten__", lambda: ([], None))()
        parts = [getattr(tensor, name) for name in names] or [tensor]
        total += sum(part.numel() * part.element_size() for part in parts if part is not None)
    return total
