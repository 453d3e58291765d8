"""Channels: which dimensions of the UNet's tensors must keep the same channels when widths shrink.

Every choice of channels has a name. `level.1` is the residual stream of level 1 with all that
writes to it or reads from it, the resampling convolutions included; `down.0.res.0.hidden` lies
between the two convolutions of one block; an attention slot has `.inner` (its own residual stream),
`.self.qk`, `.self.v`, `.cross.qk`, `.cross.v` (inside the heads) and `.ff` (both GEGLU halves);
`time.hidden` and `time.out` belong to the time embedding. A tensor's axes name the choices that its
leading dimensions join, one after another where inputs are concatenated; an empty axis stays whole.

What a choice may keep is bound by groups. Group norms and attention heads keep their number, so a
student's group holds channels of the teacher's group of the same number, equally many of each. A
stream is also read through concatenations, whose norm groups begin elsewhere; they cut the stream's
groups into cells, and a choice takes its share of every cell, in the order of the cells. Where all
widths shrink alike and the cells divide, the groups of the concatenations too are then parts of the
teacher's; where widths shrink unlike each other no choice could do that, and they are close to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdsearch.errors import InputError
from sdsearch.unet import LEVELS, SLOTS, Slot

if TYPE_CHECKING:
    from sdsearch.unet import Architecture, Backbone

Axes = tuple[tuple[str, ...], ...]
Widths = tuple[int, int, int, int]

STREAMS = tuple(f"level.{level}" for level in range(LEVELS))
"""Names of the choices of the levels' residual streams."""
_HEADED = (".self.qk", ".self.v", ".cross.qk", ".cross.v")


@dataclass(frozen=True, slots=True)
class ChannelChoice:
    """`student` of `teacher` channels are kept, equally many of each of `groups` equal groups.

    `cells` holds the first channel of every cell. Choices with the same `pool` are ranked by one
    importance, so that the narrower of them is a part of the wider.
    """

    name: str
    teacher: int
    student: int
    groups: int
    cells: tuple[int, ...]
    pool: str


def student_widths(arch: Architecture, backbone: Backbone) -> Widths:
    """Channels of levels 0 to 3 of a member; without level 3, its mid block has those of level 2.

    Raises:
        InputError: a width cannot be inherited from the backbone's, or a level that the member
            lacks would have had to change the width.
    """
    full = backbone.block_out_channels
    widths: Widths = arch.widths or full
    for level, (width, most, heads) in enumerate(zip(widths, full, backbone.heads, strict=True)):
        for name, divisor in (("norm_num_groups", backbone.norm_num_groups), ("heads", heads)):
            if width % divisor:
                raise InputError(
                    f"level {level}: width must be a multiple of {name}, but {width} % {divisor} "
                    "!= 0"
                )
        if not 0 < width <= most:
            raise InputError(
                f"level {level}: 0 < width <= {most} must hold to inherit from the teacher, but "
                f"width = {width}"
            )
    if not arch.bottom.depth and full[2] != full[3]:
        raise InputError(
            "the teacher's levels 2 and 3 must have equal widths where the student's level 3 has "
            f"no encoder block, but they are {full[2]} and {full[3]}"
        )
    return widths


def input_levels(slot: Slot) -> tuple[int, ...]:
    """The levels of the unpruned net whose streams enter a slot: main input, then the skip."""
    if slot.kind != "res" or slot.half == "mid":
        return (slot.level,)
    if slot.half == "enc":
        return (max(slot.level - 1, 0) if slot.layer == 0 else slot.level,)
    main = min(slot.level + 1, 3) if slot.layer == 0 else slot.level
    return main, max(slot.level - 1, 0) if slot.layer == 2 else slot.level


def stream(level: int, arch: Architecture) -> str:
    """The choice of a level's stream; what is left of an absent level 3 joins level 2's."""
    return STREAMS[2 if level == 3 and arch.bottom.depth is None else level]


def has_shortcut(slot: Slot, widths: Widths) -> bool:
    """Whether a res block needs a 1x1 convolution beside it: its input and output widths differ."""
    return sum(widths[level] for level in input_levels(slot)) != widths[slot.level]


def slot_axes(slot: Slot, arch: Architecture) -> dict[str, Axes]:
    """The axes of all tensors of a slot by their names inside it, a res block's shortcut included.

    Dimensions that are not listed (kernels) stay whole.
    """
    output = (stream(slot.level, arch),)
    if slot.kind == "res":
        entering = tuple(stream(level, arch) for level in input_levels(slot))
        return _res_axes(slot.name, entering, output)
    if slot.kind == "attn":
        return _attention_axes(slot.name, output)
    if slot.kind == "conv_in":
        return {"weight": (output,), "bias": (output,)}
    if slot.kind == "conv_out":
        return {"weight": ((), output), "bias": ((),)}
    return {"conv.weight": (output, output), "conv.bias": (output,)}


def time_axes() -> dict[str, Axes]:
    """The axes of the time embedding; its input are frequencies, resampled and never chosen."""
    hidden, out = ("time.hidden",), ("time.out",)
    return {
        "linear_1.weight": (hidden,),
        "linear_1.bias": (hidden,),
        "linear_2.weight": (out, hidden),
        "linear_2.bias": (out,),
    }


def channel_choices(arch: Architecture, backbone: Backbone) -> dict[str, ChannelChoice]:
    """All choices of a member by name, those that keep every channel included."""
    widths, full = student_widths(arch, backbone), backbone.block_out_channels
    choices: dict[str, ChannelChoice] = {}

    def add(name: str, teacher: int, student: int, groups: int = 1) -> None:
        cells = tuple(range(0, teacher, teacher // groups))
        choices[name] = ChannelChoice(name, teacher, student, groups, cells, name)

    for name in ("time.hidden", "time.out"):
        add(name, 4 * full[0], 4 * widths[0])
    for level in range(3 if arch.bottom.depth is None else 4):
        name = STREAMS[level]
        # Levels joined by an identity keep the same channels: all their cells bind each of them.
        tied = _tied_levels(level, full)
        cells = sorted(set().union(*(_cells(one, backbone) for one in tied)))
        choices[name] = ChannelChoice(
            name,
            full[level],
            widths[level],
            backbone.norm_num_groups,
            tuple(cells),
            STREAMS[tied[0]],
        )
    for slot in SLOTS:
        teacher, student = full[slot.level], widths[slot.level]
        if slot.kind == "res" and slot.name in arch.kept_slots:
            add(f"{slot.name}.hidden", teacher, student, backbone.norm_num_groups)
        if slot.kind == "attn" and slot.name in arch.kept_slots | arch.ghost_slots:
            add(f"{slot.name}.inner", teacher, student)
        if slot.kind == "attn" and slot.name in arch.kept_slots:
            for part in _HEADED:
                add(f"{slot.name}{part}", teacher, student, backbone.heads[slot.level])
            add(f"{slot.name}.ff", 4 * teacher, 4 * student)
    return choices


def _tied_levels(level: int, full: Widths) -> range:
    """The levels whose streams the encoder joins by an identity, as no shortcut lies between."""
    first = last = level
    while first > 0 and full[first - 1] == full[level]:
        first -= 1
    while last < 3 and full[last + 1] == full[level]:
        last += 1
    return range(first, last + 1)


def _cells(level: int, backbone: Backbone) -> set[int]:
    """Where groups begin in a level's stream, in its own norms and behind concatenations."""
    full, groups = backbone.block_out_channels, backbone.norm_num_groups
    width = full[level]
    starts = set(range(0, width, width // groups))  # of the stream's own group norms
    for slot in SLOTS:
        if slot.kind == "res" and slot.half == "dec":
            main, skip = input_levels(slot)
            # The norm's groups lie over main and skip joined: of 1280 + 640 in 32, each has 60.
            total = full[main] + full[skip]
            edges = range(0, total, total // groups)
            if main == level:
                starts |= {edge for edge in edges if edge < width}
            if skip == level:
                starts |= {edge - full[main] for edge in edges if edge >= full[main]}
    return starts


def _res_axes(name: str, entering: tuple[str, ...], output: tuple[str, ...]) -> dict[str, Axes]:
    hidden = (f"{name}.hidden",)
    return {
        "norm1.weight": (entering,),
        "norm1.bias": (entering,),
        "conv1.weight": (hidden, entering),
        "conv1.bias": (hidden,),
        "time_emb_proj.weight": (hidden, ("time.out",)),
        "time_emb_proj.bias": (hidden,),
        "norm2.weight": (hidden,),
        "norm2.bias": (hidden,),
        "conv2.weight": (output, hidden),
        "conv2.bias": (output,),
        "conv_shortcut.weight": (output, entering),
        "conv_shortcut.bias": (output,),
    }


def _attention_axes(name: str, outer: tuple[str, ...]) -> dict[str, Axes]:
    """`Transformer2DModel` of depth 1; keys and values of cross-attention see the text, whole."""
    inner, ff = (f"{name}.inner",), (f"{name}.ff",)
    block: dict[str, Axes] = {}
    for number, part in ((1, "self"), (2, "cross")):
        qk, v = (f"{name}.{part}.qk",), (f"{name}.{part}.v",)
        context: tuple[str, ...] = inner if part == "self" else ()
        block |= {
            f"norm{number}.weight": (inner,),
            f"norm{number}.bias": (inner,),
            f"attn{number}.to_q.weight": (qk, inner),
            f"attn{number}.to_k.weight": (qk, context),
            f"attn{number}.to_v.weight": (v, context),
            f"attn{number}.to_out.0.weight": (inner, v),
            f"attn{number}.to_out.0.bias": (inner,),
        }
    block |= {
        "norm3.weight": (inner,),
        "norm3.bias": (inner,),
        "ff.net.0.proj.weight": (ff + ff, inner),
        "ff.net.0.proj.bias": (ff + ff,),
        "ff.net.2.weight": (inner, ff),
        "ff.net.2.bias": (inner,),
    }
    return {
        "norm.weight": (outer,),
        "norm.bias": (outer,),
        "proj_in.weight": (inner, outer),
        "proj_in.bias": (inner,),
        **{f"transformer_blocks.0.{tail}": axes for tail, axes in block.items()},
        "proj_out.weight": (outer, inner),
        "proj_out.bias": (outer,),
    }
