"""Provenance: where every tensor of a student comes from, none left out and none random."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sdsearch.errors import InputError
from sdsearch.unet import SLOTS, UNPRUNED, Slot, student_path
from sdsearch.weights.channels import (
    Axes,
    channel_choices,
    has_shortcut,
    slot_axes,
    stream,
    student_widths,
    time_axes,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from sdsearch.unet import Architecture, Backbone

_GHOST_PARTS = ("norm", "proj_in", "proj_out")
_WIDEST = 1 << 20  # channels, more than any net has


@dataclass(frozen=True, slots=True)
class Source:
    """Where one student tensor comes from.

    `tensor` names the teacher tensor, or is None. `how`: a copy; a copy whose columns are resampled
    on the frequency axis (the time embedding of a student of another width at level 0); zeros; or
    an identity between two choices (the shortcut that only unequal widths need). `axes` names the
    channel choices of the leading dimensions, as `weights.channels` explains. `zero_channels`
    counts input channels appended as zeros (a 9-channel student of a 4-channel teacher).
    """

    tensor: str | None
    how: Literal["copy", "resample", "zero", "identity"] = "copy"
    axes: Axes = ()
    zero_channels: int = 0


def trace_weights(
    arch: Architecture, backbone: Backbone, teacher_in_channels: int | None = None
) -> dict[str, Source]:
    """The source of every tensor of the member's UNet, by name; none is left out.

    `teacher_in_channels` is the teacher's `conv_in` width where it differs from the backbone's.

    Raises:
        InputError: the teacher has more input channels than the backbone, or the member's widths
            cannot be inherited.
    """
    teacher = UNPRUNED
    sources = _time_sources(arch, backbone)
    for slot in SLOTS:
        if slot.name in arch.kept_slots | arch.ghost_slots:
            target, origin = student_path(slot, arch), student_path(slot, teacher)
            found = _slot_sources(slot, origin, arch, backbone)
            sources |= {f"{target}.{tail}": source for tail, source in found.items()}
    for name in ("conv_norm_out.weight", "conv_norm_out.bias"):
        sources[name] = Source(name, axes=((stream(0, arch),),))
    given = backbone.in_channels if teacher_in_channels is None else teacher_in_channels
    if given > backbone.in_channels:
        raise InputError(
            f"conv_in.weight: the teacher has {given} input channels, but the backbone only "
            f"{backbone.in_channels}; does the backbone describe this teacher?"
        )
    sources["conv_in.weight"] = replace(
        sources["conv_in.weight"], zero_channels=backbone.in_channels - given
    )
    return sources


def lost_shortcuts(arch: Architecture, backbone: Backbone) -> list[str]:
    """Teacher tensors of kept blocks for which the student has no place.

    These are the shortcuts of blocks whose input and output widths differ in the teacher and are
    equal in the student: the stock class then builds none.
    """
    widths, full = student_widths(arch, backbone), backbone.block_out_channels
    teacher = UNPRUNED
    return [
        f"{student_path(slot, teacher)}.conv_shortcut.{part}"
        for slot in SLOTS
        if slot.kind == "res" and slot.name in arch.kept_slots
        if has_shortcut(slot, full) and not has_shortcut(slot, widths)
        for part in ("weight", "bias")
    ]


def provenance_document(
    arch: Architecture,
    backbone: Backbone,
    kept: Mapping[str, Iterable[int]] | None = None,
    teacher_in_channels: int | None = None,
) -> dict[str, Any]:
    """The provenance as JSON: what `provenance.json` of an exported pipeline holds.

    `kept` are the channels chosen (`choose_channels`), which every member of
    other widths than the backbone's needs. `tensors` gives every student tensor its teacher tensor,
    with the choices that slice it, or "zero", or "new" and how it was made; `channels` lists for
    each choice the teacher's channels in the student's order; `lost` names teacher tensors of kept
    blocks without a place.
    """
    kept = kept or {}
    choices = channel_choices(arch, backbone)
    missing = [c.name for c in choices.values() if c.student < c.teacher and c.name not in kept]
    if missing:
        raise InputError(
            f"a member of other widths needs the channels kept of {missing[0]!r} and "
            f"{len(missing) - 1} more choices; pass what choose_channels returned"
        )
    sources = trace_weights(arch, backbone, teacher_in_channels)
    return {
        "tensors": {name: _entry(source, kept) for name, source in sources.items()},
        "channels": {
            name: {"of": choices[name].teacher, "kept": _ranges(kept[name])} for name in kept
        },
        "lost": lost_shortcuts(arch, backbone),
    }


def read_channels(document: Mapping[str, Any]) -> dict[str, NDArray[np.int64]]:
    """The channels kept, by choice, of what `provenance_document` returned.

    Raises:
        InputError: the document was changed: what it says are no ranges of channels.
    """
    try:
        return {
            name: np.concatenate([_span(part) for part in said["kept"].split(",")])
            for name, said in document["channels"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"a provenance must say which channels are kept, such as 0-2,7, but: {error}; "
            "export again"
        ) from None


def _time_sources(arch: Architecture, backbone: Backbone) -> dict[str, Source]:
    sources = {
        f"time_embedding.{tail}": Source(f"time_embedding.{tail}", axes=axes)
        for tail, axes in time_axes().items()
    }
    if student_widths(arch, backbone)[0] != backbone.block_out_channels[0]:
        name = "time_embedding.linear_1.weight"
        sources[name] = replace(sources[name], how="resample")
    return sources


def _slot_sources(
    slot: Slot, origin: str, arch: Architecture, backbone: Backbone
) -> dict[str, Source]:
    """Sources of one slot's tensors by their names inside it; `origin` is the teacher's module."""
    axes = slot_axes(slot, arch)
    sources = {tail: Source(f"{origin}.{tail}", axes=axes[tail]) for tail in axes}
    if slot.name in arch.ghost_slots:
        sources = {
            tail: Source(None, "zero") if tail.startswith("proj_out.") else source
            for tail, source in sources.items()
            if tail.startswith(tuple(f"{part}." for part in _GHOST_PARTS))
        }
    if slot.kind == "res":
        weight, bias = "conv_shortcut.weight", "conv_shortcut.bias"
        if not has_shortcut(slot, student_widths(arch, backbone)):
            del sources[weight], sources[bias]
        elif not has_shortcut(slot, backbone.block_out_channels):
            sources[weight] = Source(None, "identity", axes[weight])
            sources[bias] = Source(None, "zero")
    return sources


def _entry(source: Source, kept: Iterable[str]) -> dict[str, Any]:
    """One tensor's line of the document; axes are told where a choice of theirs is in `kept`."""
    entry: dict[str, Any] = (
        {"teacher": source.tensor}
        if source.tensor is not None
        else {"zero": True}
        if source.how == "zero"
        else {"new": "identity between the channels that both sides keep, else 0"}
    )
    if any(name in kept for axis in source.axes for name in axis):
        entry["slice"] = [" + ".join(axis) or "all" for axis in source.axes]
    if source.how == "resample":
        entry["resampled"] = "input columns, on the frequency axis"
    if source.zero_channels:
        entry["zero_channels"] = source.zero_channels
    return entry


def _ranges(numbers: Iterable[int]) -> str:
    """Numbers in their order as text, runs joined: [0, 1, 2, 7] -> "0-2,7"."""
    runs = (
        [int(number) for _, number in run]
        for _, run in groupby(enumerate(numbers), key=lambda pair: int(pair[1]) - pair[0])
    )
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _span(text: str) -> NDArray[np.int64]:
    """The numbers of one run: "3" or "0-2"."""
    first, _, last = text.partition("-")
    if int(last or first) - int(first) not in range(_WIDEST):
        raise ValueError(f"{text!r} is no run of channels")
    return np.arange(int(first), int(last or first) + 1)
