"""How importers of the original layout build a UNet from names and shapes, said again for tests.

Nothing here is used by the package, or uses what it knows of names: only what a file holds counts,
in the order in which importers such as ComfyUI's look at it. `Detected` is what they build from;
`member_of` says which architecture that is, and `OriginalUNet` computes what they compute.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from sdsearch.unet.architecture import Architecture

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Detected:
    """What names and shapes say: depths by level, transformers in running order, the middle."""

    channels: int
    inputs: int
    multiples: tuple[int, ...]
    depths: tuple[int, ...]
    down: tuple[int, ...]
    up: tuple[int, ...]
    middle: int | None
    context: int | None
    linear: bool


def detect(shapes: Shapes) -> Detected:
    """The rules: count numbers without a gap, then walk encoder and decoder towards each other."""
    places = {name[:end] for name in shapes for end, letter in enumerate(name) if letter == "."}
    channels, inputs = shapes["input_blocks.0.0.weight"][:2]
    total = 0
    while f"input_blocks.{total}" in places:
        total += 1
    context, linear = None, False
    multiples, depths, down, up_from_the_end = [], [], [], []
    multiple = depth = 0
    for number in range(total):
        here, there = f"input_blocks.{number}", f"output_blocks.{total - 1 - number}"
        if f"{here}.0.op" in places:
            multiples.append(multiple)
            depths.append(depth)
            multiple = depth = 0
            up_from_the_end.append(_transformers(places, there))
            continue
        if f"{here}.0.in_layers.0" in places:
            depth += 1
            multiple = shapes[f"{here}.0.out_layers.3.weight"][0] // channels
            found = _transformers(places, here)
            down.append(found)
            if found and context is None:
                key = f"{here}.1.transformer_blocks.0.attn2.to_k.weight"
                context = shapes[key][1]
                linear = len(shapes[f"{here}.1.proj_in.weight"]) == 2
        if f"{there}.0.in_layers.0" in places:
            up_from_the_end.append(_transformers(places, there))
    multiples.append(multiple)
    depths.append(depth)
    middle = None
    if "middle_block.1.proj_in" in places:
        middle = _transformers(places, "middle_block")
    elif "middle_block.0.in_layers.0" in places:
        middle = 0
    return Detected(
        channels,
        inputs,
        tuple(multiples),
        tuple(depths),
        tuple(down),
        tuple(reversed(up_from_the_end)),
        middle,
        context,
        linear,
    )


def _transformers(places: set[str], place: str) -> int:
    count = 0
    while f"{place}.1.transformer_blocks.{count}" in places:
        count += 1
    return count


def member_of(found: Detected) -> Architecture:
    """The architecture that an importer builds; raises where it builds none of a space."""
    if found.context is None:
        raise ValueError("the width of texts is unknown")
    down, up, levels = list(found.down), list(found.up), []
    halves = [[up.pop(0) for _ in range(depth + 1)] for depth in reversed(found.depths)]
    for depth, above in zip(found.depths, reversed(halves), strict=True):
        levels.append(
            {
                "depth": depth,
                "down_attn": [bool(down.pop(0)) for _ in range(depth)],
                "up_attn": [bool(one) for one in above],
            }
        )
    if down or up:
        raise ValueError("transformers are left over")
    bottom = levels[3]["depth"] if len(levels) == 4 else None
    if bottom is not None and any((*levels[3]["down_attn"], *levels[3]["up_attn"])):
        raise ValueError("level 3 has attention")
    widths = [found.channels * multiple for multiple in found.multiples]
    full = [found.channels, found.channels * 2, found.channels * 4, found.channels * 4]
    mid = {None: None, 0: "resnet", 1: "attention"}[found.middle]
    return Architecture.model_validate(
        {
            "levels": levels[:3],
            "bottom": {"depth": bottom, "mid": mid},
            "widths": None
            if widths == full[: len(widths)]
            else [*widths, widths[2]]
            if len(widths) == 3
            else widths,
        }
    )


@dataclass
class OriginalUNet:
    """The forward pass of the original code, from a detected configuration and tensors alone."""

    found: Detected
    tensors: Mapping[str, Tensor]
    heads: int
    groups: int = 32

    @torch.no_grad()
    def __call__(self, x: Tensor, time: Tensor, text: Tensor) -> Tensor:
        """(n, c, h, w), (n,), (n, tokens, width) -> (n, 4, h, w)."""
        found, half = self.found, self.found.channels // 2
        rates = torch.exp(-math.log(10000) * torch.arange(half) / half)
        angles = time.float()[:, None] * rates[None]
        wave = torch.cat([angles.cos(), angles.sin()], dim=1)
        self.time = self._line("time_embed.2", functional.silu(self._line("time_embed.0", wave)))
        self.text = text
        x = self._convolve("input_blocks.0.0", x, padding=1)
        skips, number, down, up = [x], 1, list(found.down), list(found.up)
        for level, depth in enumerate(found.depths):
            for _ in range(depth):
                x = self._block(f"input_blocks.{number}", x, down.pop(0))
                skips.append(x)
                number += 1
            if level < len(found.depths) - 1:
                x = self._convolve(f"input_blocks.{number}.0.op", x, stride=2, padding=1)
                skips.append(x)
                number += 1
        if found.middle is not None:
            x = self._block("middle_block", x, found.middle)
            x = self._res("middle_block.2", x) if found.middle else x
        number = 0
        for level in reversed(range(len(found.depths))):
            for layer in range(found.depths[level] + 1):
                place, attention = f"output_blocks.{number}", up.pop(0)
                x = self._block(place, torch.cat([x, skips.pop()], dim=1), attention)
                if level and layer == found.depths[level]:
                    x = functional.interpolate(x, scale_factor=2, mode="nearest")
                    x = self._convolve(f"{place}.{2 if attention else 1}.conv", x, padding=1)
                number += 1
        assert not skips
        return self._convolve("out.2", functional.silu(self._norm("out.0", x)), padding=1)

    def _block(self, place: str, x: Tensor, transformers: int) -> Tensor:
        x = self._res(f"{place}.0", x)
        return self._attend(f"{place}.1", x) if transformers else x

    def _res(self, place: str, x: Tensor) -> Tensor:
        y = functional.silu(self._norm(f"{place}.in_layers.0", x))
        y = self._convolve(f"{place}.in_layers.2", y, padding=1)
        y = y + self._line(f"{place}.emb_layers.1", functional.silu(self.time))[:, :, None, None]
        y = functional.silu(self._norm(f"{place}.out_layers.0", y))
        y = self._convolve(f"{place}.out_layers.3", y, padding=1)
        if f"{place}.skip_connection.weight" in self.tensors:
            x = self._convolve(f"{place}.skip_connection", x)
        return x + y

    def _attend(self, place: str, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = self._norm(f"{place}.norm", x, 1e-6)
        if not self.found.linear:
            y = self._convolve(f"{place}.proj_in", y)
        y = y.reshape(n, c, h * w).transpose(1, 2)
        if self.found.linear:
            y = self._line(f"{place}.proj_in", y)
        block = f"{place}.transformer_blocks.0"
        for number, context in ((1, None), (2, self.text)):
            normed = self._layer_norm(f"{block}.norm{number}", y)
            y = y + self._mix(f"{block}.attn{number}", normed, context)
        inner = self._line(f"{block}.ff.net.0.proj", self._layer_norm(f"{block}.norm3", y))
        value, gate = inner.chunk(2, dim=-1)
        y = y + self._line(f"{block}.ff.net.2", value * functional.gelu(gate))
        if self.found.linear:
            y = self._line(f"{place}.proj_out", y)
        y = y.transpose(1, 2).reshape(n, c, h, w)
        return x + (y if self.found.linear else self._convolve(f"{place}.proj_out", y))

    def _mix(self, place: str, x: Tensor, context: Tensor | None) -> Tensor:
        context = x if context is None else context
        q, k, v = (
            functional.linear(one, self.tensors[f"{place}.to_{name}.weight"])
            .unflatten(-1, (self.heads, -1))
            .transpose(1, 2)
            for name, one in (("q", x), ("k", context), ("v", context))
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self._line(f"{place}.to_out.0", mixed.transpose(1, 2).flatten(-2))

    def _line(self, place: str, x: Tensor) -> Tensor:
        return functional.linear(x, self.tensors[f"{place}.weight"], self.tensors[f"{place}.bias"])

    def _convolve(self, place: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        weight, bias = self.tensors[f"{place}.weight"], self.tensors[f"{place}.bias"]
        return functional.conv2d(x, weight, bias, stride=stride, padding=padding)

    def _norm(self, place: str, x: Tensor, eps: float = 1e-5) -> Tensor:
        weight, bias = self.tensors[f"{place}.weight"], self.tensors[f"{place}.bias"]
        return functional.group_norm(x, self.groups, weight, bias, eps)

    def _layer_norm(self, place: str, x: Tensor) -> Tensor:
        weight, bias = self.tensors[f"{place}.weight"], self.tensors[f"{place}.bias"]
        return functional.layer_norm(x, weight.shape, weight, bias)
