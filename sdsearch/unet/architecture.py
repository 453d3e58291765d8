"""Architecture: which blocks of the unpruned UNet a member keeps."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import (
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from sdsearch.errors import InputError
from sdsearch.keys import content_key
from sdsearch.model import FrozenModel
from sdsearch.unet.notation import read_notation
from sdsearch.unet.slots import SLOTS, Slot, SlotState

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        down, up = ("".join("01"[on] for on in half) for half in (self.down_attn, self.up_attn))
        return f"depth {self.depth}, attention down {down} up {up}"


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
        level = "no level 3" if self.depth is None else f"level 3 of depth {self.depth}"
        return f"{level}, mid {self.mid or 'none'}"


class Architecture(FrozenModel):
    """One member of a search space: the options of levels 0, 1, 2 and of the bottom.

    `widths` are the channels of levels 0 to 3 where they are not the backbone's. Without an encoder
    block at level 3 nothing there could change the width, so it has that of level 2.

    >>> own = Architecture.parse("bk-tiny; level 0: depth 2, attention up 101")
    >>> print(own.levels[0], "/", own.bottom)
    depth 2, attention down 11 up 101 / no level 3, mid none
    >>> own.key  # its name in every file
    'f69f30b5fa2a'
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
        levels = (f"level {number}: {level}" for number, level in enumerate(self.levels))
        return "; ".join([*levels, str(self.bottom), *widths])

    def __repr__(self) -> str:
        return f"Architecture.parse({str(self)!r})"

    @classmethod
    def parse(cls, words: str) -> Self:
        """The architecture that `words` say; what they do not mention is as in the teacher.

        They may begin with a named member (`teacher`, `bk-base`, `bk-small`, `bk-tiny`), whose
        parts then hold instead. A level of another depth keeps what it had at each res block; a
        block that it gains has attention. `parse(str(arch)) == arch` for every architecture. The
        notation is described in `sdsearch.unet.notation`.

        >>> arch = Architecture.parse("level 1: depth 1, attention down 1 up 01; mid none")
        >>> arch.levels[1]
        Level(depth=1, down_attn=(True,), up_attn=(False, True))
        >>> arch.levels[0] == UNPRUNED.levels[0], arch.bottom.mid
        (True, None)
        >>> str(Architecture.parse("bk-tiny; level 2: attention down 0").levels[2])
        'depth 1, attention down 0 up 11'

        Raises:
            InputError: `words` say nothing, or a part cannot be; the part is named with what is
                allowed there.
        """
        said = read_notation(words, NAMED)
        base = NAMED[said.get("name", "teacher")]
        levels = [_change_level(f"level {n}", level, said) for n, level in enumerate(base.levels)]
        bottom: dict[str, Any] = base.bottom.model_dump()
        for field, part in (("depth", "level 3 depth"), ("mid", "mid")):
            if part in said:
                bottom[field] = {"none": None, "0": 0, "1": 1, "2": 2}.get(said[part], said[part])
        widths = [int(width) for width in said["widths"].split("/")] if "widths" in said else None
        try:
            return cls.model_validate({"levels": levels, "bottom": bottom, "widths": widths})
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise InputError(f"{words!r} is no architecture: {reason}") from None


def member_backbone(arch: Architecture, backbone: Backbone) -> Backbone:
    """The backbone at a member's own widths, which its config, costs and graph are made of.

    Raises:
        InputError: a width is larger than the backbone's, or is no multiple of the norm groups or
            of the level's heads.
    """
    if arch.widths is None:
        return backbone
    for level, (own, full) in enumerate(zip(arch.widths, backbone.block_out_channels, strict=True)):
        if own > full:
            raise InputError(
                f"level {level} must be no wider than the backbone's {full} channels, but has {own}"
            )
    return backbone.with_widths(arch.widths)


def _change_level(name: str, level: Level, said: Mapping[str, str]) -> Level:
    """A level with what a notation says about it, by part."""
    depth = int(said.get(f"{name} depth", level.depth))
    attention = {}
    for half, layers, bits in (
        ("down", _ENCODER_LAYERS, level.down_attn),
        ("up", _DECODER_LAYERS, level.up_attn),
    ):
        before = dict(zip(layers[level.depth], bits, strict=True))
        kept = [before.get(layer, True) for layer in layers[depth]]
        if digits := said.get(f"{name} attention {half}"):
            if len(digits) != len(kept):
                raise InputError(
                    f"{name} attention {half} must have a digit for each res block at depth "
                    f"{depth}, {len(kept)} in all, but is {digits!r}"
                )
            kept = [digit == "1" for digit in digits]
        attention[f"{half}_attn"] = kept
    return Level.model_validate({"depth": depth, **attention})


_WHOLE = Level(depth=2, down_attn=(True,) * 2, up_attn=(True,) * 3)
_SHALLOW = Level(depth=1, down_attn=(True,), up_attn=(True,) * 2)
UNPRUNED = Architecture(levels=(_WHOLE,) * 3, bottom=Bottom(depth=2, mid="attention"))
"""The architecture that removes nothing: the teacher's own."""
NAMED = {
    "teacher": UNPRUNED,
    "bk-base": Architecture(levels=(_SHALLOW,) * 3, bottom=Bottom(depth=1, mid="attention")),
    "bk-small": Architecture(levels=(_SHALLOW,) * 3, bottom=Bottom(depth=1, mid=None)),
    "bk-tiny": Architecture(levels=(_SHALLOW,) * 3, bottom=Bottom(depth=None, mid=None)),
}
"""The teacher, and Base, Small and Tiny of BK-SDM (Kim et al., ECCV 2024)."""
