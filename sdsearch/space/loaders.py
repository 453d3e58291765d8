"""Where members load besides diffusers: the rule for a member, and for every member of a space.

Importers of the original layout count blocks from the names of tensors, and read widths from their
shapes, so that they build pruned UNets too; but what a name cannot say, they take for granted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from sdsearch.unet import Bottom, Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sdsearch.space.space import SearchSpace
    from sdsearch.unet import Architecture, Backbone

Loader = Literal["single-file", "comfyui", "from_single_file"]
"""`single-file`: the original layout says the UNet exactly; `comfyui`: ComfyUI computes it too;
`from_single_file`: so does that method of diffusers, told the config."""
LOADERS: tuple[Loader, ...] = get_args(Loader)
_MODEL_CHANNELS = 320
_TEXT_WIDTHS = {False: 768, True: 1024}
"""Of SD 1.x and of SD 2.x, by whether their projections are linear."""
_HEAD_WIDTH, _HEADS = 64, 8
"""ComfyUI gives SD 2.x heads of 64 channels, and SD 1.x 8 heads, whatever the width."""


def why_not_loaded(arch: Architecture, backbone: Backbone, loader: Loader) -> str | None:
    """Why a member does not load somewhere, in words; None where it does, and computes the same.

    Exact are members that have an encoder block at each level that they have, attention somewhere
    in the encoder, and widths that are multiples of level 0's. ComfyUI also has to know the family.

    >>> from sdsearch.unet import NAMED, SD14
    >>> why_not_loaded(NAMED["bk-tiny"], SD14, "comfyui") is None
    True
    """
    widths = arch.widths or backbone.block_out_channels
    reason = why_unknown(backbone) if loader == "comfyui" else None
    if reason is None and arch.bottom.depth == 0:
        reason = "level 3 has no encoder block, and importers count levels by these"
    if reason is None and not any(any(level.down_attn) for level in arch.levels):
        reason = "the encoder has no attention, from which importers read the width of texts"
    if reason is None and any(width % widths[0] for width in widths):
        said = "/".join(map(str, widths))
        reason = f"importers read widths as multiples of level 0's, and these are {said}"
    if reason is None and loader == "from_single_file":
        reason = _why_not_converted(arch)
    if reason is None and loader == "comfyui" and widths[0] != _MODEL_CHANNELS:
        reason = f"ComfyUI knows {_MODEL_CHANNELS} channels at level 0, and this has {widths[0]}"
    if reason is None and loader == "comfyui":
        for level, (width, heads) in enumerate(zip(widths, backbone.heads, strict=True)):
            if not _has_known_heads(width, heads, linear=backbone.use_linear_projection):
                return f"ComfyUI would give level {level} other heads than {heads} at width {width}"
    return reason


def _why_not_converted(arch: Architecture) -> str | None:
    """What the converter of diffusers, which divides numbers by one depth, maps wrongly."""
    if arch.ghost_slots:
        return "diffusers' converter misses tensors of attentions that are off beside others"
    depths = {level.depth for level in arch.levels} | {arch.bottom.depth} - {None}
    if len(depths) > 1:
        return "diffusers' converter takes every level to have as many res blocks"
    return None


def why_unknown(backbone: Backbone) -> str | None:
    """Why ComfyUI has no model of a UNet's family, whatever is pruned; None where it has one."""
    wanted = {
        "cross_attention_dim": _TEXT_WIDTHS[backbone.use_linear_projection],
        "norm_num_groups": 32,
        "norm_eps": 1e-5,
        "out_channels": 4,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
    }
    for field, value in wanted.items():
        if (found := getattr(backbone, field)) != value:
            return f"ComfyUI knows {field} {value!r} only, and this UNet has {found!r}"
    if backbone.block_out_channels[0] != _MODEL_CHANNELS:
        width = backbone.block_out_channels[0]
        return f"ComfyUI knows {_MODEL_CHANNELS} channels at level 0, and this has {width}"
    return None


def space_loads(space: SearchSpace, loader: Loader) -> NDArray[np.bool_]:
    """(len(space),) which members load, exactly those of which `why_not_loaded` says nothing."""
    backbone, found = space.backbone, np.ones(space.radices, np.bool_)
    if loader == "comfyui" and why_unknown(backbone) is not None:
        return np.zeros(len(space), np.bool_)
    axes = tuple(range(len(space.units)))

    def along(axis: int, values: list[int]) -> NDArray[np.int64]:
        """A value of each option of a unit, to be broadcast over the others."""
        return np.expand_dims(np.array(values, np.int64), tuple(set(axes) - {axis}))

    attention = np.zeros(space.radices, np.bool_)
    first = along(0, [option.width or 0 for option in space.units[0].options])
    first_depths = along(0, [option.blocks.depth or 0 for option in space.units[0].options])
    for axis, unit in enumerate(space.units):
        blocks, full = [option.blocks for option in unit.options], backbone.heads[axis]
        # A bottom without a width of its own has that of level 2, which is looked at there.
        widths = along(axis, [option.width or 0 for option in unit.options])
        found &= widths % first == 0
        if loader == "comfyui":
            found &= (first == _MODEL_CHANNELS) & _known_heads(widths, full, backbone)
        encoders = [isinstance(one, Level) and any(one.down_attn) for one in blocks]
        attention |= along(axis, [int(one) for one in encoders]) > 0
        if loader == "from_single_file":
            found &= along(axis, [int(_is_mixed(one)) for one in blocks]) == 0
            depths = along(axis, [one.depth or 0 for one in blocks])
            # Without level 3 the others decide; depth 0 there is refused below.
            found &= (depths == first_depths) | (depths == 0)
        empty = [isinstance(one, Bottom) and one.depth == 0 for one in blocks]
        found &= along(axis, [int(one) for one in empty]) == 0
    return (found & attention).reshape(-1)


def _is_mixed(blocks: Level | Bottom) -> bool:
    """Whether a half of a level has attention at some of its res blocks only."""
    halves = (blocks.down_attn, blocks.up_attn) if isinstance(blocks, Level) else ()
    return any(len(set(half)) > 1 for half in halves)


def _known_heads(widths: NDArray[np.int64], heads: int, backbone: Backbone) -> NDArray[np.bool_]:
    known = {
        int(width): width == 0
        or _has_known_heads(int(width), heads, linear=backbone.use_linear_projection)
        for width in np.unique(widths)
    }
    return np.array([known[int(width)] for width in widths.flat]).reshape(widths.shape)


def _has_known_heads(width: int, heads: int, *, linear: bool) -> bool:
    return heads * _HEAD_WIDTH == width if linear else heads == _HEADS
