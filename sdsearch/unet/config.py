"""From a member to the stock diffusers config that says it, and to the module path of its slots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sdsearch.errors import InputError
from sdsearch.unet.architecture import Architecture, member_backbone
from sdsearch.unet.backbone import check_family, plain_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdsearch.unet.backbone import Backbone
    from sdsearch.unet.slots import Slot


def unet_config(arch: Architecture, backbone: Backbone) -> dict[str, Any]:
    """The `UNet2DConditionModel` config of a member, as JSON would hold it (lists, never tuples).

    A half-level without any attention uses the plain block class. Where a half-level mixes, the
    transformer depths are nested lists with 0 for a ghost (diffusers >= 0.22); elsewhere the config
    stays as plain as BK-SDM's. `layers_per_block` is one number where every level has as many:
    converters of other layouts compute with it.
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
    if len(set(config["layers_per_block"])) == 1:
        config["layers_per_block"] = config["layers_per_block"][0]
    if arch.ghost_slots:
        config |= _nested_depths(arch)
    return config


def student_path(slot: Slot, arch: Architecture) -> str:
    """Module path in the member's UNet of a slot that it keeps or has as a ghost.

    Raises:
        InputError: the member has no module for this slot.
    """
    if slot.name not in arch.kept_slots | arch.ghost_slots:
        raise InputError(
            f"slot {slot.name!r} has no module in architecture {arch.key}: it was removed"
        )
    if slot.kind in ("conv_in", "conv_out"):
        return slot.name
    modules = {
        "res": "resnets",
        "attn": "attentions",
        "sample": "downsamplers" if slot.half == "enc" else "upsamplers",
    }[slot.kind]
    if slot.half == "mid":
        return f"mid_block.{modules}.{slot.layer}"
    # Modules are numbered without the removed ones, decoder blocks from the deepest level up.
    number = 0 if slot.kind == "sample" else arch.kept_layers(slot).index(slot.layer)
    if slot.half == "enc":
        return f"down_blocks.{slot.level}.{modules}.{number}"
    deepest = 2 if arch.bottom.depth is None else 3
    return f"up_blocks.{deepest - slot.level}.{modules}.{number}"


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


_MIDS = {"UNetMidBlock2DCrossAttn": "attention", "UNetMidBlock2D": "resnet", None: None}
_FACTS: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "norm_num_groups": 32,
    "cross_attention_dim": 1280,
    "use_linear_projection": False,
    "norm_eps": 1e-5,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
}
"""Fields that a member shares with its backbone, and the class's defaults. `sample_size` and
`upcast_attention` may differ: they change no tensor and no block."""


def read_architecture(config: Mapping[str, Any], backbone: Backbone) -> Architecture:
    """The pruned member of a backbone that a `UNet2DConditionModel` config says.

    Configs of every diffusers release count, also those of 0.15 that have no transformer depths.
    `widths` are set where the config's are not the backbone's.

    Raises:
        InputError: the config is no member; the field, its value and the reason are named.
    """
    config = plain_config(config)
    check_family(config)
    stages = len(config.get("block_out_channels", backbone.block_out_channels))
    if stages not in (3, 4):
        raise InputError(f"block_out_channels must have 3 or 4 levels, but it has {stages}")
    _check_facts(config, backbone, stages)
    depths = _list_of("layers_per_block", config.get("layers_per_block", 2), stages)
    for level, depth in enumerate(depths):
        if depth not in ((1, 2) if level < 3 else (0, 1, 2)):
            raise InputError(
                f"layers_per_block must be 1 or 2 at levels 0 to 2 and 0 to 2 at level 3, but it "
                f"is {depth!r} at level {level}"
            )
    down, up = _transformer_depths(config, stages)
    levels = []
    for level, depth in enumerate(depths[:3]):
        stage = stages - 1 - level  # of the decoder, which counts from the bottom
        levels.append(
            {
                "depth": depth,
                "down_attn": _bits(config, "down", level, depth, down[level]),
                "up_attn": _bits(config, "up", stage, depth + 1, up[stage]),
            }
        )
    if stages == 4:
        _check_level_3(config)
    bottom = {"depth": depths[3] if stages == 4 else None, "mid": _mid(config, stages, down[-1])}
    member = {"levels": levels, "bottom": bottom, "widths": _widths(config, backbone)}
    try:
        arch = Architecture.model_validate(member)
    except ValidationError as error:
        raise InputError(f"the config says no member: {error.errors()[0]['msg']}") from error
    member_backbone(arch, backbone)  # refuses widths that groups or heads do not divide
    return arch


def _check_facts(config: Mapping[str, Any], backbone: Backbone, stages: int) -> None:
    for name, default in _FACTS.items():
        value, wanted = config.get(name, default), getattr(backbone, name)
        if value != wanted:
            raise InputError(f"{name} must be the backbone's {wanted!r}, but it is {value!r}")
    given = config.get("attention_head_dim", 8)
    heads = _list_of("attention_head_dim", given, stages)
    if heads != list(backbone.heads[:stages]):
        raise InputError(
            f"attention_head_dim, the number of heads, must be {list(backbone.heads[:stages])} as "
            f"in the backbone, but it is {given!r}: such a net loads its weights silently "
            "and computes something else"
        )


def _list_of(name: str, value: Any, stages: int) -> list[Any]:
    """One entry per level, a scalar repeated."""
    if not isinstance(value, list):
        return [value] * stages
    if len(value) != stages:
        raise InputError(f"{name} must have one entry for each of {stages} levels: {value!r}")
    return value


def _transformer_depths(config: Mapping[str, Any], stages: int) -> tuple[list[Any], list[Any]]:
    """Transformer depths of the encoder and of the decoder, each in order of execution."""
    name = "transformer_layers_per_block"
    down = _list_of(name, config.get(name, 1), stages)
    reverse = config.get(f"reverse_{name}")
    if reverse is None:
        if any(isinstance(depth, list) for depth in down):
            raise InputError(f"a nested {name} needs reverse_{name}, but it is missing")
        return down, down[::-1]
    return down, _list_of(f"reverse_{name}", reverse, stages)


def _bits(
    config: Mapping[str, Any], side: str, stage: int, blocks: int, depth: Any
) -> tuple[bool, ...]:
    """Which res blocks of a half-level have attention, in order of execution."""
    field, kind = f"{side}_block_types", _said_block_type(config, side, stage)
    if kind == f"{side.capitalize()}Block2D":
        return (False,) * blocks
    if kind != f"CrossAttn{side.capitalize()}Block2D":
        raise InputError(f"{field}[{stage}] must be a 2D block with or without attention: {kind!r}")
    depths = depth if isinstance(depth, list) else [depth] * blocks
    if len(depths) != blocks or any(one not in (0, 1) for one in depths):
        raise InputError(
            f"transformer depths of {field}[{stage}] must be {blocks} times 0 or 1, but are "
            f"{depth!r}"
        )
    if not any(depths):
        raise InputError(
            f"{field}[{stage}] is {kind!r} with transformer depth 0 everywhere, which keeps the "
            f"projections; members without attention there say '{side.capitalize()}Block2D'"
        )
    return tuple(bool(one) for one in depths)


def _said_block_type(config: Mapping[str, Any], side: str, stage: int) -> Any:
    field, stages = f"{side}_block_types", len(config.get("block_out_channels", range(4)))
    plain, attention = f"{side.capitalize()}Block2D", f"CrossAttn{side.capitalize()}Block2D"
    default = [attention] * 3 + [plain]
    return _list_of(field, config.get(field, default if side == "down" else default[::-1]), stages)[
        stage
    ]


def _check_level_3(config: Mapping[str, Any]) -> None:
    for side, stage in (("down", 3), ("up", 0)):
        plain, found = f"{side.capitalize()}Block2D", _said_block_type(config, side, stage)
        if found != plain:
            raise InputError(
                f"{side}_block_types[{stage}] must be {plain!r}, as level 3 has no attention, but "
                f"it is {found!r}"
            )


def _mid(config: Mapping[str, Any], stages: int, depth: Any) -> str | None:
    kind = config.get("mid_block_type", "UNetMidBlock2DCrossAttn")
    if kind not in _MIDS:
        raise InputError(f"mid_block_type must be one of {list(_MIDS)}, but it is {kind!r}")
    if kind == "UNetMidBlock2DCrossAttn":
        if stages == 3:
            raise InputError(
                "mid_block_type must be 'UNetMidBlock2D' or null in a three-level net, whose mid "
                "block shares its transformer depth with level 2"
            )
        if (depth[0] if isinstance(depth, list) else depth) != 1:
            raise InputError(
                "the last entry of transformer_layers_per_block is the mid block's depth and must "
                f"be 1, but it is {depth!r}"
            )
    return _MIDS[kind]


def _widths(config: Mapping[str, Any], backbone: Backbone) -> list[int] | None:
    full = list(backbone.block_out_channels)
    widths: list[int] = list(config.get("block_out_channels", full))
    if widths == full[: len(widths)]:
        return None
    return [*widths, widths[2]] if len(widths) == 3 else widths
