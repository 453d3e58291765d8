"""Architecture: which blocks of the unpruned UNet a member keeps."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import (
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from sdsearch.keys import content_key
from sdsearch.model import FrozenModel
from sdsearch.unet.slots import SLOTS, Slot, SlotState

if TYPE_CHECKING:
    from sdsearch.unet.backbone import Backbone


_ENCODER_LAYERS = {None: (), 0: (), 1: (0,), 2: (0, 1)}
"""Layers of the encoder that a level of a given depth keeps; None is an absent level 3."""
_DECODER_LAYERS = {None: (), 0: (2,), 1: (0, 2), 2: (0, 1, 2)}
"""Decoder layers likewise: a shallower decoder drops its middle block (BK-SDM's map), because only
there do the widths of the remaining skips fit the teacher's tensors at every level."""


class Level(FrozenModel):
    """Encoder and decoder half of one resolution with attention.

    `depth` encoder res blocks and depth + 1 decoder res blocks are kept; each has its attention on
    or off, in execution order.
    """

    depth: Literal[1, 2]
    down_attn: tuple[bool, ...]
    up_attn: tuple[bool, ...]

    @model_validator(mode="after")
    def _one_bit_per_res_block(self) -> Self:
        if len(self.down_attn) != self.depth or len(self.up_attn) != self.depth + 1:
            raise ValueError(
                f"a level of depth {self.depth} needs {self.depth} down_attn and {self.depth + 1} "
                f"up_attn bits, but got {len(self.down_attn)} and {len(self.up_attn)}"
            )
        return self

    def __str__(self) -> str:
        bits = (
            "".join("x" if on else "." for on in side) for side in (self.down_attn, self.up_attn)
        )
        return f"d{self.depth} attn {'/'.join(bits)}"


class Bottom(FrozenModel):
    """Level 3, which has no attention, and the mid block.

    `depth` None means that level 3 is absent: a three-stage net, whose mid block cannot have
    attention (its transformer depth would be taken from level 2's list).
    """

    depth: Literal[0, 1, 2] | None
    mid: Literal["attention", "resnet"] | None

    @model_validator(mode="after")
    def _no_attention_without_level_3(self) -> Self:
        if self.depth is None and self.mid == "attention":
            raise ValueError(
                "mid = 'attention' needs level 3, but depth is None; use 'resnet' or None"
            )
        return self

    def __str__(self) -> str:
        level = "absent" if self.depth is None else f"d{self.depth}"
        return f"level 3 {level}, mid {self.mid or 'none'}"


class Architecture(FrozenModel):
    """One member of a search space: the options of levels 0, 1, 2 and of the bottom.

    `widths` are the channels of levels 0 to 3 where they are not the backbone's. Without an encoder
    block at level 3 nothing there could change the width, so it has that of level 2.
    """

    levels: tuple[Level, Level, Level]
    bottom: Bottom
    widths: tuple[int, int, int, int] | None = None

    @model_validator(mode="after")
    def _no_width_of_an_empty_level_3(self) -> Self:
        if self.widths and not self.bottom.depth and self.widths[2] != self.widths[3]:
            raise ValueError(
                f"a bottom of depth {self.bottom.depth} needs equal widths at levels 2 and 3, but "
                f"they are {self.widths[2]} and {self.widths[3]}"
            )
        return self

    @cached_property
    def key(self) -> str:
        """Content key of the structure (never of weights): 12 hex digits."""
        return content_key(self.model_dump(mode="json"))

    @model_serializer(mode="wrap")
    def _leave_out_default_widths(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        said: dict[str, Any] = dump(self)
        if self.widths is None:
            del said["widths"]
        return said

    @cached_property
    def kept_slots(self) -> frozenset[str]:
        """Names of the kept slots of the unpruned net, such as `down.0.res.0` or `up.1.attn.2`."""
        return self._slots_that_are("kept")

    @cached_property
    def ghost_slots(self) -> frozenset[str]:
        """Attention slots switched off beside one that is on in the same half of a level.

        The stock class cannot omit them: their `norm`, `proj_in` and a zeroed `proj_out` stay, an
        exact identity with a small cost.
        """
        return self._slots_that_are("ghost")

    @cached_property
    def slot_states(self) -> tuple[SlotState, ...]:
        """What becomes of each of `SLOTS`."""
        return tuple(self._state(slot) for slot in SLOTS)

    def kept_layers(self, slot: Slot) -> tuple[int, ...]:
        """The layers that are kept in the encoder or decoder half of a slot's level, in order."""
        depth = self.levels[slot.level].depth if slot.level < 3 else self.bottom.depth
        return (_ENCODER_LAYERS if slot.half == "enc" else _DECODER_LAYERS)[depth]

    def _slots_that_are(self, state: SlotState) -> frozenset[str]:
        states = zip(SLOTS, self.slot_states, strict=True)
        return frozenset(slot.name for slot, found in states if found == state)

    def _state(self, slot: Slot) -> SlotState:
        if slot.half == "mid":
            first = slot.position == 0
            kept = self.bottom.mid == "attention" or (self.bottom.mid == "resnet" and first)
        elif slot.kind in ("res", "attn"):
            layers = self.kept_layers(slot)
            kept = slot.layer in layers
            if kept and slot.kind == "attn":
                level = self.levels[slot.level]
                bits = level.down_attn if slot.half == "enc" else level.up_attn
                if not bits[layers.index(slot.layer)]:
                    return "ghost" if any(bits) else "removed"
        else:
            kept = slot.unit is None or self.bottom.depth is not None
        return "kept" if kept else "removed"

    def __str__(self) -> str:
        widths = [f"widths {'/'.join(map(str, self.widths))}"] if self.widths else []
        levels = (f"level {i} {level}" for i, level in enumerate(self.levels))
        return "; ".join([*levels, str(self.bottom), *widths])


def member_backbone(arch: Architecture, backbone: Backbone) -> Backbone:
    """The backbone at a member's own widths, which its config, costs and graph are made of.

    Raises:
        InputError: a width is no multiple of the norm groups or of the level's heads.
    """
    return backbone.with_widths(arch.widths) if arch.widths else backbone


_WHOLE = Level(depth=2, down_attn=(True,) * 2, up_attn=(True,) * 3)
UNPRUNED = Architecture(levels=(_WHOLE,) * 3, bottom=Bottom(depth=2, mid="attention"))
"""The architecture that removes nothing: the teacher's own."""
