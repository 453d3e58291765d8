"""Weight inheritance: where every tensor of a student comes from, and a student that has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdsearch.errors import InputError
from sdsearch.slots import SLOTS
from sdsearch.space import search_space
from sdsearch.unet_config import student_path, unet_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from torch import Tensor

    from sdsearch.architecture import Architecture
    from sdsearch.backbone import Backbone

ALWAYS_KEPT = ("time_embedding", "conv_norm_out")


@dataclass(frozen=True, slots=True)
class Source:
    """Where one student tensor comes from.

    `tensor` names the teacher tensor, or is None for zeros. `zero_channels` counts input channels
    appended as zeros (a 9-channel student of a 4-channel teacher).
    """

    tensor: str | None
    zero_channels: int = 0


def make_unet(arch: Architecture, backbone: Backbone) -> UNet2DConditionModel:
    """Build a member's UNet in evaluation mode; its weights are uninitialised, so load them all."""
    import torch
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.device("meta"):
        unet: UNet2DConditionModel = UNet2DConditionModel.from_config(unet_config(arch, backbone))
    return unet.to_empty(device="cpu").eval()


def provenance(
    arch: Architecture, backbone: Backbone, teacher_in_channels: int | None = None
) -> dict[str, Source]:
    """The source of every tensor of the member's UNet, by name; none is left out.

    `teacher_in_channels` is the teacher's `conv_in` width where it differs from the backbone's.
    """
    import torch
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    teacher = search_space("sd14", backbone).members["teacher"]
    paths = {
        student_path(slot.name, arch): student_path(slot.name, teacher)
        for slot in SLOTS
        if slot.name in arch.kept_slots | arch.ghost_slots
    }
    paths |= {module: module for module in ALWAYS_KEPT}
    ghosts = {student_path(slot, arch) for slot in arch.ghost_slots}
    with torch.device("meta"):
        names = UNet2DConditionModel.from_config(unet_config(arch, backbone)).state_dict().keys()
    sources = {}
    for name in names:
        module = next(path for path in paths if name.startswith(f"{path}."))
        tail = name.removeprefix(f"{module}.")
        if module in ghosts and tail.startswith("proj_out."):
            sources[name] = Source(None)
        else:
            sources[name] = Source(f"{paths[module]}.{tail}")
    missing = backbone.in_channels - (teacher_in_channels or backbone.in_channels)
    if missing > 0:
        sources["conv_in.weight"] = Source("conv_in.weight", zero_channels=missing)
    return sources


def inherit(
    arch: Architecture, backbone: Backbone, teacher_state: Mapping[str, Tensor]
) -> UNet2DConditionModel:
    """A freshly built student with the teacher's weights, in float32 and evaluation mode.

    The unpruned member equals the teacher bit for bit. A 4-channel teacher gives a 9-channel
    student whose five new input channels (mask 1, masked-image latents 4) are zero.

    Raises:
        InputError: the teacher lacks a tensor or has it in another shape.
    """
    import torch

    unet = make_unet(arch, backbone)
    teacher_in_channels = teacher_state["conv_in.weight"].shape[1]
    sources = provenance(arch, backbone, teacher_in_channels)
    state: dict[str, Tensor] = {}
    for name, expected in unet.state_dict().items():
        source = sources[name]
        if source.tensor is None:
            state[name] = torch.zeros(expected.shape)
            continue
        if source.tensor not in teacher_state:
            raise InputError(
                f"the teacher has no tensor {source.tensor!r}, which {name!r} inherits"
            )
        tensor = teacher_state[source.tensor].to(torch.float32)
        if source.zero_channels:
            zeros = tensor.new_zeros(tensor.shape[0], source.zero_channels, *tensor.shape[2:])
            tensor = torch.cat([tensor, zeros], dim=1)
        if tensor.shape != expected.shape:
            raise InputError(
                f"{name!r} must have shape {tuple(expected.shape)}, but the teacher's "
                f"{source.tensor!r} has {tuple(tensor.shape)}; does the backbone describe this "
                "teacher?"
            )
        state[name] = tensor
    unet.load_state_dict(state, strict=True)
    return unet
