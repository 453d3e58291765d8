"""Parameters and multiply-accumulates (MACs) of a member, by formula, block by block.

MACs are counted per UNet call at batch 1, in two columns: convolutions and linear layers, as the
published numbers of this family count them, and the attention matmuls (QK^T and AV) that module
hooks do not see. Normalisation, activations and biases count nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sdsearch.slots import SLOTS, Slot

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sdsearch.architecture import Architecture
    from sdsearch.backbone import Backbone
    from sdsearch.space import SearchSpace

TEXT_TOKENS = 77


@dataclass(frozen=True, slots=True)
class Macs:
    """Multiply-accumulates of one UNet call at batch 1."""

    conv_linear: int
    attention: int

    @property
    def total(self) -> int:
        """Both columns together."""
        return self.conv_linear + self.attention

    def __add__(self, other: Macs) -> Macs:
        return Macs(self.conv_linear + other.conv_linear, self.attention + other.attention)


@dataclass(frozen=True, slots=True)
class SlotCost:
    """What a slot of a member costs; `resolution` is the side of its output in latent pixels."""

    params: int
    macs: Macs
    resolution: int


NO_MACS = Macs(0, 0)


def slot_costs(
    arch: Architecture, backbone: Backbone, latent_size: int, tokens: int = TEXT_TOKENS
) -> tuple[SlotCost, ...]:
    """Costs of the 46 slots; removed slots cost nothing, ghosts their projections."""
    sides = _level_sides(latent_size)
    costs = []
    for slot in SLOTS:
        level = 2 if slot.half == "mid" and arch.bottom.depth is None else slot.level
        side = sides[level]
        if slot.kind == "sample":
            side = sides[level + 1] if slot.half == "enc" else sides[level - 1]
        if slot.name in arch.kept_slots:
            params, macs = _block_cost(slot, backbone, side * side, tokens)
        elif slot.name in arch.ghost_slots:
            params, macs = _ghost_cost(slot.out_channels(backbone), side * side)
        else:
            params, macs = 0, NO_MACS
        costs.append(SlotCost(params, macs, side))
    return tuple(costs)


def count_params(arch: Architecture, backbone: Backbone) -> int:
    """Parameters of the member's UNet, exactly those of the diffusers module."""
    time_params, _ = _time_embedding_cost(backbone)
    return time_params + sum(
        cost.params for cost in slot_costs(arch, backbone, backbone.sample_size)
    )


def count_macs(
    arch: Architecture,
    backbone: Backbone,
    latent_size: int | None = None,
    tokens: int = TEXT_TOKENS,
) -> Macs:
    """MACs of one UNet call at batch 1 on a square latent (default: the backbone's sample size)."""
    _, total = _time_embedding_cost(backbone)
    for cost in slot_costs(arch, backbone, latent_size or backbone.sample_size, tokens):
        total = total + cost.macs
    return total


def space_costs(space: SearchSpace) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(len(space),) params and total MACs of every member, by the additivity of units."""
    base = space.members["teacher"]
    tables = []
    for unit_number, unit in enumerate(space.units):
        rows = []
        for option in unit.options:
            parts = [*base.levels, base.bottom]
            parts[unit_number] = option
            arch = base.model_validate({"levels": tuple(parts[:3]), "bottom": parts[3]})
            rows.append(
                (count_params(arch, space.backbone), count_macs(arch, space.backbone).total)
            )
        tables.append(np.array(rows, dtype=np.int64))
    constant = np.array(
        [count_params(base, space.backbone), count_macs(base, space.backbone).total]
    )
    digits = np.indices(space.radices).reshape(len(space.radices), -1)
    totals = sum(table[digit] for table, digit in zip(tables, digits, strict=True)) - 3 * constant
    return totals[:, 0], totals[:, 1]


def _level_sides(latent_size: int) -> list[int]:
    sides = [latent_size]
    for _ in range(3):
        sides.append((sides[-1] + 1) // 2)
    return sides


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
