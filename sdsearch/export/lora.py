"""A teacher's LoRA cut down to what fits a pruned UNet: what moved is renamed, the rest goes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdsearch.errors import InputError
from sdsearch.files import write_atomic
from sdsearch.unet import SLOTS, UNPRUNED, student_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from sdsearch.unet import Architecture, Backbone

_DIFFUSERS, _KOHYA = "unet.", "lora_unet_"
_DEEPEST = 16  # parts of a module's name; those of a UNet have half as many
_INWARD, _OUTWARD = ("lora_A.", "lora_down.", ".down."), ("lora_B.", "lora_up.", ".up.")


@dataclass(frozen=True, slots=True)
class CutLora:
    """What is left of a LoRA: tensors under the student's names, and why each other one went."""

    tensors: dict[str, Tensor]
    dropped: dict[str, str]


def cut_lora(tensors: Mapping[str, Tensor], arch: Architecture, backbone: Backbone) -> CutLora:
    """Rename what fits `arch` and drop what does not; tensors of the text encoder stay.

    Reads the names of diffusers (`unet.down_blocks...`) and of kohya (`lora_unet_down_blocks_...`)
    and keeps the style. A tensor fits when its block is kept and its inputs or outputs are as many
    as the student's module has; where one of a module does not, its others go too, since loaders
    take them together or not at all.

    Raises:
        InputError: nothing in the file belongs to a UNet.
    """
    whole = UNPRUNED
    teacher, student = (_weights_of(one, backbone) for one in (whole, arch))
    plain = {name.replace(".", "_"): name for name in teacher}
    kept: dict[str, Tensor] = {}
    dropped: dict[str, str] = {}
    homes: dict[str, str] = {}
    names: dict[str, str] = {}
    seen = False
    for key, tensor in tensors.items():
        prefix = next((p for p in (_DIFFUSERS, _KOHYA) if key.startswith(p)), None)
        if prefix is None:
            kept[key] = tensor
            continue
        seen = True
        module, rest = _split(key.removeprefix(prefix), prefix, teacher, plain)
        if module is None:
            dropped[key] = "the teacher has no such module"
            continue
        moved = _moved(module, arch, whole)
        if moved is None:
            dropped[key] = "its block was removed"
            continue
        homes[key] = moved
        reason = _why_not(moved, rest, tensor, student)
        if reason is not None:
            dropped[key] = reason
            continue
        names[key] = prefix + (moved if prefix == _DIFFUSERS else moved.replace(".", "_")) + rest
    unfit = {homes[key] for key in dropped if key in homes}
    for key, name in names.items():
        if homes[key] in unfit:
            dropped[key] = f"another tensor of {homes[key]} does not fit"
        else:
            kept[name] = tensors[key]
    if not seen:
        raise InputError(
            f"a LoRA must have tensors named {_DIFFUSERS}... or {_KOHYA}..., but has "
            f"{', '.join(list(tensors)[:3]) or 'none'}"
        )
    return CutLora(kept, dropped)


def write_lora(source: Path, arch: Architecture, backbone: Backbone, folder: Path) -> Path:
    """Cut a LoRA file down into `folder`, under its own name, with a list of what was dropped."""
    from safetensors.torch import save

    from sdsearch.weights import TensorFiles

    found = cut_lora(dict(TensorFiles(source)), arch, backbone)
    out = folder / f"{source.stem}.safetensors"
    write_atomic(
        out, save({name: one.contiguous() for name, one in found.tensors.items()}), folder.parent
    )
    listing = {"kept": len(found.tensors), "dropped": found.dropped}
    write_atomic(out.with_suffix(".json"), json.dumps(listing, indent=1) + "\n")
    return out


def _weights_of(arch: Architecture, backbone: Backbone) -> dict[str, tuple[int, int]]:
    """Module name -> (inputs, outputs) of every layer of a UNet that a LoRA can change."""
    import torch

    from sdsearch.weights import make_unet

    with torch.device("meta"):
        unet: nn.Module = make_unet(arch, backbone)
    return {
        name: (module.weight.shape[1], module.weight.shape[0])
        for name, module in unet.named_modules()
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
    }


def _split(
    text: str, prefix: str, teacher: Mapping[str, object], plain: Mapping[str, str]
) -> tuple[str | None, str]:
    """The teacher's module that a key without its prefix names, and the rest of the key."""
    if prefix == _KOHYA:
        name, _, rest = text.partition(".")
        return plain.get(name), f".{rest}"
    parts = text.split(".")
    for count in range(min(len(parts) - 1, _DEEPEST), 0, -1):
        module = ".".join(parts[:count])
        # Old files name the processor: attn1.processor.to_q_lora.down.weight.
        for name in (module, module.replace(".processor.", ".").removesuffix("_lora")):
            if name in teacher:
                return name, "." + ".".join(parts[count:])
    return None, ""


def _moved(module: str, arch: Architecture, whole: Architecture) -> str | None:
    """The student's name of a teacher's module; None where its block was removed."""
    for slot in SLOTS:
        path = student_path(slot, whole)
        if module == path or module.startswith(f"{path}."):
            if slot.name not in arch.kept_slots:
                return None
            return student_path(slot, arch) + module.removeprefix(path)
    return module


def _why_not(
    module: str, rest: str, tensor: Tensor, student: Mapping[str, tuple[int, int]]
) -> str | None:
    """Why a tensor does not fit the student's module, or None."""
    if module not in student:
        return f"the student has no {module}"
    inputs, outputs = student[module]
    if any(word in rest for word in _INWARD) and tensor.shape[1] != inputs:
        return f"it has {tensor.shape[1]} inputs, the student's {module} {inputs}"
    if any(word in rest for word in _OUTWARD) and tensor.shape[0] != outputs:
        return f"it has {tensor.shape[0]} outputs, the student's {module} {outputs}"
    return None
