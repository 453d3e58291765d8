"""A call of a UNet without weights or memory: what it needs to run, and where its weights are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdsearch.unet import TEXT_TOKENS, native_size

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial of a config found.

    Attributes:
        refusal: what a call with latents, step and text alone raises, in one line; None if nothing.
        linear: parameters in the weights of linear layers.
        total: all parameters.
    """

    refusal: str | None
    linear: int
    total: int


def try_call(config: Mapping[str, Any]) -> Trial:
    """Build the UNet of a config on torch's meta device, and call it once at its native size.

    The config must be one that diffusers builds.
    """
    import torch
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from torch import nn

    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(dict(config)).eval()
    linear = [one.weight.numel() for one in unet.modules() if isinstance(one, nn.Linear)]
    return Trial(
        refusal=_refusal(unet, config),
        linear=sum(linear),
        total=sum(one.numel() for one in unet.parameters()),
    )


def _refusal(unet: Any, config: Mapping[str, Any]) -> str | None:
    import torch

    try:
        size, width = native_size(config), config.get("cross_attention_dim", 1280)
        width = width if isinstance(width, int) else width[0]
        with torch.no_grad(), torch.device("meta"):
            unet(
                torch.zeros(1, config.get("in_channels", 4), size, size),
                torch.zeros(1, dtype=torch.int64),
                torch.zeros(1, TEXT_TOKENS, width),
            )
    except Exception as error:  # noqa: BLE001 (whatever a call raises is the finding)
        return " ".join(str(error).split())[:200] or type(error).__name__
    return None
