"""The names of a UNet in the original layout, pruned or not: both ways, from names alone.

The layout numbers what is there, without gaps: `input_blocks.0` is the first convolution, then each
res block of the encoder and each downsampler has the next number; `output_blocks` counts the res
blocks of the decoder, and an upsampler lies in the last of its level, behind the attention if there
is one. So a removed block takes its number with it, and importers count levels, depths and
attentions from the names. Within a number, 0 is the res block and 1 its attention.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdsearch.errors import InputError
from sdsearch.original.moves import Move, Renaming, rename, swapped

if TYPE_CHECKING:
    from collections.abc import Collection

_FIXED = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_IN_A_RES_BLOCK = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_RES_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.resnets\.(\d+)\.conv1\.weight")
_WITHOUT_TRANSFORMER = re.compile(
    r"(down|up)_blocks\.\d+\.attentions\.\d+\.(norm|proj_in|proj_out)\.(weight|bias)"
)
_MOST_BLOCKS = 100
"""Of either half, beyond those of any UNet of the family."""


@dataclass(frozen=True, slots=True)
class UNetLayout:
    """Which res blocks a UNet has, and which of them an attention follows: what numbers depend on.

    Attributes:
        down: of each level from the highest resolution, whether attention follows its res blocks.
        up: the same of the decoder, from the deepest level, as diffusers numbers it.
        mid: res blocks in the middle: 0, 1, or 2 with an attention between them.
    """

    down: tuple[tuple[bool, ...], ...]
    up: tuple[tuple[bool, ...], ...]
    mid: int

    @property
    def modules(self) -> dict[str, str]:
        """Module of diffusers -> module of the original layout, for every block that is there."""
        return {**_FIXED, **self._encoder(), **self._middle(), **self._decoder()}

    def _encoder(self) -> dict[str, str]:
        pairs, number = dict[str, str](), 1
        for level, attention in enumerate(self.down):
            for layer, has_attention in enumerate(attention):
                block = f"down_blocks.{level}"
                pairs[f"{block}.resnets.{layer}"] = f"input_blocks.{number}.0"
                if has_attention:
                    pairs[f"{block}.attentions.{layer}"] = f"input_blocks.{number}.1"
                number += 1
            if level < len(self.down) - 1:
                pairs[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{number}.0.op"
                number += 1
        return pairs

    def _middle(self) -> dict[str, str]:
        pairs = {f"mid_block.resnets.{n}": f"middle_block.{2 * n}" for n in range(self.mid)}
        if self.mid == 2:
            pairs["mid_block.attentions.0"] = "middle_block.1"
        return pairs

    def _decoder(self) -> dict[str, str]:
        pairs, number = dict[str, str](), 0
        for block, attention in enumerate(self.up):
            for layer, has_attention in enumerate(attention):
                name, place = f"up_blocks.{block}", f"output_blocks.{number}"
                pairs[f"{name}.resnets.{layer}"] = f"{place}.0"
                if has_attention:
                    pairs[f"{name}.attentions.{layer}"] = f"{place}.1"
                if layer == len(attention) - 1 and block < len(self.up) - 1:
                    pairs[f"{name}.upsamplers.0.conv"] = f"{place}.{2 if has_attention else 1}.conv"
                number += 1
        return pairs


def name_unet(names: Collection[str]) -> Renaming:
    """The original names of the tensors that diffusers calls `names`.

    Attention blocks without a transformer are left out, which may be done where they are exact
    identities: the caller looks at their `proj_out`.

    >>> found = name_unet(["down_blocks.0.resnets.0.conv1.weight", "conv_in.bias"])
    >>> [move.original for move in found.moves]
    ['input_blocks.1.0.in_layers.2.weight', 'input_blocks.0.0.bias']

    Raises:
        InputError: a tensor belongs to no UNet of the family.
    """
    modules = _read_layout(set(names)).modules
    moves, left_out = [], []
    for name in names:
        original = rename(name, modules, _IN_A_RES_BLOCK)
        if original is not None:
            moves.append(Move(original, (name,)))
        elif _WITHOUT_TRANSFORMER.match(name):
            left_out.append(name)
        else:
            raise _foreign(name)
    return Renaming(tuple(moves), tuple(left_out))


def read_unet(names: Collection[str]) -> Renaming:
    """The names of diffusers for the tensors that the original layout calls `names`.

    >>> read_unet(["input_blocks.0.0.bias"]).moves
    (Move(original='input_blocks.0.0.bias', diffusers=('conv_in.bias',), kernel=False),)

    Raises:
        InputError: a tensor has no place in the layout, such as one behind a gap in its numbers.
    """
    modules, inner = swapped(read_original_layout(names).modules), swapped(_IN_A_RES_BLOCK)
    moves = []
    for name in names:
        if (found := rename(name, modules, inner)) is None:
            raise _foreign(name)
        moves.append(Move(name, (found,)))
    return Renaming(tuple(moves))


def read_original_layout(names: Collection[str]) -> UNetLayout:
    """Which blocks the original names say; what is behind a gap in their numbers is not seen."""
    known = set(names)
    levels: list[list[bool]] = [[]]
    for number in range(1, _MOST_BLOCKS):
        place = f"input_blocks.{number}"
        if f"{place}.0.op.weight" in known:
            levels.append([])
        elif f"{place}.0.in_layers.2.weight" in known:
            levels[-1].append(f"{place}.1.proj_in.weight" in known)
        else:
            break
    up, number = list[tuple[bool, ...]](), 0
    for level in reversed(levels):
        there = range(number, number := number + len(level) + 1)
        up.append(tuple(f"output_blocks.{n}.1.proj_in.weight" in known for n in there))
    mid = sum(f"middle_block.{number}.in_layers.2.weight" in known for number in (0, 2))
    return UNetLayout(tuple(map(tuple, levels)), tuple(up), mid)


def _read_layout(names: Collection[str]) -> UNetLayout:
    """Which blocks the names of diffusers say."""
    halves: dict[str, dict[int, list[bool]]] = {"down": {}, "up": {}}
    found = sorted(
        (half, int(block), int(layer))
        for half, block, layer in (m.groups() for m in map(_RES_BLOCK.fullmatch, names) if m)
    )
    for half, block, layer in found:
        attention = f"{half}_blocks.{block}.attentions.{layer}.transformer_blocks.0.norm1.weight"
        halves[half].setdefault(block, []).append(attention in names)
    # A level without res blocks still has a downsampler before it.
    before = [n for n in range(4) if f"down_blocks.{n}.downsamplers.0.conv.weight" in names]
    levels = max([*halves["down"], *(n + 1 for n in before)], default=0) + 1
    mid = sum(f"mid_block.resnets.{number}.conv1.weight" in names for number in range(2))
    return UNetLayout(
        tuple(tuple(halves["down"].get(level, ())) for level in range(levels)),
        tuple(tuple(blocks) for _, blocks in sorted(halves["up"].items())),
        mid,
    )


def _foreign(name: str) -> InputError:
    return InputError(f"every tensor must be of a block of a Stable Diffusion UNet, not {name!r}")
