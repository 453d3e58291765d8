"""Kept weights: recovered students on disk, and what says where they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.files import DamagedFileError
from sdsearch.weights import METADATA, origin_of, write_noted
from sdsearch_eval.sampling import cast_unet

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import UNet2DConditionModel

    from sdsearch.unet import Architecture
    from sdsearch_eval.bench.bench import Bench


def save_recovered(
    unet: UNet2DConditionModel, arch: Architecture, bench: Bench, weights: Path
) -> None:
    """Write a student's weights as they are, with a note beside them on where they come from."""
    from safetensors.torch import save

    state = {name: tensor.contiguous() for name, tensor in unet.state_dict().items()}
    write_noted(weights, save(state, metadata=METADATA), _origin(arch, bench))


def has_recovered(arch: Architecture, weights: Path, bench: Bench) -> bool:
    """Whether `weights` hold `arch` recovered from this bench's teacher and samples, undamaged."""
    return origin_of(weights) == _origin(arch, bench)


def _origin(arch: Architecture, bench: Bench) -> str:
    return f"{arch.key} of {bench.content}"


def load_recovered(arch: Architecture, bench: Bench, weights: Path) -> UNet2DConditionModel:
    """The recovered student in a freshly built UNet, in the protocol's precision.

    Raises:
        DamagedFileError: the weights were damaged since they were found to be whole.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    unet = bench.teacher.empty_student(arch)
    try:
        unet.load_state_dict(load_file(weights), strict=True)
    except SafetensorError as error:
        raise DamagedFileError(f"{weights} is damaged: {error}; run again") from None
    return cast_unet(unet, bench.protocol.dtype)
