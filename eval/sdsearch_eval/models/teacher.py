"""The teacher: a pipeline's components and its UNet's weights, from which students inherit."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from sdsearch.pipelines import read_part
from sdsearch.unet import Backbone, read_unet_config, teacher_sha256
from sdsearch.weights import inherit_weights, make_unet, open_unet_weights
from sdsearch_eval.devices import place_net
from sdsearch_eval.models.components import Components, load_components

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from diffusers import UNet2DConditionModel
    from torch import Tensor

    from sdsearch.pipelines import PipelineFolder
    from sdsearch.unet import Architecture


@dataclass(frozen=True, slots=True)
class Teacher(Components):
    """Everything that stays the same for all students; `revision` is the commit of a hub id.

    The UNet's weights are read from their files whenever a student is made, so that they do not
    fill memory twice.
    """

    backbone: Backbone
    unet_state: Mapping[str, Tensor]
    sha256: str
    revision: str | None = None

    def student(self, arch: Architecture) -> UNet2DConditionModel:
        """A fresh UNet of `arch` with inherited weights, on the device."""
        unet = inherit_weights(arch, self.backbone, self.unet_state)
        return place_net(unet, self.device)

    def empty_student(self, arch: Architecture) -> UNet2DConditionModel:
        """A fresh UNet of `arch` whose weights are still to be loaded, on the device."""
        return place_net(make_unet(arch, self.backbone), self.device)


def load_teacher(pipeline: PipelineFolder, device: torch.device) -> Teacher:
    """Load a pipeline in float32, whatever layout and precision it is stored in.

    Raises:
        InputError: the pipeline lacks a part, or its UNet is no SD v1.4-family backbone of 4 or 9
            input channels.
    """
    unet = read_part(pipeline, "unet")
    backbone = Backbone.from_config(read_unet_config(unet.folder / "config.json"))
    weights = open_unet_weights(unet)
    parts = load_components(pipeline, device)
    return Teacher(
        **{field.name: getattr(parts, field.name) for field in fields(parts)},
        backbone=backbone,
        unet_state=weights,
        sha256=teacher_sha256(pipeline),
        revision=pipeline.revision,
    )


def widen_teacher(teacher: Teacher) -> Teacher:
    """A teacher of 4 channels whose students have 9, the new ones of weight zero.

    Until they are trained they say what it says, whatever mask and masked image are.
    """
    return replace(teacher, backbone=teacher.backbone.inpainting)
