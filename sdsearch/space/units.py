"""Units: the independent choices that a search space is the product of."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import lcm
from typing import TYPE_CHECKING

from sdsearch.unet import UNIT_NAMES, Bottom, Level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdsearch.unet import Backbone

WIDE_SHARES = (0.25, 0.5, 0.75, 1.0)
"""Shares of the backbone's width that a level of `sd14-wide` may have, before rounding."""


@dataclass(frozen=True, slots=True)
class Option:
    """What a unit can be: its blocks, and the channels of its level.

    `width` None is that of level 2, for a bottom without an encoder block at level 3.
    """

    blocks: Level | Bottom
    width: int | None

    def __str__(self) -> str:
        return str(self.blocks) if self.width is None else f"{self.blocks}, width {self.width}"


@dataclass(frozen=True, slots=True)
class Unit:
    """One independent choice: both halves of a level, or the bottom (level 3 and the mid block)."""

    name: str
    options: tuple[Option, ...]

    @property
    def widths(self) -> tuple[int | None, ...]:
        """The widths among the options, each once."""
        return tuple(dict.fromkeys(option.width for option in self.options))

    @property
    def by_width(self) -> tuple[tuple[int, ...], ...]:
        """The numbers of the options, those of one width together, in the order of `widths`."""
        return tuple(
            tuple(number for number, option in enumerate(self.options) if option.width == width)
            for width in self.widths
        )


def make_units(
    backbone: Backbone, widths: Sequence[tuple[int, ...]], *, free_bits: bool
) -> tuple[Unit, Unit, Unit, Unit]:
    """The four units of a space on a backbone, with these widths to choose at levels 0 to 3.

    `free_bits` lets every attention be chosen by itself, else those of a half-level together.
    """
    blocks = _level_options(free_bits=free_bits)
    first, second, third, bottom = UNIT_NAMES
    return (
        Unit(first, _options(blocks, widths[0])),
        Unit(second, _options(blocks, widths[1])),
        Unit(third, _options(blocks, widths[2])),
        Unit(bottom, _bottom_options(backbone, widths[3])),
    )


def wide_widths(level: int, backbone: Backbone) -> tuple[int, ...]:
    """`WIDE_SHARES` of a level's width, rounded down to what norm groups and heads divide."""
    step = lcm(backbone.norm_num_groups, backbone.heads[level])
    full = backbone.block_out_channels[level]
    return tuple(sorted({max(int(full * share) // step, 1) * step for share in WIDE_SHARES}))


def _options(blocks: tuple[Level, ...], widths: tuple[int, ...]) -> tuple[Option, ...]:
    return tuple(Option(level, width) for width in widths for level in blocks)


def _level_options(*, free_bits: bool) -> tuple[Level, ...]:
    def sides(length: int) -> list[tuple[bool, ...]]:
        return [
            bits
            for bits in product((False, True), repeat=length)
            if free_bits or len(set(bits)) == 1
        ]

    return tuple(
        Level.model_validate({"depth": depth, "down_attn": down, "up_attn": up})
        for depth in (1, 2)
        for down in sides(depth)
        for up in sides(depth + 1)
    )


def _bottom_options(backbone: Backbone, widths: tuple[int, ...]) -> tuple[Option, ...]:
    def with_mids(depth: int | None) -> list[Bottom]:
        mids = (None, "resnet") if depth is None else (None, "resnet", "attention")
        return [Bottom.model_validate({"depth": depth, "mid": mid}) for mid in mids]

    shallow = [*with_mids(None), *with_mids(0)]
    if backbone.block_out_channels[2] != backbone.block_out_channels[3]:
        shallow = []
    deep = [*with_mids(1), *with_mids(2)]
    return (
        *(Option(bottom, None) for bottom in shallow),
        *(Option(bottom, width) for width in widths for bottom in deep),
    )
