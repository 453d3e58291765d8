"""Layers: which of a UNet's are in int8, which stay in float32, and what that saves by count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from sdsearch.labels import QuantizedSize

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

FLOAT_LAYERS = frozenset({"conv_in", "conv_out", "time_embedding", "conv_shortcut"})
"""Names, within a module's path, of what stays in float32: the first and the last convolution,
through which every error goes; the time embedding, which says how much of a picture is noise; and
the shortcuts around residual blocks, which carry sums that no norm has scaled. So does the last
residual block, whose errors nothing after it evens out (`docs/int8.md` has what each changes)."""
BYTES_OF_A_SCALE = 5
"""Of each output channel of a quantised weight: a float32 scale and an int8 zero point."""


def find_layers(unet: UNet2DConditionModel) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers of a stock UNet that int8 keeps, by their paths: convolutions and linear ones."""
    floats = find_floats(unet)
    return {path: layer for path, layer in _list_layers(unet).items() if path not in floats}


def find_floats(unet: UNet2DConditionModel) -> frozenset[str]:
    """The paths of its layers that stay in float32."""
    blocks = getattr(unet, "up_blocks", None)
    last = set(blocks[-1].resnets[-1].modules()) if blocks else set()
    return frozenset(
        path
        for path, layer in _list_layers(unet).items()
        if layer in last or not FLOAT_LAYERS.isdisjoint(path.split("."))
    )


def _list_layers(unet: UNet2DConditionModel) -> dict[str, nn.Conv2d | nn.Linear]:
    return {
        path: module
        for path, module in unet.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def count_quantized(unet: UNet2DConditionModel) -> QuantizedSize:
    """What int8 saves of a UNet by count; its weights are not read, and may be on `meta`."""
    weights = [layer.weight for layer in find_layers(unet).values()]
    numbers = sum(weight.numel() for weight in weights)
    scales = BYTES_OF_A_SCALE * sum(len(weight) for weight in weights)
    return QuantizedSize(
        layers=len(weights),
        quantized_bytes=numbers + scales,
        float_bytes=4 * numbers,
        kept_bytes=4 * (sum(one.numel() for one in unet.parameters()) - numbers),
    )
