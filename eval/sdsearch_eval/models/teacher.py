"""The teacher: a pipeline's components and its UNet's weights, from which students inherit."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch

from sdsearch.errors import InputError
from sdsearch.unet import Backbone, teacher_sha256, unet_weights
from sdsearch.weights import inherit_weights, make_unet
from sdsearch_eval.models.components import Components, load_components

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from diffusers import UNet2DConditionModel
    from torch import Tensor

    from sdsearch.unet import Architecture


@dataclass(frozen=True, slots=True)
class Teacher(Components):
    """Everything that stays the same for all students."""

    backbone: Backbone
    unet_state: Mapping[str, Tensor]
    sha256: str

    def student(self, arch: Architecture) -> UNet2DConditionModel:
        """A fresh UNet of `arch` with inherited weights, channels last."""
        unet = inherit_weights(arch, self.backbone, self.unet_state)
        return unet.to(self.device, memory_format=torch.channels_last)

    def empty_student(self, arch: Architecture) -> UNet2DConditionModel:
        """A fresh UNet of `arch` whose weights are still to be loaded, channels last."""
        return make_unet(arch, self.backbone).to(self.device, memory_format=torch.channels_last)


def load_teacher(folder: Path, device: torch.device) -> Teacher:
    """Load a local diffusers folder in float32, whatever precision it is stored in.

    Raises:
        InputError: the folder lacks a part, or its UNet is no SD v1.4-family backbone of 4 or 9
            input channels.
    """
    from safetensors.torch import load_file

    config = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
    backbone = Backbone.from_config(config)
    if backbone.in_channels not in (4, 9):
        raise InputError(
            f"the teacher's UNet must have 4 input channels (blending) or 9 (inpainting), but has "
            f"{backbone.in_channels}"
        )
    weights = unet_weights(str(folder))
    parts = load_components(folder, device)
    return Teacher(
        **{field.name: getattr(parts, field.name) for field in fields(parts)},
        backbone=backbone,
        unet_state={name: tensor.float() for name, tensor in load_file(weights).items()},
        sha256=teacher_sha256(folder),
    )
