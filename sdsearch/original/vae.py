"""The names of an autoencoder in the original layout, both ways, from names alone.

Its decoder is numbered from the highest resolution there, in diffusers from the lowest, and the
matrices of its attentions are 1x1 convolutions.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sdsearch.errors import InputError
from sdsearch.original.moves import Move, Renaming, rename, swapped

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_FIXED = {
    "quant_conv": "quant_conv",
    "post_quant_conv": "post_quant_conv",
    **{
        f"{half}.{one}": f"{half}.{other}"
        for half in ("encoder", "decoder")
        for one, other in (
            ("conv_in", "conv_in"),
            ("conv_out", "conv_out"),
            ("conv_norm_out", "norm_out"),
            ("mid_block.resnets.0", "mid.block_1"),
            ("mid_block.resnets.1", "mid.block_2"),
            ("mid_block.attentions.0", "mid.attn_1"),
        )
    },
}
_IN_A_BLOCK = {
    "conv_shortcut": "nin_shortcut",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
_BEFORE = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""What diffusers called modules of an attention before release 0.14."""
_ATTENTION = re.compile(r"\.attentions\.0\.(?!group_norm).*\.weight")
_OF_TRAINING = ("loss.", "model_ema.")
"""What the original code saves beside an autoencoder and never paints with."""
_MOST_LAYERS = 8


def name_vae(names: Collection[str]) -> Renaming:
    """The original names of the tensors that diffusers calls `names`.

    >>> name_vae(["decoder.mid_block.attentions.0.to_q.weight"]).moves[0].original
    'decoder.mid.attn_1.q.weight'

    Raises:
        InputError: a tensor belongs to no such autoencoder.
    """
    modules = _modules(_count_levels(r"encoder\.down_blocks\.(\d+)\.", names))
    moves = []
    for name in names:
        today = re.sub(r"(?<=attentions\.0\.)\w+", lambda m: _BEFORE.get(m[0], m[0]), name)
        original = _rename(today, modules, _IN_A_BLOCK)
        moves.append(Move(original, (name,), bool(_ATTENTION.search(today))))
    return Renaming(tuple(moves))


def read_vae(names: Collection[str]) -> Renaming:
    """The names of diffusers for the tensors that the original layout calls `names`.

    >>> read_vae(["decoder.mid.attn_1.q.weight"]).moves[0].diffusers
    ('decoder.mid_block.attentions.0.to_q.weight',)

    Raises:
        InputError: a tensor has no place in the layout.
    """
    modules = swapped(_modules(_count_levels(r"encoder\.down\.(\d+)\.", names)))
    moves = []
    for name in names:
        if name.startswith(_OF_TRAINING):
            continue
        found = _rename(name, modules, swapped(_IN_A_BLOCK))
        moves.append(Move(name, (found,), bool(_ATTENTION.search(found))))
    return Renaming(tuple(moves))


def _modules(levels: int) -> dict[str, str]:
    """Module of diffusers -> module of the original layout, of any number of layers a level."""
    pairs = dict(_FIXED)
    for level in range(levels):
        down, up = f"encoder.down_blocks.{level}", f"decoder.up_blocks.{level}"
        level_up = f"decoder.up.{levels - 1 - level}"
        pairs[f"{down}.downsamplers.0.conv"] = f"encoder.down.{level}.downsample.conv"
        pairs[f"{up}.upsamplers.0.conv"] = f"{level_up}.upsample.conv"
        for layer in range(_MOST_LAYERS):
            pairs[f"{down}.resnets.{layer}"] = f"encoder.down.{level}.block.{layer}"
            pairs[f"{up}.resnets.{layer}"] = f"{level_up}.block.{layer}"
    return pairs


def _count_levels(pattern: str, names: Collection[str]) -> int:
    return len({m[1] for m in map(re.compile(pattern).match, names) if m})


def _rename(name: str, modules: Mapping[str, str], inner: Mapping[str, str]) -> str:
    found = rename(name, modules, inner)
    if found is None:
        raise InputError(
            f"every tensor must be of a block of a Stable Diffusion autoencoder, not {name!r}"
        )
    return found
