"""A UNet in other runtimes: ONNX in float32 and int8, torchao; which parts lose by it.

It imports `labels`, `files` and what is below, and torch. Start at `onnx`, then `int8`.
"""

from sdsearch.runtimes.int8 import quantize_unet
from sdsearch.runtimes.layers import count_quantized, find_layers
from sdsearch.runtimes.onnx import check_onnx, export_onnx
from sdsearch.runtimes.rounding import rank_parts
from sdsearch.runtimes.weight_only import (
    WHY_NO_TORCHAO,
    count_stored,
    has_torchao,
    quantize_weights,
)

__all__ = [
    "WHY_NO_TORCHAO",
    "check_onnx",
    "count_quantized",
    "count_stored",
    "export_onnx",
    "find_layers",
    "has_torchao",
    "quantize_unet",
    "quantize_weights",
    "rank_parts",
]
