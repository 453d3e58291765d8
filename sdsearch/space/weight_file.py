"""The size of a UNet's weight file to the byte: of one member, and of every member of a space.

A safetensors file holds the length of its header in 8 bytes, the header as JSON, filled up with
spaces to a multiple of 8, and the tensors by name. The header says where each tensor begins and
ends, so that its length depends on the digits of these numbers, and they on all tensors before.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from sdsearch.space.costs import fill_parts, members_by_option
from sdsearch.unet import SLOTS, UNIT_NAMES, UNPRUNED, member_backbone, student_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sdsearch.space.space import SearchSpace
    from sdsearch.unet import Architecture, Backbone, Slot

    Shapes = dict[str, tuple[int, ...]]

_WORD = 8  # bytes of the header's length, and what the header is a multiple of
_FRAME = len('{"__metadata__":{"format":"pt"}}')
_ENTRY = len(',"":{"dtype":"F32","shape":[],"data_offsets":[,]}')  # "F16" is as long


def weight_file_bytes(arch: Architecture, backbone: Backbone, value_bytes: int) -> int:
    """Bytes of the file of a member's UNet as diffusers saves it in float32 (4) or float16 (2)."""
    text, end = np.array(_FRAME), np.array(0)
    for name in _SECTIONS:
        text, end = _read_section(name, arch, backbone, value_bytes).append(text, end)
    return int(_file_bytes(text, end))


def tensor_shapes(arch: Architecture, backbone: Backbone) -> Shapes:
    """The tensors of a member's UNet: their shapes by name, in no order.

    >>> from sdsearch.unet import NAMED, SD14
    >>> tensor_shapes(NAMED["bk-tiny"], SD14)["conv_in.weight"]
    (320, 4, 3, 3)
    """
    found: Shapes = {}
    for name in _SECTIONS:
        found |= _section_tensors(name, arch, backbone)
    return found


def space_file_bytes(space: SearchSpace, value_bytes: int) -> NDArray[np.int64]:
    """(len(space),) `weight_file_bytes` of every member.

    The sections of a file follow one another: each is decided by one unit at most, and begins where
    those before it end, which depends on the units that have decided about them.
    """

    def fill(part: SearchSpace) -> NDArray[np.int64]:
        def read(name: str, arch: Architecture) -> _Section:
            return _read_section(name, arch, space.backbone, value_bytes)

        members = members_by_option(part)
        text, end = np.full((1, 1, 1, 1), _FRAME), np.zeros((1, 1, 1, 1), np.int64)
        for name, slots in _SECTIONS.items():
            unit = slots[0].unit if slots else None
            if unit is None:
                text, end = read(name, members[0][0]).append(text, end)
            else:
                axis = UNIT_NAMES.index(unit)
                sections = [read(name, arch) for arch in members[axis]]
                text, end = _append_options(sections, axis, text, end)
        return _file_bytes(text, end)

    return fill_parts(space, fill)


@dataclass(frozen=True, slots=True)
class _Section:
    """Tensors that lie together in a file.

    `text` counts the characters of their entries in the header but for the offsets; `offsets` are
    where tensors begin and where they end, (2 x tensors,), from the section's own beginning.
    """

    text: int
    offsets: NDArray[np.int64]
    size: int

    def append(
        self, text: NDArray[np.int64], end: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Header characters and bytes of data with this section behind those given."""
        return text + self.text + self._digits(end), end + self.size

    def _digits(self, start: NDArray[np.int64]) -> NDArray[np.int64]:
        """Digits of all its offsets in files where it begins at `start`."""
        found, limit = np.full(start.shape, len(self.offsets)), 10
        while limit <= start.max() + self.size:
            # A number has one digit more for each power of ten that it reaches.
            if start.min() >= limit:
                found += len(self.offsets)
            else:
                found += len(self.offsets) - np.searchsorted(self.offsets, limit - start)
            limit *= 10
        return found


def _append_options(
    sections: Sequence[_Section], axis: int, text: NDArray[np.int64], end: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Append a section that differs by the options of a unit, whose axis may have one place yet."""
    shape = (*text.shape[:axis], len(sections), *text.shape[axis + 1 :])
    texts, ends = np.broadcast_to(text, shape).copy(), np.broadcast_to(end, shape).copy()
    for option, section in enumerate(sections):
        here = (slice(None),) * axis + (option,)
        texts[here], ends[here] = section.append(texts[here], ends[here])
    return texts, ends


def _file_bytes(text: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    header = -(-text // _WORD) * _WORD
    return _WORD + header + end


def _section_name(slot: Slot) -> str:
    """The section with a slot's tensors, by the list of modules that the unpruned net has them in.

    A member without level 3 gives its decoder blocks other numbers, in the same order.
    """
    path = student_path(slot, UNPRUNED)
    return path.rpartition(".")[0] or path


_SECTIONS = {
    name: tuple(slot for slot in SLOTS if _section_name(slot) == name)
    for name in sorted({"conv_norm_out", "time_embedding", *map(_section_name, SLOTS)})
}
"""The sections of a file in their order, and the slots with tensors there: those of one unit."""


def _read_section(name: str, arch: Architecture, backbone: Backbone, value_bytes: int) -> _Section:
    """A section of a member's file; without tensors where the member has none of its slots."""
    return _measure(_section_tensors(name, arch, backbone), value_bytes)


def _section_tensors(name: str, arch: Architecture, backbone: Backbone) -> Shapes:
    own, tensors = member_backbone(arch, backbone), dict[str, tuple[int, ...]]()
    width, time = own.block_out_channels[0], own.time_embed_dim
    if name == "conv_norm_out":
        tensors = _affine(name, width)
    elif name == "time_embedding":
        tensors = _layer(f"{name}.linear_1", time, width) | _layer(f"{name}.linear_2", time, time)
    for slot in _SECTIONS[name]:
        if slot.name in arch.kept_slots | arch.ghost_slots:
            ghost = slot.name in arch.ghost_slots
            tensors |= _slot_tensors(slot, student_path(slot, arch), own, ghost=ghost)
    return tensors


def _measure(tensors: Shapes, value_bytes: int) -> _Section:
    ends = list(accumulate(value_bytes * prod(tensors[name]) for name in sorted(tensors)))
    starts = [0, *ends[:-1]] if ends else []
    entries = (
        _ENTRY + len(name) + len(",".join(map(str, shape))) for name, shape in tensors.items()
    )
    offsets = np.array(sorted([*starts, *ends]), np.int64)
    return _Section(sum(entries), offsets, ends[-1] if ends else 0)


def _slot_tensors(slot: Slot, path: str, own: Backbone, *, ghost: bool) -> Shapes:
    entering, leaving = slot.in_channels(own), slot.out_channels(own)
    if slot.kind == "attn":
        return _attention(path, leaving, own, ghost=ghost)
    if slot.kind == "sample":
        return _layer(f"{path}.conv", leaving, entering, 3, 3)
    if slot.kind != "res":
        return _layer(path, leaving, entering, 3, 3)
    shapes = {
        **_affine(f"{path}.norm1", entering),
        **_layer(f"{path}.conv1", leaving, entering, 3, 3),
        **_layer(f"{path}.time_emb_proj", leaving, own.time_embed_dim),
        **_affine(f"{path}.norm2", leaving),
        **_layer(f"{path}.conv2", leaving, leaving, 3, 3),
    }
    if entering != leaving:
        shapes |= _layer(f"{path}.conv_shortcut", leaving, entering, 1, 1)
    return shapes


def _attention(path: str, width: int, own: Backbone, *, ghost: bool) -> Shapes:
    """`Transformer2DModel` of depth 1, or of depth 0 for a ghost."""
    kernel = () if own.use_linear_projection else (1, 1)
    shapes = {
        **_affine(f"{path}.norm", width),
        **_layer(f"{path}.proj_in", width, width, *kernel),
        **_layer(f"{path}.proj_out", width, width, *kernel),
    }
    if ghost:
        return shapes
    block = f"{path}.transformer_blocks.0"
    for number, context in ((1, width), (2, own.cross_attention_dim)):
        shapes[f"{block}.attn{number}.to_q.weight"] = (width, width)
        shapes[f"{block}.attn{number}.to_k.weight"] = (width, context)
        shapes[f"{block}.attn{number}.to_v.weight"] = (width, context)
        shapes |= _layer(f"{block}.attn{number}.to_out.0", width, width)
    for number in (1, 2, 3):
        shapes |= _affine(f"{block}.norm{number}", width)
    shapes |= _layer(f"{block}.ff.net.0.proj", 8 * width, width)
    return shapes | _layer(f"{block}.ff.net.2", width, 4 * width)


def _layer(path: str, leaving: int, *others: int) -> Shapes:
    return {f"{path}.weight": (leaving, *others), f"{path}.bias": (leaving,)}


def _affine(path: str, width: int) -> Shapes:
    return {f"{path}.weight": (width,), f"{path}.bias": (width,)}
