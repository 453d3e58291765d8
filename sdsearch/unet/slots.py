"""The 46 named places of the unpruned UNet, in execution order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sdsearch.unet.backbone import Backbone

SlotKind = Literal["conv_in", "res", "attn", "sample", "conv_out"]
Half = Literal["in", "enc", "mid", "dec", "out"]
SlotState = Literal["kept", "ghost", "removed"]
"""What a member makes of a slot; a ghost is an attention that is off and keeps its projections."""

UNIT_NAMES = ("level0", "level1", "level2", "bottom")
"""The choices that decide about slots, by level; the bottom is level 3 and the mid block."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One block of the unpruned net, named as diffusers numbers it (`up.0` is the deepest decoder).

    A name is made here once and never read back: what it says is in the fields.

    Attributes:
        block: the diffusers block around the slot, such as "down.0"; `layer` counts inside it.
        level: 0 at the highest resolution.
        position: counts the slots of a half-level.
        unit: the choice that decides its fate; None where it is always kept.
        attention: name of the attention that reads a res block's output; None without one.
    """

    name: str
    kind: SlotKind
    half: Half
    block: str
    level: int
    position: int
    layer: int
    unit: str | None
    attention: str | None = None

    def out_channels(self, backbone: Backbone) -> int:
        """Channels of the slot's output; the same in every member of the backbone's widths."""
        return (
            backbone.out_channels
            if self.kind == "conv_out"
            else backbone.block_out_channels[self.level]
        )

    def in_channels(self, backbone: Backbone) -> int:
        """Channels that enter the slot, a concatenated skip included."""
        widths = backbone.block_out_channels
        if self.kind == "conv_in":
            return backbone.in_channels
        if self.kind != "res" or self.half == "mid":
            return widths[self.level]
        if self.half == "enc":
            return (
                widths[self.level - 1] if self.layer == 0 and self.level > 0 else widths[self.level]
            )
        main = widths[min(self.level + 1, 3)] if self.layer == 0 else widths[self.level]
        skip = widths[max(self.level - 1, 0)] if self.layer == 2 else widths[self.level]
        return main + skip


def _half_level(
    block: str, half: Half, level: int, layers: int, *, attention: bool, sample: bool
) -> list[Slot]:
    unit = UNIT_NAMES[level]
    slots: list[Slot] = []
    for layer in range(layers):
        res, attn = f"{block}.res.{layer}", f"{block}.attn.{layer}" if attention else None
        slots.append(Slot(res, "res", half, block, level, len(slots), layer, unit, attn))
        if attn:
            slots.append(Slot(attn, "attn", half, block, level, len(slots), layer, unit))
    if sample:
        # Without level 3 there is no down.2.sample: the bottom decides about it.
        fate = "bottom" if block in ("down.2", "up.0") else None
        slots.append(Slot(f"{block}.sample", "sample", half, block, level, len(slots), 0, fate))
    return slots


def _unpruned_slots() -> tuple[Slot, ...]:
    slots = [Slot("conv_in", "conv_in", "in", "conv_in", 0, 0, 0, None)]
    for level in range(4):
        attention = level < 3
        slots += _half_level(
            f"down.{level}", "enc", level, 2, attention=attention, sample=level < 3
        )
    slots += [
        Slot("mid.res.0", "res", "mid", "mid", 3, 0, 0, "bottom", "mid.attn.0"),
        Slot("mid.attn.0", "attn", "mid", "mid", 3, 1, 0, "bottom"),
        Slot("mid.res.1", "res", "mid", "mid", 3, 2, 1, "bottom"),
    ]
    for block in range(4):
        level = 3 - block
        slots += _half_level(f"up.{block}", "dec", level, 3, attention=level < 3, sample=level > 0)
    return (*slots, Slot("conv_out", "conv_out", "out", "conv_out", 0, 0, 0, None))


def level_sizes(latent: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """(height, width) of the features at levels 0 to 3: each halved, rounded up, from the last."""
    sizes = [latent]
    for _ in range(3):
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return tuple(sizes)


SLOTS = _unpruned_slots()
"""All 46 slots; the tuple's order is the order of execution."""
SLOTS_BY_NAME = {slot.name: slot for slot in SLOTS}
