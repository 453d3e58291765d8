"""From a member to the stock diffusers config that says it, and to the module path of its slots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdsearch.architecture import DECODER_SLOTS, ENCODER_SLOTS, member_backbone
from sdsearch.errors import InputError

if TYPE_CHECKING:
    from sdsearch.architecture import Architecture
    from sdsearch.backbone import Backbone


def unet_config(arch: Architecture, backbone: Backbone) -> dict[str, Any]:
    """The `UNet2DConditionModel` config of a member, as JSON would hold it (lists, never tuples).

    A half-level without any attention uses the plain block class. Where a half-level mixes, the
    transformer depths are nested lists with 0 for a ghost (diffusers >= 0.22); elsewhere the config
    stays as plain as BK-SDM's.
    """
    stages = 3 if arch.bottom.depth is None else 4
    widths = member_backbone(arch, backbone).block_out_channels
    heads = backbone.attention_head_dim
    config: dict[str, Any] = {
        "sample_size": backbone.sample_size,
        "in_channels": backbone.in_channels,
        "out_channels": backbone.out_channels,
        "block_out_channels": list(widths[:stages]),
        "down_block_types": [_block_type("Down", level.down_attn) for level in arch.levels],
        "up_block_types": [_block_type("Up", level.up_attn) for level in reversed(arch.levels)],
        "mid_block_type": {
            "attention": "UNetMidBlock2DCrossAttn",
            "resnet": "UNetMidBlock2D",
            None: None,
        }[arch.bottom.mid],
        "layers_per_block": [level.depth for level in arch.levels],
        "attention_head_dim": list(heads[:stages]) if isinstance(heads, tuple) else heads,
        "cross_attention_dim": backbone.cross_attention_dim,
        "norm_num_groups": backbone.norm_num_groups,
        "norm_eps": backbone.norm_eps,
        "use_linear_projection": backbone.use_linear_projection,
        "upcast_attention": backbone.upcast_attention,
        "flip_sin_to_cos": backbone.flip_sin_to_cos,
        "freq_shift": backbone.freq_shift,
        "act_fn": "silu",
        "downsample_padding": 1,
        "mid_block_scale_factor": 1,
        "center_input_sample": False,
    }
    if arch.bottom.depth is not None:
        config["down_block_types"].append("DownBlock2D")
        config["up_block_types"].insert(0, "UpBlock2D")
        config["layers_per_block"].append(arch.bottom.depth)
    if arch.ghost_slots:
        config |= _nested_depths(arch)
    return config


def student_path(slot: str, arch: Architecture) -> str:
    """Module path in the member's UNet of a slot that it keeps or has as a ghost.

    Raises:
        InputError: the member has no module for this slot.
    """
    if slot not in arch.kept_slots | arch.ghost_slots:
        raise InputError(f"slot {slot!r} has no module in architecture {arch.key}: it was removed")
    if slot in ("conv_in", "conv_out"):
        return slot
    block, *number, kind, layer = (
        slot.split(".") if not slot.endswith("sample") else (*slot.split("."), "0")
    )
    if block == "mid":
        return f"mid_block.{'resnets' if kind == 'res' else 'attentions'}.{layer}"
    stage = int(number[0])
    if kind == "sample":
        modules = "downsamplers" if block == "down" else "upsamplers"
        position = 0
    else:
        modules = "resnets" if kind == "res" else "attentions"
        position = _kept_layers(block, stage, arch).index(int(layer))
    shift = 1 if block == "up" and arch.bottom.depth is None else 0
    return f"{block}_blocks.{stage - shift}.{modules}.{position}"


def _kept_layers(block: str, stage: int, arch: Architecture) -> tuple[int, ...]:
    level = stage if block == "down" else 3 - stage
    depth = arch.levels[level].depth if level < 3 else arch.bottom.depth
    slots = ENCODER_SLOTS if block == "down" else DECODER_SLOTS
    return slots[depth if depth is not None else 0]


def _block_type(side: str, attention: tuple[bool, ...]) -> str:
    return f"CrossAttn{side}Block2D" if any(attention) else f"{side}Block2D"


def _nested_depths(arch: Architecture) -> dict[str, Any]:
    down: list[Any] = [[int(on) for on in level.down_attn] for level in arch.levels]
    up: list[Any] = [[int(on) for on in level.up_attn] for level in reversed(arch.levels)]
    if arch.bottom.depth is not None:
        # The mid block reads its own transformer depth from the last entry.
        down.append(1)
        up.insert(0, 1)
    return {"transformer_layers_per_block": down, "reverse_transformer_layers_per_block": up}
