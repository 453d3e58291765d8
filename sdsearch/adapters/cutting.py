"""A teacher's LoRA cut down to a student: what was moved is renamed, narrower layers are sliced."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from sdsearch.adapters.header import write_header
from sdsearch.adapters.names import find_slot, spell_name
from sdsearch.errors import InputError
from sdsearch.unet import member_backbone
from sdsearch.weights import frequency_resampling, plan_cut, trace_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from sdsearch.adapters.modules import LoraModule
    from sdsearch.adapters.reading import Lora
    from sdsearch.unet import Architecture, Backbone
    from sdsearch.weights import ChannelCut, Source

ALL: Mapping[str, NDArray[np.int64]] = MappingProxyType({})
"""The channels kept by a student as wide as its teacher."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where a module of the teacher is in the student, and how its weight was cut for it.

    `inputs` are the student's where they are no choice of the teacher's channels: those of the
    first convolution, and the frequencies of the time embedding.
    """

    module: str
    source: Source
    inputs: int | None
    cut: ChannelCut

    def rows(self, tensor: Tensor) -> Tensor:
        """The outputs that the student keeps, of a tensor that begins with the teacher's."""
        kept = self.cut.indices(self.source, 0)
        return tensor if kept is None else tensor[kept]

    def columns(self, tensor: Tensor) -> Tensor:
        """The student's inputs in place of the teacher's in the second dimension.

        Channels are kept, frequencies of the time embedding resampled, and inputs that the LoRA
        does not know, mask and masked image, are zero.
        """
        kept = self.cut.indices(self.source, 1)
        if kept is not None:
            tensor = tensor.index_select(1, kept)
        if self.inputs is None or self.inputs == tensor.shape[1]:
            return tensor
        if self.source.how == "resample":
            spread = frequency_resampling(tensor.shape[1], self.inputs, self.cut.freq_shift)
            return tensor.float() @ spread.T
        missing = self.inputs - tensor.shape[1]
        return torch.cat([tensor, tensor.new_zeros(len(tensor), missing, *tensor.shape[2:])], 1)


@dataclass(frozen=True, slots=True)
class CutLora:
    """What is left of a LoRA.

    Attributes:
        modules: by the student's paths.
        dropped: why each other module went, by the teacher's paths.
        text: tensors of the text encoder, as they were.
        metadata: the header of the file, ranks and alphas by the student's paths.
    """

    modules: dict[str, LoraModule]
    dropped: dict[str, str]
    text: dict[str, Tensor]
    metadata: dict[str, str]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors by the names that stock diffusers reads."""
        found = dict(self.text)
        for name, module in self.modules.items():
            found[spell_name(name, "down", module.style)] = module.down
            found[spell_name(name, "up", module.style)] = module.up
            if module.style == "kohya" and module.alpha is not None:
                found[spell_name(name, "alpha", module.style)] = torch.tensor(module.alpha)
        return found


def cut_lora(
    lora: Lora,
    arch: Architecture,
    backbone: Backbone,
    kept: Mapping[str, NDArray[np.int64]] = ALL,
) -> CutLora:
    """Cut a teacher's LoRA down to a student, module by module.

    What is left does to the student's weights what the LoRA does to the teacher's from which they
    are inherited: layers of removed blocks go, those of moved blocks are renamed, and of narrower
    ones the kept channels stay. A LoRA of 4 input channels leaves the other five of a 9-channel
    UNet alone.

    Args:
        lora: as `read_lora` reads it.
        arch: the student.
        backbone: the teacher's.
        kept: the channels that a narrower student keeps, as `choose_channels` returns them, or
            `read_channels` out of an export's provenance.

    Raises:
        InputError: no module is left, or a narrower student's channels are missing.
    """
    homes = find_homes(arch, backbone, kept)
    dropped = dict(lora.strange)
    modules: dict[str, LoraModule] = {}
    for name, module in lora.modules.items():
        home = homes.get(name)
        if home is None:
            dropped[name] = _why_gone(name, arch)
        else:
            modules[home.module] = replace(
                module, down=home.columns(module.down), up=home.rows(module.up)
            )
    if not modules:
        name, reason = next(iter(dropped.items()))
        raise InputError(
            f"something of a LoRA must be left for {arch.key}, but all of its {len(dropped)} "
            f"modules go; of {name!r}: {reason}; choose a design that keeps more, or another LoRA"
        )
    metadata = write_header(lora.metadata, lora.config, modules)
    if lora.config is None:
        modules = _with_one_alpha(modules)
    return CutLora(modules, dropped, lora.text, metadata)


def find_homes(
    arch: Architecture, backbone: Backbone, kept: Mapping[str, NDArray[np.int64]] = ALL
) -> dict[str, Home]:
    """Where each module of the teacher is in a student, by the teacher's paths.

    Raises:
        InputError: a narrower student's channels are missing or not admissible.
    """
    cut = plan_cut(arch, backbone, kept)
    inputs = {
        "conv_in.weight": backbone.in_channels,
        "time_embedding.linear_1.weight": member_backbone(arch, backbone).block_out_channels[0],
    }
    return {
        source.tensor.removesuffix(".weight"): Home(
            name.removesuffix(".weight"), source, inputs.get(name), cut
        )
        for name, source in trace_weights(arch, backbone).items()
        if source.tensor is not None and name.endswith(".weight")
    }


def _why_gone(name: str, arch: Architecture) -> str:
    slot = find_slot(name)
    if slot is not None and slot.name in arch.ghost_slots:
        return "its attention is off"
    if slot is not None and slot.name not in arch.kept_slots:
        return "its block was removed"
    return "the student needs no such module: its block has equal widths"


def _with_one_alpha(modules: Mapping[str, LoraModule]) -> dict[str, LoraModule]:
    """The same modules with one alpha for all, or with none.

    Stock diffusers gives attentions the alpha that most modules have, also where their own is
    another, and so it does with modules that say none.
    """
    if len({module.alpha for module in modules.values()}) == 1:
        return dict(modules)
    if all(module.scale == 1 for module in modules.values()):
        return {name: replace(module, alpha=None) for name, module in modules.items()}
    alphas = Counter(module.full_alpha for module in modules.values())
    common = alphas.most_common(1)[0][0]
    return {
        name: module
        if module.alpha == common
        else replace(module, up=module.up.float() * (module.full_alpha / common), alpha=common)
        for name, module in modules.items()
    }
