"""Looking up a member: by its name, by its number, or by a UNet config that says it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sdsearch.errors import InputError, suggest
from sdsearch.unet import read_architecture, read_unet_config

if TYPE_CHECKING:
    from sdsearch.space.space import SearchSpace
    from sdsearch.unet import Architecture


def find_member(text: str, space: SearchSpace) -> Architecture:
    """The member called `text`: a name such as "bk-tiny", a number, or the path of a config.json.

    Raises:
        InputError: nothing is called so, or the config is no member; the reason is given.
    """
    if text in space.members:
        return space.members[text]
    if text.isdecimal():
        return space.arch(int(text))
    path = Path(text)
    if path.suffix != ".json":
        raise InputError(
            f"a member must be one of {', '.join(space.members)}, a number below {len(space)} or "
            f"the path of a config.json, but got {text!r}"
            f"{suggest(text, space.members)}"
        )
    arch = read_architecture(read_unet_config(path), space.backbone)
    if (reason := space.why_not(arch)) is not None:
        raise InputError(f"{text} is no member of {space.name}: {reason}")
    return arch
