"""The notation of an architecture, such as `bk-small; level 1: depth 1, attention up 01; mid none`.

Parts are set apart by `;` or `,`. A name comes first; the others stand in any order:

    bk-small                                      the named member to begin with
    level 0: depth 1, attention down 1 up 01      levels 0, 1 and 2; what follows belongs to it
    level 3 of depth 1                            or: no level 3
    mid attention                                 or: mid resnet, mid none
    widths 320/640/960/960                        channels of levels 0 to 3

A digit of an attention is one res block of a half, in order of execution: 1 has attention, 0 has
none. Upper and lower case are the same. This module knows the words; `Architecture.parse` knows
what they mean.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sdsearch.errors import InputError, suggest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_DIGITS = "a digit, 0 or 1, for each res block"
_OF_LEVEL = {
    "depth": ("[12]", "1 or 2"),
    "attention down": ("[01]{1,2}", _DIGITS),
    "attention up": ("[01]{2,3}", _DIGITS),
}
_PARTS = {
    **{f"level {n} {what}": allowed for n in range(3) for what, allowed in _OF_LEVEL.items()},
    "level 3 depth": ("[012]|none", "0, 1 or 2"),
    "mid": ("attention|resnet|none", "attention, resnet or none"),
    "widths": (r"[1-9]\d*(/[1-9]\d*){3}", "a/b/c/d, the channels of levels 0 to 3"),
}
"""Each part, the pattern of its values, and the same in words."""
_LEVELS = tuple(f"level {n}" for n in range(4))
_LEVEL = re.compile(r"(level \d+)(?: of|:)? ?(.*)")
_ATTENTION = re.compile(r"attention(?: down (?P<down>\S+))?(?: up (?P<up>\S+))?")


def read_notation(text: str, names: Collection[str]) -> dict[str, str]:
    """Read a notation into part -> value, for the parts that it mentions.

    Parts are "name" (one of `names`), "level 0 depth", "level 0 attention down", "level 0 attention
    up" and so on for levels 1 and 2, "level 3 depth" ("none": absent), "mid" and "widths".

    Raises:
        InputError: it is no text, it says nothing, or a part is unknown, is said twice, or has a
            value that it cannot have.
    """
    if not isinstance(text, str):
        raise InputError(
            f"an architecture must be said in words, such as 'bk-small', but got {text!r}, of type "
            f"{type(text).__name__}"
        )
    said: dict[str, str] = {}
    for piece, part, value in _pieces(text, names):
        if part == "name":
            if said:
                raise InputError(f"a named member must come first, but {piece!r} comes later")
        elif part not in _PARTS:
            raise InputError(_why_unknown(piece, names))
        elif part in said:
            raise InputError(f"a part must be said once, but {part} is again in {piece!r}")
        elif not re.fullmatch(_PARTS[part][0], value):
            raise InputError(f"{part} must be {_PARTS[part][1]}, but is {value!r}")
        said[part] = value
    if not said:
        raise InputError(
            f"an architecture must say what it keeps, but {text!r} says nothing; the unpruned one "
            "is called 'teacher'"
        )
    return said


def _why_unknown(piece: str, names: Collection[str]) -> str:
    """Why a piece is no part of an architecture."""
    lower = piece.lower()
    if re.fullmatch(r"no level \d+", lower):
        return f"only level 3 can be left out, as in 'no level 3', but a part is {piece!r}"
    if (found := _LEVEL.fullmatch(lower)) and found[1] not in _LEVELS:
        return f"the levels of a UNet are 0 to 3, but a part is {piece!r}"
    if found and not found[2]:
        return (
            f"{found[1]} must be followed by what it keeps, such as its depth, but {piece!r} ends"
        )
    hint = "" if " " in piece else suggest(lower, names)
    return (
        f"a part of an architecture must be one of {', '.join(names)}, 'level 0: depth 1, "
        "attention down 1 up 01' (levels 0 to 2), 'level 3 of depth 1', 'no level 3', 'mid none' "
        f"or 'widths 320/640/960/960', but is {piece!r}{hint}"
    )


def _pieces(text: str, names: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """(as it is written, part, value) of everything that a notation says; parts may be unknown."""
    level = ""  # of the latest `level N`: what follows belongs to it
    for raw in re.split("[;,]", text):
        piece = " ".join(raw.split())
        rest = piece.lower()
        if not piece:
            continue
        if found := _LEVEL.fullmatch(rest):
            level, rest = found[1] + " ", found[2]
        if rest in names:
            yield piece, "name", rest
        elif rest == "no level 3":
            yield piece, "level 3 depth", "none"
        elif found := _ATTENTION.fullmatch(rest):
            halves = {half: bits for half, bits in found.groupdict().items() if bits}
            for half, bits in halves.items():
                yield piece, f"{level}attention {half}", bits
            if not halves:
                yield piece, rest, ""
        else:
            what, _, value = rest.partition(" ")
            yield piece, f"{level}depth" if what == "depth" else what, value
