"""Kept weights: recovered students on disk, and what says where they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.files import write_atomic
from sdsearch.weights import METADATA
from sdsearch_eval.sampling import cast_unet

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import UNet2DConditionModel

    from sdsearch.unet import Architecture
    from sdsearch_eval.bench.bench import Bench


def save_recovered(
    unet: UNet2DConditionModel, arch: Architecture, bench: Bench, weights: Path
) -> None:
    """Write a student's weights as they are, with a note beside them on where they come from.

    The file itself says nothing of it, so that an export may share it.
    """
    from safetensors.torch import save

    state = {name: tensor.contiguous() for name, tensor in unet.state_dict().items()}
    _note(weights).unlink(missing_ok=True)
    write_atomic(weights, save(state, metadata=METADATA))
    write_atomic(_note(weights), _origin(arch, bench))


def keep_recovered(made: Path, weights: Path) -> None:
    """Give weights that were made under another name, and their note, the name of `weights`."""
    _note(weights).unlink(missing_ok=True)
    made.replace(weights)
    _note(made).replace(_note(weights))


def has_recovered(arch: Architecture, weights: Path, bench: Bench) -> bool:
    """Whether `weights` hold `arch` recovered from this bench's teacher and samples."""
    from safetensors import SafetensorError, safe_open

    note = _note(weights)
    if not weights.is_file() or not note.is_file():
        return False
    try:
        with safe_open(weights, "pt"):
            return note.read_text(encoding="utf-8") == _origin(arch, bench)
    except SafetensorError:
        return False


def _note(weights: Path) -> Path:
    return weights.with_suffix(".of")


def _origin(arch: Architecture, bench: Bench) -> str:
    """Where weights come from."""
    return f"{arch.key} of {bench.content}"


def load_recovered(arch: Architecture, bench: Bench, weights: Path) -> UNet2DConditionModel:
    """The recovered student in a freshly built UNet, in the protocol's precision."""
    from safetensors.torch import load_file

    unet = bench.teacher.empty_student(arch)
    unet.load_state_dict(load_file(weights), strict=True)
    return cast_unet(unet, bench.protocol.dtype)
