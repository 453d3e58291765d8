"""The names of a text encoder in the original layout: CLIP of SD 1.x, OpenCLIP of SD 2.x."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sdsearch.errors import InputError
from sdsearch.original.moves import Move, Renaming

if TYPE_CHECKING:
    from collections.abc import Collection

_CLIP, _OPEN_CLIP = "transformer.text_model.", "model."
_TOWER = re.compile(r"(?:text_model\.)*((?:embeddings|encoder|final_layer_norm)\..+)")
_OF_TOWER = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
_OF_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_RES_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)")
_PROJECTED = tuple(f"self_attn.{one}_proj" for one in "qkv")
_NO_WEIGHTS = re.compile(r".*(position_ids|text_projection(\.weight)?|logit_scale|attn_mask)")
"""Numbers that no text encoder of diffusers computes with."""


def name_text(names: Collection[str], *, open_clip: bool) -> Renaming:
    """The original names of the tensors that a text encoder of transformers calls `names`.

    Every tower is read, whatever modules hold it; what no painting computes with is left away.

    Args:
        names: of its tensors.
        open_clip: whether as SD 2.x has it, whose queries, keys and values are one tensor.

    >>> name_text(["encoder.layers.0.mlp.fc1.bias"], open_clip=False).moves[0].original
    'transformer.text_model.encoder.layers.0.mlp.fc1.bias'

    Raises:
        InputError: a tensor belongs to no such encoder.
    """
    moves = []
    for name in names:
        if _NO_WEIGHTS.fullmatch(name):
            continue
        if (found := _TOWER.fullmatch(name)) is None:
            raise InputError(f"every tensor must be of a CLIP text encoder, not {name!r}")
        if not open_clip:
            moves.append(Move(_CLIP + found[1], (name,)))
        elif (move := _to_open_clip(name, found[1])) is not None:
            moves.append(move)
    return Renaming(tuple(moves))


def _to_open_clip(name: str, inside: str) -> Move | None:
    """None for keys and values, which lie in the tensor of their queries."""
    if inside in _OF_TOWER:
        return Move(_OPEN_CLIP + _OF_TOWER[inside], (name,))
    found = _LAYER.fullmatch(inside)
    if found is None or found[2] not in (*_OF_LAYER, *_PROJECTED):
        raise InputError(f"every tensor must be of a CLIP text encoder, not {name!r}")
    number, module, kind = found.groups()
    block = f"{_OPEN_CLIP}transformer.resblocks.{number}"
    if module in _OF_LAYER:
        return Move(f"{block}.{_OF_LAYER[module]}.{kind}", (name,))
    if module != _PROJECTED[0]:
        return None
    joined = tuple(name.replace(module, one) for one in _PROJECTED)
    return Move(f"{block}.attn.in_proj_{kind}", joined)


def read_text(names: Collection[str], most_layers: int | None = None) -> Renaming:
    """The names of transformers for the tensors that the original layout calls `names`.

    Args:
        names: of its tensors, without "cond_stage_model.".
        most_layers: layers that are computed; SD 2.x reads the last but one, and diffusers leaves
            the last away.

    >>> read_text(["model.transformer.resblocks.0.attn.in_proj_bias"]).moves[0].diffusers[0]
    'text_model.encoder.layers.0.self_attn.q_proj.bias'

    Raises:
        InputError: a tensor has no place in the layout.
    """
    moves = []
    for name in names:
        if not _NO_WEIGHTS.fullmatch(name):
            found = _read(name)
            layer = _LAYER.search(found[0])
            if most_layers is None or layer is None or int(layer[1]) < most_layers:
                moves.append(Move(name, tuple(f"text_model.{one}" for one in found)))
    return Renaming(tuple(moves))


def _read(name: str) -> tuple[str, ...]:
    # Some files of SD 1.x lack the module's name in the middle.
    if found := re.fullmatch(r"transformer\.(?:text_model\.)?((?!resblocks).+)", name):
        return (found[1],)
    inside = name.removeprefix(_OPEN_CLIP)
    for one, other in _OF_TOWER.items():
        if inside == other:
            return (one,)
    block = _RES_BLOCK.fullmatch(inside)
    if block is not None:
        number, module, kind = block.groups()
        if module == "attn.in_proj":
            return tuple(f"encoder.layers.{number}.{one}.{kind}" for one in _PROJECTED)
        for one, other in _OF_LAYER.items():
            if module == other:
                return (f"encoder.layers.{number}.{one}.{kind}",)
    raise InputError(f"every tensor must be of a CLIP text encoder, not {name!r}")
