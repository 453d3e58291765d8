"""Architecture: which blocks of the unpruned UNet a member keeps."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from sdsearch.keys import content_key

if TYPE_CHECKING:
    from sdsearch.unet.backbone import Backbone

_FROZEN = ConfigDict(frozen=True, extra="forbid")

ENCODER_SLOTS = {0: (), 1: (0,), 2: (0, 1)}
"""Encoder res-block slots that a level of a given depth keeps."""
DECODER_SLOTS = {0: (2,), 1: (0, 2), 2: (0, 1, 2)}
"""Decoder slots likewise: a shallower decoder drops its middle block (BK-SDM's map), because only
there do the widths of the remaining skips fit the teacher's tensors at every level."""


class Level(BaseModel):
    """Encoder and decoder half of one resolution with attention.

    `depth` encoder res blocks and depth + 1 decoder res blocks are kept; each has its attention on
    or off, in execution order.
    """

    model_config = _FROZEN

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


class Bottom(BaseModel):
    """Level 3, which has no attention, and the mid block.

    `depth` None means that level 3 is absent: a three-stage net, whose mid block cannot have
    attention (its transformer depth would be taken from level 2's list).
    """

    model_config = _FROZEN

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


class Architecture(BaseModel):
    """One member of a search space: the options of levels 0, 1, 2 and of the bottom.

    `widths` are the channels of levels 0 to 3 where they are not the backbone's. Without an encoder
    block at level 3 nothing there could change the width, so it has that of level 2.
    """

    model_config = _FROZEN

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
        kept = {
            "conv_in",
            "conv_out",
            "down.0.sample",
            "down.1.sample",
            "up.1.sample",
            "up.2.sample",
        }
        for number, level in enumerate(self.levels):
            halves = (
                (f"down.{number}", ENCODER_SLOTS[level.depth], level.down_attn),
                (f"up.{3 - number}", DECODER_SLOTS[level.depth], level.up_attn),
            )
            for block, slots, bits in halves:
                kept |= {f"{block}.res.{slot}" for slot in slots}
                kept |= {f"{block}.attn.{slot}" for slot, on in zip(slots, bits, strict=True) if on}
        if self.bottom.depth is not None:
            kept |= {"down.2.sample", "up.0.sample"}
            kept |= {f"down.3.res.{slot}" for slot in ENCODER_SLOTS[self.bottom.depth]}
            kept |= {f"up.0.res.{slot}" for slot in DECODER_SLOTS[self.bottom.depth]}
        if self.bottom.mid is not None:
            kept.add("mid.res.0")
        if self.bottom.mid == "attention":
            kept |= {"mid.attn.0", "mid.res.1"}
        return frozenset(kept)

    @cached_property
    def ghost_slots(self) -> frozenset[str]:
        """Attention slots switched off beside one that is on in the same half of a level.

        The stock class cannot omit them: their `norm`, `proj_in` and a zeroed `proj_out` stay, an
        exact identity with a small cost.
        """
        ghosts: set[str] = set()
        for number, level in enumerate(self.levels):
            halves = (
                (f"down.{number}", ENCODER_SLOTS[level.depth], level.down_attn),
                (f"up.{3 - number}", DECODER_SLOTS[level.depth], level.up_attn),
            )
            for block, slots, bits in halves:
                if any(bits):
                    ghosts |= {
                        f"{block}.attn.{s}" for s, on in zip(slots, bits, strict=True) if not on
                    }
        return frozenset(ghosts)

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
