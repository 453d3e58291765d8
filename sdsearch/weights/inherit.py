"""Weight inheritance: a student built from its config and filled tensor by tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from sdsearch.errors import InputError, WorkError
from sdsearch.unet import unet_config
from sdsearch.weights.channels import STREAMS, ChannelChoice, channel_choices
from sdsearch.weights.importance import ChannelRule, check_channels, choose_channels
from sdsearch.weights.provenance import Source, trace_weights
from sdsearch.weights.tensorfiles import TensorFiles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from numpy.typing import NDArray
    from torch import Tensor

    from sdsearch.unet import Architecture, Backbone

__all__ = [
    "ChannelCut",
    "frequency_resampling",
    "inherit_weights",
    "load_unet",
    "make_unet",
    "plan_cut",
]

_ROWS = 64
"""Output channels sliced at a time, so that no second copy of a large tensor comes up."""


def make_unet(
    arch: Architecture, backbone: Backbone, device: torch.device | None = None
) -> UNet2DConditionModel:
    """Build a member's UNet in evaluation mode; its weights are uninitialised, so load them all.

    `device` is by default the CPU; on "meta" there are shapes alone.
    """
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.device("meta"):
        unet: UNet2DConditionModel = UNet2DConditionModel.from_config(unet_config(arch, backbone))
    if device is None or device.type != "meta":
        # As `to_empty` does, in a tenth of its time: a probe builds dozens of nets.
        shapes = {name: tensor.shape for name, tensor in unet.state_dict().items()}
        empty = {name: torch.empty(shape, device=device) for name, shape in shapes.items()}
        unet.load_state_dict(empty, assign=True)
    return unet.eval()


def load_unet(arch: Architecture, backbone: Backbone, weights: Path) -> UNet2DConditionModel:
    """A member's UNet with the weights of a safetensors file, in evaluation mode.

    Raises:
        WorkError: the file lacks a tensor of the member, or holds one of another.
    """
    from safetensors.torch import load_file

    unet = make_unet(arch, backbone)
    try:
        unet.load_state_dict(load_file(weights))
    except RuntimeError as error:
        raise WorkError(
            f"the weights in {weights} must fit {arch.key}, but do not; delete the file and "
            f"recover again: {str(error).splitlines()[1].strip()}"
        ) from None
    return unet


def inherit_weights(
    arch: Architecture,
    backbone: Backbone,
    teacher: Mapping[str, Tensor],
    channels: ChannelRule | Mapping[str, NDArray[np.int64]] = "l2",
) -> UNet2DConditionModel:
    """A freshly built student with the teacher's weights, in float32 and evaluation mode.

    `teacher` is its UNet's state, or its `TensorFiles`, which are read one tensor at a time,
    straight into the student. The unpruned member equals the teacher bit for bit. A 4-channel
    teacher gives a 9-channel student whose five new input channels (mask 1, masked-image latents
    4) are zero.
    Narrower members keep the channels that `channels` says: a rule, or the channels themselves by
    choice (as `choose_channels` returns them; any admissible order).

    Raises:
        InputError: the teacher lacks a tensor or has it in another shape, or channels are not
            admissible.
    """
    with torch.no_grad():
        if "conv_in.weight" not in teacher:
            raise InputError("the teacher has no tensor 'conv_in.weight': is it a UNet?")
        sources = trace_weights(arch, backbone, _shape(teacher, "conv_in.weight")[1])
        kept = (
            choose_channels(arch, backbone, teacher, channels)
            if isinstance(channels, str)
            else channels
        )
        cut = plan_cut(arch, backbone, kept)
        unet = make_unet(arch, backbone)
        whole: list[tuple[str, Tensor]] = []
        for name, target in unet.state_dict().items():
            _fill(name, target, sources[name], teacher, cut, whole)
        _copy_whole(teacher, whole)
    return unet


def plan_cut(
    arch: Architecture, backbone: Backbone, kept: Mapping[str, NDArray[np.int64]]
) -> ChannelCut:
    """How a student cuts the teacher's tensors; `kept` is as `choose_channels` returns it.

    Raises:
        InputError: channels are not admissible, or those of a narrower student are missing.
    """
    choices = channel_choices(arch, backbone)
    check_channels(choices, kept)
    return ChannelCut(choices, kept, backbone.freq_shift)


@dataclass(frozen=True, slots=True)
class ChannelCut:
    """Channel choices as indices along the dimensions of teacher tensors."""

    choices: Mapping[str, ChannelChoice]
    kept: Mapping[str, NDArray[np.int64]]
    freq_shift: int

    def teacher_shape(self, target: Tensor, source: Source) -> tuple[int, ...]:
        """The shape that the source of `target` must have."""
        shape = list(target.shape)
        for dimension, axis in enumerate(source.axes):
            if axis:
                shape[dimension] = sum(self.choices[name].teacher for name in axis)
        if source.how == "resample":
            shape[1] = self.choices[STREAMS[0]].teacher
        if source.zero_channels:
            shape[1] -= source.zero_channels
        return tuple(shape)

    def indices(self, source: Source, dimension: int) -> Tensor | None:
        """The teacher's channels kept along a dimension, in the student's order; None: all."""
        axis = source.axes[dimension] if dimension < len(source.axes) else ()
        if not any(name in self.kept for name in axis):
            return None
        parts, offset = [], 0
        for name in axis:
            whole = self.choices[name].teacher
            parts.append(self.kept.get(name, np.arange(whole)) + offset)
            offset += whole
        return torch.from_numpy(np.concatenate(parts))


def _fill(
    name: str,
    target: Tensor,
    source: Source,
    weights: Mapping[str, Tensor],
    cut: ChannelCut,
    whole: list[tuple[str, Tensor]],
) -> None:
    """Write one student tensor from its source, or note in `whole` that it is a plain copy."""
    rows, columns = cut.indices(source, 0), cut.indices(source, 1)
    if source.tensor is None:
        target.zero_()
        if source.how == "identity":
            into, out_of = (
                torch.arange(target.shape[d]) if kept is None else kept
                for d, kept in enumerate((rows, columns))
            )
            target[:, :, 0, 0] = (into[:, None] == out_of).to(target.dtype)
        return
    if source.tensor not in weights:
        raise InputError(f"the teacher has no tensor {source.tensor!r}, which {name!r} inherits")
    expected, found = cut.teacher_shape(target, source), _shape(weights, source.tensor)
    if found != expected:
        raise InputError(
            f"the teacher's {source.tensor!r}, which {name!r} inherits, must have shape "
            f"{expected}, but has {found}; does the backbone describe this teacher?"
        )
    if source.zero_channels:
        target.zero_()
        target = target[:, : -source.zero_channels]
    elif rows is None and columns is None and source.how == "copy":
        whole.append((source.tensor, target))
        return
    tensor = weights[source.tensor].float()  # kernels for 8 bits are few
    if source.how == "resample":
        spread = frequency_resampling(expected[1], target.shape[1], cut.freq_shift)
        tensor = tensor @ spread.T
    for start in range(0, len(target), _ROWS):
        stop = start + _ROWS
        part = tensor[start:stop] if rows is None else tensor[rows[start:stop]]
        target[start:stop] = part if columns is None else part.index_select(1, columns)


def frequency_resampling(teacher: int, student: int, shift: int = 0) -> Tensor:
    """(student, teacher) matrix that carries weights of timestep frequencies to a coarser axis.

    A sinusoidal embedding of `width` channels holds `width / 2` frequencies 10000^(-i / (width / 2
    - shift)), once as sine and once as cosine. Each of the teacher's frequencies shares its weight
    between the two nearest of the student's by their distance on the logarithmic axis, so every
    column sums to 1 and slow frequencies keep their joint effect.

    Raises:
        InputError: a width is odd, so that sines and cosines do not pair.
    """
    if teacher % 2 or student % 2:
        raise InputError(
            f"level 0 must have an even width to resample the timestep frequencies, but the widths "
            f"are {teacher} and {student}"
        )
    many, few = teacher // 2, student // 2
    places = torch.arange(many) * ((few - shift) / (many - shift))
    places = places.clamp(0, few - 1)
    half = (1 - (torch.arange(few)[:, None] - places).abs()).clamp(min=0)
    both: Tensor = torch.block_diag(half, half)
    return both


def _copy_whole(weights: Mapping[str, Tensor], whole: list[tuple[str, Tensor]]) -> None:
    if isinstance(weights, TensorFiles):
        weights.read_many(whole)
        return
    for name, target in whole:
        target.copy_(weights[name])


def _shape(weights: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    return weights.shape(name) if isinstance(weights, TensorFiles) else tuple(weights[name].shape)
