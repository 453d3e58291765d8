"""Inception v3 as FID means it: the graph of 2015, its own quirks and its own resizing.

It differs from torchvision's: 1008 classes, average pools that leave out the padding, a max pool in
the last block, TensorFlow 1's bilinear resize without half-pixel centres. Weights are read from
torch-fidelity's file; that package itself needs torchvision and is no dependency.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdsearch_eval.nets.features import Features

if TYPE_CHECKING:
    from collections.abc import Callable

OFFICIAL_FILE = "weights-inception-2015-12-05-6726825d.pth"
OFFICIAL_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
SIDE = 299
Chains = dict[str, tuple[str | tuple[str, str], ...]]
"""Branch -> the names of its convolutions in turn; a pair forks, and both ends are kept."""


def official_weights() -> Path:
    """Where torch-fidelity and torchmetrics keep the official weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / OFFICIAL_FILE


def prepare_inception(images: Tensor, size: int) -> Tensor:
    """(N, 3, H, W) in [0, 255] -> (N, 3, 299, 299) in [-1, 1]; the protocol's size is not used."""
    del size
    down, across = (_bilinear_rows(side, SIDE).to(images) for side in images.shape[-2:])
    return (down @ images @ across.T - 128) / 128


def _bilinear_rows(source: int, target: int) -> Tensor:
    """(target, source) weights of TensorFlow 1's bilinear resize: output i looks at i * scale."""
    at = torch.arange(target, dtype=torch.float64) * (source / target)
    low = at.floor().long()
    high = (low + 1).clamp(max=source - 1)
    share = at - low
    rows = torch.zeros(target, source, dtype=torch.float64)
    index = torch.arange(target)
    rows[index, low] += 1 - share
    rows[index, high] += share
    return rows


class InceptionV3(nn.Module):
    """The net up to its 2048 pooled features; submodules are named as in the weight file."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = _Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = _Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = _Conv(80, 192, 3)
        self.Mixed_5b = _mixed_35(192, 32)
        self.Mixed_5c = _mixed_35(256, 64)
        self.Mixed_5d = _mixed_35(288, 64)
        self.Mixed_6a = _reduce_to_17()
        self.Mixed_6b = _mixed_17(128)
        self.Mixed_6c = _mixed_17(160)
        self.Mixed_6d = _mixed_17(160)
        self.Mixed_6e = _mixed_17(192)
        self.Mixed_7a = _reduce_to_8()
        self.Mixed_7b = _mixed_8(1280, _average_pool)
        self.Mixed_7c = _mixed_8(2048, _max_pool)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, images: Tensor) -> Features:
        """(N, 3, 299, 299) in [-1, 1] -> 2048 pooled features, maps of 64, 192, 768 and 2048."""
        maps = []
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images)))
        x = F.max_pool2d(x, 3, stride=2)
        maps.append(x)
        x = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, stride=2)
        maps.append(x)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        maps.append(x)
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        maps.append(x)
        return Features(x.mean((2, 3)), [F.normalize(level, dim=1, eps=1e-5) for level in maps])


class _Conv(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(
        self,
        source: int,
        target: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(source, target, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(target, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class _Mixed(nn.Module):
    """Branches side by side, their outputs concatenated; the branch `pool` pools first."""

    def __init__(
        self,
        chains: Chains,
        convs: dict[str, _Conv],
        pool: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        for name, conv in convs.items():
            self.add_module(name, conv)
        self.chains, self.pool = chains, pool

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for name, chain in self.chains.items():
            y = self.pool(x) if name == "pool" else x
            for link in chain:
                if isinstance(link, tuple):
                    y = torch.cat([self.get_submodule(fork)(y) for fork in link], 1)
                else:
                    y = self.get_submodule(link)(y)
            outputs.append(y)
        return torch.cat(outputs, 1)


def _average_pool(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _max_pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)


def _halve(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2)


def _chain(stem: str, count: int) -> tuple[str, ...]:
    return tuple(f"{stem}_{number}" for number in range(1, count + 1))


def _mixed_35(source: int, pooled: int) -> _Mixed:
    convs = {
        "branch1x1": _Conv(source, 64, 1),
        "branch5x5_1": _Conv(source, 48, 1),
        "branch5x5_2": _Conv(48, 64, 5, padding=2),
        "branch3x3dbl_1": _Conv(source, 64, 1),
        "branch3x3dbl_2": _Conv(64, 96, 3, padding=1),
        "branch3x3dbl_3": _Conv(96, 96, 3, padding=1),
        "branch_pool": _Conv(source, pooled, 1),
    }
    chains: Chains = {
        "one": ("branch1x1",),
        "five": _chain("branch5x5", 2),
        "double": _chain("branch3x3dbl", 3),
        "pool": ("branch_pool",),
    }
    return _Mixed(chains, convs, _average_pool)


def _reduce_to_17() -> _Mixed:
    convs = {
        "branch3x3": _Conv(288, 384, 3, stride=2),
        "branch3x3dbl_1": _Conv(288, 64, 1),
        "branch3x3dbl_2": _Conv(64, 96, 3, padding=1),
        "branch3x3dbl_3": _Conv(96, 96, 3, stride=2),
    }
    chains: Chains = {
        "three": ("branch3x3",),
        "double": _chain("branch3x3dbl", 3),
        "pool": (),
    }
    return _Mixed(chains, convs, _halve)


def _mixed_17(width: int) -> _Mixed:
    def across(source: int, target: int) -> _Conv:
        return _Conv(source, target, (1, 7), padding=(0, 3))

    def down(source: int, target: int) -> _Conv:
        return _Conv(source, target, (7, 1), padding=(3, 0))

    convs = {
        "branch1x1": _Conv(768, 192, 1),
        "branch7x7_1": _Conv(768, width, 1),
        "branch7x7_2": across(width, width),
        "branch7x7_3": down(width, 192),
        "branch7x7dbl_1": _Conv(768, width, 1),
        "branch7x7dbl_2": down(width, width),
        "branch7x7dbl_3": across(width, width),
        "branch7x7dbl_4": down(width, width),
        "branch7x7dbl_5": across(width, 192),
        "branch_pool": _Conv(768, 192, 1),
    }
    chains: Chains = {
        "one": ("branch1x1",),
        "seven": _chain("branch7x7", 3),
        "double": _chain("branch7x7dbl", 5),
        "pool": ("branch_pool",),
    }
    return _Mixed(chains, convs, _average_pool)


def _reduce_to_8() -> _Mixed:
    convs = {
        "branch3x3_1": _Conv(768, 192, 1),
        "branch3x3_2": _Conv(192, 320, 3, stride=2),
        "branch7x7x3_1": _Conv(768, 192, 1),
        "branch7x7x3_2": _Conv(192, 192, (1, 7), padding=(0, 3)),
        "branch7x7x3_3": _Conv(192, 192, (7, 1), padding=(3, 0)),
        "branch7x7x3_4": _Conv(192, 192, 3, stride=2),
    }
    chains: Chains = {
        "three": _chain("branch3x3", 2),
        "seven": _chain("branch7x7x3", 4),
        "pool": (),
    }
    return _Mixed(chains, convs, _halve)


def _mixed_8(source: int, pool: Callable[[Tensor], Tensor]) -> _Mixed:
    convs = {
        "branch1x1": _Conv(source, 320, 1),
        "branch3x3_1": _Conv(source, 384, 1),
        "branch3x3_2a": _Conv(384, 384, (1, 3), padding=(0, 1)),
        "branch3x3_2b": _Conv(384, 384, (3, 1), padding=(1, 0)),
        "branch3x3dbl_1": _Conv(source, 448, 1),
        "branch3x3dbl_2": _Conv(448, 384, 3, padding=1),
        "branch3x3dbl_3a": _Conv(384, 384, (1, 3), padding=(0, 1)),
        "branch3x3dbl_3b": _Conv(384, 384, (3, 1), padding=(1, 0)),
        "branch_pool": _Conv(source, 192, 1),
    }
    chains: Chains = {
        "one": ("branch1x1",),
        "three": ("branch3x3_1", ("branch3x3_2a", "branch3x3_2b")),
        "double": ("branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b")),
        "pool": ("branch_pool",),
    }
    return _Mixed(chains, convs, pool)
