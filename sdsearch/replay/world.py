"""The worlds: tiny teachers with hundreds of measured members each, for any method to be tried on.

`docs/benchmark.md` says how they were measured and what they can and cannot say.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sdsearch.assets import asset_path
from sdsearch.design import read_probe
from sdsearch.errors import InputError, suggest
from sdsearch.labels import read_label_table
from sdsearch.replay.pool import UNIFORM
from sdsearch.space import search_space
from sdsearch.unet import Backbone

if TYPE_CHECKING:
    from sdsearch.design import Probe
    from sdsearch.labels import Label
    from sdsearch.space import SearchSpace

DISTANCE = "fd_efflite0"
"""What the labels of a table are compared in where nothing else was said."""
_COLUMNS = {
    "fill-16": "lpips_like_efflite0",
    "words-16": DISTANCE,
    "words-16-b": DISTANCE,
}
WORLDS = tuple(_COLUMNS)
"""The first is of the teacher that comes with sdsearch."""
DRAW = 32
"""So many of the uniform members of a world are one draw of labels."""


@dataclass(frozen=True)
class World:
    """A tiny teacher, what was measured of its members, and what it loses with each removal.

    Attributes:
        column: what members are compared in, lower is better (docs/decisions/0030).
        labels: of several recoveries and label seeds.
        probe: what the teacher loses with each removal, where that is known.
    """

    name: str
    space: SearchSpace
    column: str
    labels: tuple[Label, ...]
    probe: Probe | None


def read_world(name: str) -> World:
    """One of `WORLDS`.

    Raises:
        InputError: there is none of that name.
    """
    if name not in _COLUMNS:
        raise InputError(
            f"a world must be one of {', '.join(WORLDS)}, but is {name!r}{suggest(name, WORLDS)}"
        )
    config = json.loads(asset_path(f"worlds/{name}/unet/config.json").read_text(encoding="utf-8"))
    labels = read_label_table(asset_path(f"worlds/labels/{name}.jsonl"))
    probe = read_probe(asset_path(f"worlds/labels/{name}-probe.json"))
    space = search_space("tiny", Backbone.from_config(config))
    return World(name, space, _COLUMNS[name], tuple(labels), probe)


def draw_of_members(space: SearchSpace) -> dict[str, int]:
    """By key the uniform members of a world, and to which of the disjoint draws each belongs."""
    members = space.sample(UNIFORM, np.random.default_rng(0))
    return {arch.key: at // DRAW for at, arch in enumerate(members)}
