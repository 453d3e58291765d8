"""Parameters, multiply-accumulates (MACs) and activations of a member, by formula, block by block.

MACs come in two columns: convolutions and linear layers, as the published numbers of this family
count them, and the attention matmuls (QK^T and AV) that module hooks do not see. Normalisation,
activations and biases count nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdsearch.unet.architecture import member_backbone
from sdsearch.unet.memory import activation_values
from sdsearch.unet.slots import SLOTS, Slot, level_sizes

if TYPE_CHECKING:
    from sdsearch.unet.architecture import Architecture
    from sdsearch.unet.backbone import Backbone

TEXT_TOKENS = 77


@dataclass(frozen=True, slots=True)
class Macs:
    """Multiply-accumulates of a UNet call."""

    conv_linear: int
    attention: int

    @property
    def total(self) -> int:
        """Both columns together."""
        return self.conv_linear + self.attention

    def __add__(self, other: Macs) -> Macs:
        return Macs(self.conv_linear + other.conv_linear, self.attention + other.attention)

    def __mul__(self, times: int) -> Macs:
        return Macs(self.conv_linear * times, self.attention * times)


@dataclass(frozen=True, slots=True)
class SlotCost:
    """What a slot of a member costs per sample; `size` is (height, width) of its output."""

    params: int
    macs: Macs
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class UNetCost:
    """What a whole UNet call costs: all samples of a batch, both halves of guidance.

    `activation_bytes` is the peak that `sdsearch.unet.memory` defines; `slots` are per sample. The
    time embedding belongs to no slot, but to the totals.
    """

    params: int
    macs: Macs
    activation_bytes: int
    slots: tuple[SlotCost, ...]

    def __repr__(self) -> str:
        return (
            f"UNetCost({self.params:,} parameters, {self.macs.total / 1e9:.3f} G MACs, "
            f"{self.activation_bytes / 2**20:.1f} MiB of activations)"
        )


NO_MACS = Macs(0, 0)


def unet_cost(
    arch: Architecture,
    backbone: Backbone,
    latent: int | tuple[int, int] | None = None,
    *,
    batch: int = 1,
    cfg: bool = False,
    tokens: int = TEXT_TOKENS,
    value_bytes: int = 4,
) -> UNetCost:
    """The cost of one UNet call on a latent of (height, width), or a square of one side.

    The default latent is the backbone's `sample_size`. Classifier-free guidance (`cfg`) doubles the
    batch; `value_bytes` is 4 for float32, 2 for half precision.
    """
    size = _latent_size(latent, backbone)
    samples = batch * (2 if cfg else 1)
    slots = slot_costs(arch, backbone, size, tokens)
    peak = max(activation_values(arch, backbone, size, tokens)) * samples * value_bytes
    params, macs = _time_embedding_cost(member_backbone(arch, backbone))
    for slot in slots:
        params, macs = params + slot.params, macs + slot.macs
    return UNetCost(params, macs * samples, peak, slots)


def slot_costs(
    arch: Architecture,
    backbone: Backbone,
    latent: int | tuple[int, int] | None = None,
    tokens: int = TEXT_TOKENS,
) -> tuple[SlotCost, ...]:
    """Costs of the 46 slots; removed slots cost nothing, ghosts their projections."""
    own = member_backbone(arch, backbone)
    sizes = level_sizes(_latent_size(latent, backbone))
    costs = []
    for slot in SLOTS:
        level = 2 if slot.half == "mid" and arch.bottom.depth is None else slot.level
        if slot.kind == "sample":
            level += 1 if slot.half == "enc" else -1
        height, width = sizes[level]
        if slot.name in arch.kept_slots:
            params, macs = _block_cost(slot, own, height * width, tokens)
        elif slot.name in arch.ghost_slots:
            params, macs = _ghost_cost(slot.out_channels(own), height * width)
        else:
            params, macs = 0, NO_MACS
        costs.append(SlotCost(params, macs, (height, width)))
    return tuple(costs)


def count_params(arch: Architecture, backbone: Backbone) -> int:
    """Parameters of the member's UNet, exactly those of the diffusers module."""
    params, _ = _time_embedding_cost(member_backbone(arch, backbone))
    return params + sum(cost.params for cost in slot_costs(arch, backbone))


def count_macs(
    arch: Architecture,
    backbone: Backbone,
    latent: int | tuple[int, int] | None = None,
    tokens: int = TEXT_TOKENS,
) -> Macs:
    """MACs of one UNet call at batch 1; the latent is as in `unet_cost`."""
    _, total = _time_embedding_cost(member_backbone(arch, backbone))
    for cost in slot_costs(arch, backbone, latent, tokens):
        total = total + cost.macs
    return total


def _latent_size(latent: int | tuple[int, int] | None, backbone: Backbone) -> tuple[int, int]:
    if latent is None:
        latent = backbone.sample_size
    return (latent, latent) if isinstance(latent, int) else latent


def _block_cost(slot: Slot, backbone: Backbone, pixels: int, tokens: int) -> tuple[int, Macs]:
    entering, leaving = slot.in_channels(backbone), slot.out_channels(backbone)
    if slot.kind == "res":
        return _res_cost(entering, leaving, backbone.time_embed_dim, pixels)
    if slot.kind == "attn":
        return _attention_cost(leaving, backbone.cross_attention_dim, pixels, tokens)
    params, macs = _conv_cost(entering, leaving, 3, pixels)
    if slot.kind == "conv_out":
        params += 2 * entering  # conv_norm_out
    return params, macs


def _conv_cost(entering: int, leaving: int, kernel: int, pixels: int) -> tuple[int, Macs]:
    weights = kernel * kernel * entering * leaving
    return weights + leaving, Macs(weights * pixels, 0)


def _res_cost(entering: int, leaving: int, time_dim: int, pixels: int) -> tuple[int, Macs]:
    """`ResnetBlock2D`: two 3x3 convolutions, the time projection, a 1x1 shortcut if needed."""
    first, first_macs = _conv_cost(entering, leaving, 3, pixels)
    second, second_macs = _conv_cost(leaving, leaving, 3, pixels)
    time, time_macs = _conv_cost(time_dim, leaving, 1, 1)
    params = first + second + time + 2 * entering + 2 * leaving
    macs = first_macs + second_macs + time_macs
    if entering != leaving:
        shortcut, shortcut_macs = _conv_cost(entering, leaving, 1, pixels)
        params, macs = params + shortcut, macs + shortcut_macs
    return params, macs


def _attention_cost(width: int, context: int, pixels: int, tokens: int) -> tuple[int, Macs]:
    """`Transformer2DModel` of depth 1: self-attention, cross-attention, GEGLU feed-forward (x4)."""
    ghost_params, ghost_macs = _ghost_cost(width, pixels)
    square = width * width
    # Self 4, cross query and output 2, feed-forward 8 + 4 squares; cross keys, values see the text.
    weights = 18 * square + 2 * context * width
    biases = 6 * width + 2 * width + 9 * width
    linear = 18 * square * pixels + 2 * context * width * tokens
    matmuls = 2 * width * pixels * (pixels + tokens)
    return ghost_params + weights + biases, ghost_macs + Macs(linear, matmuls)


def _ghost_cost(width: int, pixels: int) -> tuple[int, Macs]:
    """Group norm, `proj_in` and `proj_out`: what depth 0 leaves of a `Transformer2DModel`."""
    return 2 * (width * width + width) + 2 * width, Macs(2 * width * width * pixels, 0)


def _time_embedding_cost(backbone: Backbone) -> tuple[int, Macs]:
    width, time_dim = backbone.block_out_channels[0], backbone.time_embed_dim
    weights = width * time_dim + time_dim * time_dim
    return weights + 2 * time_dim, Macs(weights, 0)
