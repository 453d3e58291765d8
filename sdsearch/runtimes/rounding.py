"""Rounding: which parts of a UNet lose most in int8, simulated in torch a part at a time.

What `quantize_unet` does to a layer is done here by hand, in float32: its weight, what goes into
it, and what comes out of a convolution, are rounded to the same 256 steps. No file is written, and
no other runtime is asked, so that it tells on its own what int8 costs.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sdsearch.labels import WHOLE, PartError
from sdsearch.runtimes.layers import find_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from diffusers import UNet2DConditionModel

    Question = tuple[Tensor, Tensor, Tensor]
    """What a UNet is asked: sample, timesteps and encoder_hidden_states, batch first."""

_PART = re.compile(r".*?(?:resnets|attentions|downsamplers|upsamplers)\.\d+")


@dataclass(frozen=True, slots=True)
class Range:
    """The least and the largest value that a tensor had, 0 among them."""

    low: float = 0.0
    high: float = 0.0

    def join(self, tensor: Tensor) -> Range:
        """The range of these values and of a tensor's."""
        return Range(min(self.low, float(tensor.min())), max(self.high, float(tensor.max())))

    def round(self, tensor: Tensor) -> Tensor:
        """The tensor in 256 even steps from `low` to `high`, one of which is 0.

        >>> Range(-1.0, 1.55).round(torch.tensor([-2.0, 0.004, 0.006, 1.5]))
        tensor([-1.0000,  0.0000,  0.0100,  1.5000])
        """
        step = (self.high - self.low) / 255
        if step == 0:
            return tensor
        zero = round(-self.low / step)
        return ((tensor / step).round() + zero).clamp(0, 255).sub(zero).mul(step)


@dataclass(frozen=True, slots=True)
class LayerRanges:
    """What goes into a layer, and what comes out of it."""

    entering: Range = Range()
    leaving: Range = Range()


def round_weight(weight: Tensor) -> Tensor:
    """A weight (out, ...) in 255 even steps for each output channel, 0 in their middle."""
    step = weight.flatten(1).abs().amax(1) / 127
    step = step.clamp(min=torch.finfo(torch.float32).tiny).view(-1, *[1] * (weight.dim() - 1))
    return (weight / step).round() * step


@torch.no_grad()
def rank_parts(
    unet: UNet2DConditionModel, calibration: Iterable[Question], question: Question
) -> tuple[PartError, ...]:
    """How far a UNet's answer moves where one part after another is rounded, the largest first.

    The first of all is `WHOLE`: every layer at once.

    Args:
        unet: in float32, in evaluation mode; it is left as it was.
        calibration: questions that ranges are taken on.
        question: another one, which is asked.
    """
    layers = find_layers(unet)
    ranges = watch_ranges(unet, layers, calibration)
    meant = _answer(unet, question)
    scale = meant.square().mean().sqrt()

    def error(paths: Sequence[str]) -> float:
        with rounded(layers, ranges, paths):
            found = _answer(unet, question)
        return float((found - meant).square().mean().sqrt() / scale)

    parts: dict[str, list[str]] = {}
    for path in layers:
        match = _PART.match(path)
        parts.setdefault(match[0] if match else path, []).append(path)
    ranked = [PartError(part=name, error=error(paths)) for name, paths in parts.items()]
    ranked.sort(key=lambda one: -one.error)
    return (PartError(part=WHOLE, error=error(list(layers))), *ranked)


def watch_ranges(
    unet: UNet2DConditionModel,
    layers: Mapping[str, nn.Conv2d | nn.Linear],
    questions: Iterable[Question],
) -> dict[str, LayerRanges]:
    """The ranges of what goes into each layer and comes out of it, over all questions."""
    found = dict.fromkeys(layers, LayerRanges())

    def watch(path: str) -> torch.utils.hooks.RemovableHandle:
        def hook(_: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
            known = found[path]
            found[path] = LayerRanges(known.entering.join(given[0]), known.leaving.join(made))

        return layers[path].register_forward_hook(hook)

    hooks = [watch(path) for path in layers]
    try:
        for question in questions:
            _answer(unet, question)
    finally:
        for one in hooks:
            one.remove()
    return found


@contextmanager
def rounded(
    layers: Mapping[str, nn.Conv2d | nn.Linear],
    ranges: Mapping[str, LayerRanges],
    paths: Sequence[str],
) -> Iterator[None]:
    """Inside, the layers at `paths` compute in 8 bits; their weights come back after it."""
    kept = {path: layers[path].weight.data for path in paths}
    hooks = []
    for path in paths:
        layer, known = layers[path], ranges[path]
        layer.weight.data = round_weight(kept[path])
        hooks.append(layer.register_forward_pre_hook(_round_entering(known.entering)))
        if isinstance(layer, nn.Conv2d):
            hooks.append(layer.register_forward_hook(_round_leaving(known.leaving)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for path, weight in kept.items():
            layers[path].weight.data = weight


def _round_entering(known: Range) -> Callable[..., tuple[Tensor, ...]]:
    return lambda _, given: (known.round(given[0]), *given[1:])


def _round_leaving(known: Range) -> Callable[..., Tensor]:
    return lambda _, given, made: known.round(made)


@torch.no_grad()
def _answer(unet: UNet2DConditionModel, question: Question) -> Tensor:
    found: Tensor = unet(*question, return_dict=False)[0]
    return found
