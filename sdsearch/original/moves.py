"""What one tensor of the original layout is in diffusers, and renaming by the module it is in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


PREFIXES = {
    "unet": "model.diffusion_model.",
    "vae": "first_stage_model.",
    "text_encoder": "cond_stage_model.",
}
"""How the names of each part's tensors begin in one file; averages of training do not."""


@dataclass(frozen=True, slots=True)
class Move:
    """A tensor of the original layout and the tensors of diffusers that it consists of.

    Attributes:
        original: its name in the original layout.
        diffusers: its name in diffusers; several lie below one another in it, in this order, as
            queries, keys and values do in an OpenCLIP encoder.
        kernel: whether a matrix (n, m) of diffusers is a 1x1 convolution (n, m, 1, 1) there.
    """

    original: str
    diffusers: tuple[str, ...]
    kernel: bool = False


@dataclass(frozen=True, slots=True)
class Renaming:
    """How a part is named in the two layouts.

    Attributes:
        moves: one for each tensor of the original layout.
        left_out: names of diffusers that the original layout has no place for: attention blocks of
            depth 0, which do nothing where their `proj_out` is zero.
    """

    moves: tuple[Move, ...]
    left_out: tuple[str, ...] = ()


def rename(name: str, modules: Mapping[str, str], inner: Mapping[str, str]) -> str | None:
    """A tensor's other name, by its module and by what it is within it; None without such a module.

    >>> rename("conv_in.weight", {"conv_in": "input_blocks.0.0"}, {})
    'input_blocks.0.0.weight'
    """
    found = _split(name, modules)
    if found is None:
        return None
    module, rest = found
    within = _split(rest, inner)
    rest = rest if within is None else f"{inner[within[0]]}.{within[1]}"
    return f"{modules[module]}.{rest}"


def _split(name: str, modules: Mapping[str, str]) -> tuple[str, str] | None:
    """The longest of `modules` that a name begins with, and the rest."""
    end = len(name)
    while (end := name.rfind(".", 0, end)) > 0:
        if name[:end] in modules:
            return name[:end], name[end + 1 :]
    return None


def swapped(pairs: Mapping[str, str]) -> dict[str, str]:
    """The pairs the other way round."""
    return {value: key for key, value in pairs.items()}
