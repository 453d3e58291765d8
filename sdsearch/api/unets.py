"""Stock UNets of architectures, from the weights of any teacher."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sdsearch.unet import Backbone, teacher_backbone, unet_weights

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    from sdsearch.unet import Architecture
    from sdsearch.weights import ChannelRule


def inherit_unet(
    architecture: Architecture,
    teacher: UNet2DConditionModel | Path | str = "tiny",
    channels: ChannelRule = "l2",
) -> UNet2DConditionModel:
    """A stock `UNet2DConditionModel` of an architecture that starts from a teacher's weights.

    Put it into the teacher's pipeline, or train it: it needs no sdsearch any more.

    Args:
        architecture: what is kept.
        teacher: "tiny", a pipeline folder or a hub id; or an unpruned UNet in memory, such as
            `pipeline.unet`.
        channels: by which rule narrower levels choose the channels that they keep.

    Returns:
        The UNet in float32 on the CPU, in evaluation mode.

    >>> import sdsearch
    >>> own = sdsearch.Architecture.parse("bk-small; level 0: attention up 01")
    >>> unet = sdsearch.inherit_unet(own, "tiny")
    >>> unet.num_parameters() == sdsearch.unet_cost(own, sdsearch.find_backbone("tiny")).params
    True

    Raises:
        InputError: the teacher cannot be read, or is no unpruned UNet of the SD v1 and v2 family;
            or the rule is unknown.
    """
    from sdsearch.weights import inherit_weights

    if isinstance(teacher, (str, Path)):
        backbone = teacher_backbone(str(teacher))
        return inherit_weights(architecture, backbone, unet_weights(str(teacher)), channels)
    return inherit_weights(
        architecture, Backbone.from_config(teacher.config), teacher.state_dict(), channels
    )
