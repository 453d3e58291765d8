"""The notation of an architecture, such as `bk-small; level 1: depth 1, attention up 01; mid none`.

Parts are set apart by `;` or `,`. A name comes first; the others stand in any order:

    bk-small                                      the named member to begin with
    level 0: depth 1, attention down 1 up 01      levels 0, 1 and 2; what follows belongs to it
    level 3 of depth 1                            or: no level 3
    mid attention                                 or: mid resnet, mid none
    widths 320/640/960/960                        channels of levels 0 to 3

A digit of an attention is one res block of a half, in order of execution: 1 has attention, 0 has
none. This module knows the words; `Architecture.parse` knows what they mean.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sdsearch.errors import InputError

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
_LEVEL = re.compile(r"(level \d+)(?: of|:)? ?(.*)")
_ATTENTION = re.compile(r"attention(?: down (?P<down>\S+))?(?: up (?P<up>\S+))?")


def read_notation(text: str, names: Collection[str]) -> dict[str, str]:
    """Read a notation into part -> value, for the parts that it mentions.

    Parts are "name" (one of `names`), "level 0 depth", "level 0 attention down", "level 0 attention
    up" and so on for levels 1 and 2, "level 3 depth" ("none": absent), "mid" and "widths".

    Raises:
        InputError: a part is unknown, is said twice, or has a value that it cannot have.
    """
    said: dict[str, str] = {}
    for piece, part, value in _pieces(text, names):
        if part == "name":
            if said:
                raise InputError(f"a named member must come first, but {piece!r} comes later")
        elif part not in _PARTS:
            raise InputError(
                f"a part of an architecture must be one of {', '.join(names)}, 'level 0: depth 1, "
                "attention down 1 up 01' (levels 0 to 2), 'level 3 of depth 1', 'no level 3', "
                f"'mid none' or 'widths 320/640/960/960', but is {piece!r}"
            )
        elif part in said:
            raise InputError(f"a part must be said once, but {part} is again in {piece!r}")
        elif not re.fullmatch(_PARTS[part][0], value):
            raise InputError(f"{part} must be {_PARTS[part][1]}, but is {value!r}")
        said[part] = value
    return said


def _pieces(text: str, names: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """(as it is written, part, value) of everything that a notation says; parts may be unknown."""
    level = ""  # of the latest `level N`: what follows belongs to it
    for raw in re.split("[;,]", text):
        piece = rest = " ".join(raw.split())
        if found := _LEVEL.fullmatch(piece):
            level, rest = found[1] + " ", found[2]
        if not rest:
            continue
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
