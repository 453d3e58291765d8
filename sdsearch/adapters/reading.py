"""A LoRA as it is brought, in whichever style: every module whole, and its scale known."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from sdsearch.adapters.families import SECOND_TEXT, guess_family
from sdsearch.adapters.header import HEADER, read_header, read_peft
from sdsearch.adapters.modules import LoraModule, weight_shapes
from sdsearch.adapters.names import (
    KOHYA,
    PEFT,
    TEXT,
    check_algorithm,
    flat_names,
    parse_name,
)
from sdsearch.errors import InputError
from sdsearch.unet import INPAINT_CHANNELS, PAINT_CHANNELS
from sdsearch.weights import TensorFiles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from sdsearch.adapters.header import AdapterConfig
    from sdsearch.adapters.names import TensorName
    from sdsearch.unet import Backbone

_CONTEXT = (".attn2.to_k", ".attn2.to_v")


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA of a teacher.

    Attributes:
        modules: what it changes, by the teacher's paths.
        strange: why other modules that the file names are none of the teacher's, by their names.
        text: tensors of the text encoder, as they are.
        metadata: the file's header.
        config: what that says of the UNet, or PEFT's file beside it; None where neither does.
    """

    modules: dict[str, LoraModule]
    strange: dict[str, str]
    text: dict[str, Tensor]
    metadata: dict[str, str]
    config: AdapterConfig | None


def read_lora(file: Path, backbone: Backbone) -> Lora:
    """Read a safetensors file with a LoRA of a teacher.

    Files of kohya (LoCon's convolutions included), of diffusers, old and new, and of PEFT, whose
    `adapter_config.json` must lie beside. A convolution in three parts (`lora_mid`) is read as the
    two that do the same.

    Raises:
        InputError: it is no such file, is of another algorithm, has half a module, or is made for
            another model; the message says which it seems to be.
    """
    tensors = TensorFiles(file)
    shapes = weight_shapes(backbone)
    flat = flat_names(shapes)
    names: dict[str, TensorName] = {}
    text: list[str] = []
    unknown: list[str] = []
    for key in tensors:
        check_algorithm(key)
        if key.startswith(TEXT):
            text.append(key)
        elif found := parse_name(key, flat):
            names[key] = found
        else:
            unknown.append(key)
    prefix = _check_parts(tensors, names, unknown)
    modules = _pair(tensors, names)
    _check_context(modules, backbone, tensors)
    strange = {
        name: why
        for name, module in modules.items()
        if (why := _why_strange(module, shapes.get(name))) is not None
    }
    own = {name: module for name, module in modules.items() if name not in strange}
    if not own:
        name, why = next(iter(strange.items()))
        raise InputError(_not_for_this(tensors, f"changes {name!r}, and {why}"))
    metadata = _check_texts(tensors.metadata[0])
    config = _find_config(file, metadata, prefix, has_text=bool(text))
    if config is not None:
        own = {name: _scaled(name, module, config) for name, module in own.items()}
    return Lora(own, strange, {key: tensors[key] for key in text}, metadata, config)


def _check_parts(tensors: TensorFiles, names: Mapping[str, TensorName], unknown: list[str]) -> str:
    """The prefix of a UNet's tensors; a file without them, or with others, is refused."""
    second = next((key for key in tensors if key.startswith(SECOND_TEXT)), None)
    if second is not None:
        raise InputError(_not_for_this(tensors, f"has {second!r} of a second text encoder"))
    if not names:
        said = f"has {unknown[0]!r}" if unknown else "changes the text encoder alone"
        raise InputError(_not_for_this(tensors, f"{said} and no tensor of a UNet"))
    if unknown:
        more = f" and {len(unknown) - 1} more" if unknown[1:] else ""
        raise InputError(
            "a LoRA must hold pairs of matrices of UNet and text encoder alone, but "
            f"{unknown[0]!r}{more} cannot be told; save the LoRA by itself"
        )
    examples: dict[tuple[str, bool], str] = {}
    for key, name in names.items():
        examples.setdefault((name.prefix, name.style == "peft"), key)
    if len(examples) > 1:
        raise InputError(
            "the tensors of a LoRA must be named in one style, but "
            f"{' and '.join(map(repr, examples.values()))} differ, and stock diffusers reads one; "
            "save it again"
        )
    return next(iter(names.values())).prefix


def _check_texts(metadata: dict[str, str]) -> dict[str, str]:
    """Refuse a header that the format does not allow, as other readers of the file do."""
    for name, text in metadata.items():
        if not isinstance(text, str):
            raise InputError(f"a file's header must hold texts, but {name!r} is {text!r:.40}")
    return metadata


def _not_for_this(tensors: TensorFiles, reason: str, contexts: tuple[int, ...] = ()) -> str:
    family = guess_family(tuple(tensors), contexts)
    return (
        f"a LoRA must be made for this teacher's UNet, but it {reason}"
        f"{f'; it seems to be for {family}' if family else ''}; bring one that was trained on the "
        "teacher or its like"
    )


def _pair(tensors: TensorFiles, names: Mapping[str, TensorName]) -> dict[str, LoraModule]:
    """The modules by their names, each of all of its tensors."""
    sides: dict[str, dict[str, str]] = {}
    for key, name in names.items():
        twice = sides.setdefault(name.module, {}).setdefault(name.side, key)
        if twice != key:
            raise InputError(
                f"a LoRA must change a module once, but {twice!r} and {key!r} are of one module"
            )
    return {
        module: _whole(module, found, tensors, names[next(iter(found.values()))])
        for module, found in sides.items()
    }


def _whole(
    module: str, keys: Mapping[str, str], tensors: TensorFiles, name: TensorName
) -> LoraModule:
    if missing := {"down", "up"} - keys.keys():
        raise InputError(
            f"a LoRA must have both matrices of {module!r}, but lacks {min(missing)!r}: half a "
            "module was cut off; bring the file that was trained"
        )
    down, up = tensors[keys["down"]], tensors[keys["up"]]
    if "mid" in keys:
        down = _fold(module, tensors[keys["mid"]], down)
    if (
        down.dim() not in (2, 4)
        or up.shape[1:] != (len(down), *(1,) * (down.dim() - 2))
        or not len(down)
    ):
        raise InputError(
            f"the matrices of {module!r} must have one rank in common, but their shapes are "
            f"{tuple(down.shape)} and {tuple(up.shape)}"
        )
    alpha = _read_alpha(keys["alpha"], tensors) if "alpha" in keys else None
    return LoraModule(down, up, alpha, name.style)


def _fold(module: str, mid: Tensor, down: Tensor) -> Tensor:
    """One convolution (rank, inputs, *kernel) in place of a 1x1 one and `mid` behind it."""
    rank = len(down)
    if down.dim() != 4 or down.shape[2:] != (1, 1) or mid.dim() != 4 or mid.shape[1] != rank:
        raise InputError(
            f"'lora_mid' of {module!r} must follow a convolution of 1x1, but the shapes are "
            f"{tuple(mid.shape)} and {tuple(down.shape)}"
        )
    return torch.einsum("ormn,ri->oimn", mid.float(), down.flatten(1).float())


def _read_alpha(key: str, tensors: TensorFiles) -> float:
    tensor = tensors[key]
    alpha = float(tensor) if tensor.numel() == 1 else math.nan
    if not 0 < alpha < math.inf:
        found = f"it is {alpha}" if tensor.numel() == 1 else f"there are {tensor.numel():,}"
        raise InputError(f"{key!r} must be one positive number, but {found}; save the LoRA again")
    return alpha


def _check_context(
    modules: Mapping[str, LoraModule], backbone: Backbone, tensors: TensorFiles
) -> None:
    """Refuse what reads text of another width: every attention beside it is of that model too."""
    widths = {one.down.shape[1] for name, one in modules.items() if name.endswith(_CONTEXT)}
    for width in sorted(widths - {backbone.cross_attention_dim}):
        reason = f"reads text of {width} channels and not of {backbone.cross_attention_dim}"
        raise InputError(_not_for_this(tensors, reason, (width,)))


def _why_strange(module: LoraModule, shape: tuple[int, ...] | None) -> str | None:
    """Why a module is none of the teacher's; None where its weight has the shape that is meant.

    Of a UNet that inpaints, the first inputs may be all that is meant: the latents.
    """
    found = module.weight_shape
    if shape is None:
        return "the teacher has no such module"
    latents = (shape[0], PAINT_CHANNELS, *shape[2:])
    if found == shape or (shape[1] == INPAINT_CHANNELS and found == latents):
        return None
    by = [" x ".join(map(str, sides)) for sides in (found, shape)]
    return f"it is made for a weight of {by[0]}, where the teacher's is {by[1]}"


def _find_config(
    file: Path, metadata: Mapping[str, str], prefix: str, *, has_text: bool
) -> AdapterConfig | None:
    """What is said of rank and alpha beside the tensors."""
    if metadata.get(HEADER) and prefix in (KOHYA, PEFT):
        raise InputError(
            f"alpha must be said in one place, but a file with tensors named {prefix}... has the "
            f"header {HEADER!r} too, which stock diffusers does not read for such; save it again"
        )
    if prefix != PEFT:
        return read_header(metadata, prefix)
    if has_text:
        raise InputError("a LoRA of PEFT must be of the UNet alone, but has a text encoder's too")
    return read_peft(file)


def _scaled(name: str, module: LoraModule, config: AdapterConfig) -> LoraModule:
    """The module with the alpha that the configuration gives it."""
    if config.rank_of(name) != module.rank:
        raise InputError(
            f"a LoRA must be of the ranks that it says, but {name!r} has {module.rank} and is said "
            f"to have {config.rank_of(name)}; save it again"
        )
    return replace(module, alpha=config.alpha_of(name))
