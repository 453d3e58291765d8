"""How LoRA files name a module of the UNet and its tensors, and how they are named again.

Four styles are read. kohya joins a module's path by underscores, in diffusers' words or in those of
the original model; diffusers wrote attention processors first, `.lora.down` next and `.lora_A`, as
PEFT does, now. Stock pipelines read `unet.` in front of the last three and nothing else, so that is
what is written; and kohya's names in diffusers' words alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sdsearch.errors import InputError
from sdsearch.unet import SLOTS, UNPRUNED, student_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sdsearch.adapters.modules import Style
    from sdsearch.unet import Slot

Side = Literal["down", "up", "mid", "alpha"]

TEXT = ("lora_te_", "lora_te1_", "text_encoder.")
"""What tensors of the text encoder begin with."""
KOHYA, DIFFUSERS, PEFT = "lora_unet_", "unet.", "base_model.model."
"""What tensors of the UNet begin with."""
_BARE = ("down_blocks.", "mid_block.", "up_blocks.", "conv_in.", "conv_out.", "time_embedding.")
"""What diffusers' first files began with: they knew of no text encoder."""
_KOHYA_SIDES: dict[str, Side] = {
    "lora_down.weight": "down",
    "lora_up.weight": "up",
    "lora_mid.weight": "mid",
    "alpha": "alpha",
}
_PROCESSOR = re.compile(r"(?:\.processor)?\.(to_[qkv]|to_out)_lora\.(down|up)\.weight$")
_LORA = re.compile(r"\.lora\.(down|up)\.weight$")
_PEFT = re.compile(r"\.lora_([AB])\.weight$")
_SIDES: dict[str, Side] = {"down": "down", "up": "up", "A": "down", "B": "up"}
_ALGORITHMS = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "oft_": "OFT",
    "boft_": "BOFT",
    "on_input": "IA3",
    "diff": "whole differences",
    "w_norm": "changes of norms",
    "b_norm": "changes of norms",
    "lora_B.bias": "LoRA with biases",
}
"""How a part of a tensor's name begins that is of another algorithm than LoRA."""
_RES = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_TIME = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"}


@dataclass(frozen=True, slots=True)
class TensorName:
    """One tensor of a LoRA.

    `module` is diffusers' path, or what stands there where the teacher has no such module; `prefix`
    is what stands in front of it.
    """

    module: str
    side: Side
    style: Style
    prefix: str


def check_algorithm(key: str) -> None:
    """Refuse a tensor of another algorithm than LoRA.

    Raises:
        InputError: it is one; the message names it.
    """
    for mark, algorithm in _ALGORITHMS.items():
        if f".{mark}" in key:
            raise InputError(
                f"a LoRA must be made of pairs of small matrices alone, but {key!r} is of "
                f"{algorithm}, which cannot be cut to a pruned UNet exactly; merge the file into "
                "the teacher and search with that"
            )


def parse_name(key: str, flat: Mapping[str, str]) -> TensorName | None:
    """What a tensor of the UNet is; None where nothing of the sort is named so.

    `flat` is what `flat_names` gives.
    """
    if key.startswith(KOHYA):
        name, _, tail = key.removeprefix(KOHYA).partition(".")
        side = _KOHYA_SIDES.get(tail)
        return None if side is None else TensorName(flat.get(name, name), side, "kohya", KOHYA)
    prefix = next((one for one in (DIFFUSERS, PEFT) if key.startswith(one)), "")
    path = key.removeprefix(prefix)
    if not prefix and not path.startswith(_BARE):
        return None
    if found := _PROCESSOR.search(path):
        leaf = "to_out.0" if found[1] == "to_out" else found[1]
        module = f"{path[: found.start()]}.{leaf}"
        return TensorName(module, _SIDES[found[2]], "processor", prefix)
    if found := _LORA.search(path):
        return TensorName(path[: found.start()], _SIDES[found[1]], "lora", prefix)
    if found := _PEFT.search(path):
        return TensorName(path[: found.start()], _SIDES[found[1]], "peft", prefix)
    return None


def spell_name(module: str, side: Side, style: Style) -> str:
    """What stock diffusers calls a tensor of a module in a style.

    >>> spell_name("mid_block.attentions.0.proj_in", "down", "kohya")
    'lora_unet_mid_block_attentions_0_proj_in.lora_down.weight'
    """
    if style == "kohya":
        tail = next(tail for tail, one in _KOHYA_SIDES.items() if one == side)
        return f"{KOHYA}{_flatten(module)}.{tail}"
    if style == "processor":
        attention, _, leaf = module.removesuffix(".0").rpartition(".")
        return f"{DIFFUSERS}{attention}.processor.{leaf}_lora.{side}.weight"
    if style == "lora":
        return f"{DIFFUSERS}{module}.lora.{side}.weight"
    return f"{DIFFUSERS}{module}.lora_{'A' if side == 'down' else 'B'}.weight"


def flat_names(modules: Iterable[str]) -> dict[str, str]:
    """From kohya's names of an unpruned UNet's modules to diffusers' paths of them.

    Both families of names that are about: with diffusers' words, and with the original model's.
    """
    modules = list(modules)
    original = {_flatten(name): module for module in modules if (name := original_name(module))}
    return original | {_flatten(module): module for module in modules}


def original_name(module: str) -> str | None:
    """What the original model calls a module of the unpruned UNet, or None.

    >>> original_name("up_blocks.1.upsamplers.0.conv")
    'output_blocks.5.2.conv'
    """
    if module in _TIME:
        return _TIME[module]
    slot = find_slot(module)
    if slot is None:
        return None
    tail = module.removeprefix(student_path(slot, UNPRUNED)).removeprefix(".")
    if slot.kind == "res":
        tail = _RES[tail]
    if slot.kind == "sample" and slot.half == "enc":
        tail = "op"
    return ".".join(part for part in (_original_place(slot), tail) if part)


def find_slot(module: str) -> Slot | None:
    """The slot whose module, or a part of it, has this path in the unpruned UNet."""
    for slot in SLOTS:
        path = student_path(slot, UNPRUNED)
        if module == path or module.startswith(f"{path}."):
            return slot
    return None


def _original_place(slot: Slot) -> str:
    """The original model counts the blocks of a half in one row, a level's resampling included."""
    part = 0 if slot.kind == "res" else 1
    if slot.kind == "conv_in":
        return "input_blocks.0.0"
    if slot.kind == "conv_out":
        return "out.2"
    if slot.half == "mid":
        return f"middle_block.{slot.position}"
    if slot.half == "enc":
        if slot.kind == "sample":
            return f"input_blocks.{3 * slot.level + 3}.0"
        return f"input_blocks.{3 * slot.level + slot.layer + 1}.{part}"
    block = 3 * (3 - slot.level)
    if slot.kind == "sample":  # behind the last res block and its attention, where there is one
        return f"output_blocks.{block + 2}.{1 if slot.level == 3 else 2}"
    return f"output_blocks.{block + slot.layer}.{part}"


def _flatten(path: str) -> str:
    return path.replace(".", "_")
