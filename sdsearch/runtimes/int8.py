"""int8: an ONNX UNet whose convolutions and linear layers compute in 8 bits, calibrated.

Weights are symmetric, a scale for each output channel. What goes into a layer, and what comes out
of a convolution, is unsigned, one scale for the tensor, from the least and the largest value that
calibration saw. The graph holds pairs of QuantizeLinear and DequantizeLinear, which any runtime
reads and a processor's kernels fuse.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdsearch.errors import InputError, WorkError
from sdsearch.labels import QuantizedSize
from sdsearch.runtimes.layers import count_quantized, find_floats
from sdsearch.runtimes.onnx import check_onnx

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from diffusers import UNet2DConditionModel
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

    Feed = Mapping[str, NDArray[Any]]

MODEL = "model.onnx"
_OPERATORS = ["Conv", "Gemm", "MatMul"]
# A processor's 8-bit convolution gives its result in 8 bits; its matrix product can in float32.
_OPTIONS = {"OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]}


def quantize_unet(
    source: Path, final: Path, unet: UNet2DConditionModel, feeds: Sequence[Feed]
) -> QuantizedSize:
    """Write a UNet that `export_onnx` wrote into the folder `final`, with 8-bit layers.

    Args:
        source: the folder of its `model.onnx` in float32.
        final: where `model.onnx` and its data go; what is there is replaced.
        unet: the same UNet in torch, which says which layers there must be.
        feeds: inputs by name, on which the ranges of activations are taken.

    Returns:
        What it saves, as the written file has it.

    Raises:
        InputError: the extra `onnx` is not installed, or there are no feeds.
        WorkError: the graph's layers are not those of `unet`.
    """
    check_onnx()
    if not feeds:
        raise InputError("int8 needs inputs to take ranges on, but got none; give at least one")
    meant = count_quantized(unet)
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".int8-", dir=final.parent) as name:
        work = Path(name)
        # onnxruntime writes beside what it reads, and takes no file that has a second name.
        shutil.copytree(source, work / "float")
        (work / "int8").mkdir()
        # torch.onnx names a weight by its module, unless it transposes it, as in attentions.
        floats = {f"unet.{path}.weight" for path in find_floats(unet)}
        _quantize(work / "float" / MODEL, work / "int8" / MODEL, floats, feeds)
        found = _measure(work / "int8" / MODEL, meant)
        shutil.rmtree(final, ignore_errors=True)
        (work / "int8").rename(final)
    return found


def _quantize(source: Path, final: Path, floats: set[str], feeds: Sequence[Feed]) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static

    with _quiet():
        quantize_static(
            source,
            final,
            _Reader(feeds),
            op_types_to_quantize=_OPERATORS,
            nodes_to_quantize=_find_nodes(onnx.load(source, load_external_data=False), floats),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            use_external_data_format=True,
            extra_options=_OPTIONS,
        )


class _Reader:
    """Hands calibration its inputs, one set after another; None after the last."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def _find_nodes(model: ModelProto, floats: set[str]) -> list[str]:
    """The nodes of layers that are quantised: those with a weight, unless it stays in float32."""
    weights = {one.name for one in model.graph.initializer}

    def is_wanted(node: NodeProto) -> bool:
        return node.input[1] in weights and node.input[1] not in floats

    nodes = (node for node in model.graph.node if node.op_type in _OPERATORS)
    return [node.name for node in nodes if is_wanted(node)]


def _measure(file: Path, meant: QuantizedSize) -> QuantizedSize:
    """What a written file's quantised weights take.

    Raises:
        WorkError: they are not as many numbers, or of as many layers, as they must be.
    """
    import onnx

    model = onnx.load(file, load_external_data=False)
    stored = {one.name: one for one in model.graph.initializer}
    layers, taken, numbers = 0, 0, 0
    for node in model.graph.node:
        parts = [stored[name] for name in node.input if name in stored]
        if node.op_type != "DequantizeLinear" or len(parts) < 3 or not _is_int8(parts[0]):
            continue
        layers += 1
        numbers += int(np.prod(parts[0].dims))
        taken += sum(_count_bytes(part) for part in parts)
    found = QuantizedSize(
        layers=layers,
        quantized_bytes=taken,
        float_bytes=4 * numbers,
        kept_bytes=meant.kept_bytes,
    )
    if (layers, found.float_bytes) != (meant.layers, meant.float_bytes):
        raise WorkError(
            f"the int8 graph must hold the UNet's {meant.layers} layers of "
            f"{meant.float_bytes // 4:,} numbers, but holds {layers} of {numbers:,}; export the "
            "ONNX files again with this onnxruntime"
        )
    return found


def _is_int8(tensor: Any) -> bool:
    import onnx

    return bool(tensor.data_type == onnx.TensorProto.INT8)


def _count_bytes(tensor: Any) -> int:
    import onnx

    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return int(np.prod(tensor.dims)) * int(kind.itemsize)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back advice of the library to fuse operators first, which would hide the layers."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
