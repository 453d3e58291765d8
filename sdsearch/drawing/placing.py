"""Where the 46 slots and 12 skips of a UNet lie in its picture, in SVG units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdsearch.unet import EDGES, SLOTS, active_edges, build_graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdsearch.unet import Architecture, Backbone, Slot, SlotState

BOX_WIDTH, BOX_HEIGHT, PITCH = 46.0, 32.0, 56.0
ENCODER, DECODER, MID = 126.0, 540.0, 417.0
TOP, ROW, ARC = 74.0, 108.0, 52.0


@dataclass(frozen=True, slots=True)
class Box:
    """A slot at its place; `x` and `y` are its upper left corner in SVG units."""

    slot: Slot
    state: SlotState
    x: float
    y: float

    @property
    def middle(self) -> float:
        """Its horizontal middle."""
        return self.x + BOX_WIDTH / 2


@dataclass(frozen=True, slots=True)
class Skip:
    """A skip of the teacher; an active one starts at the block that feeds it in the member."""

    source: Box
    target: Box
    active: bool


def place_boxes(arch: Architecture) -> dict[str, Box]:
    """All 46 slots by name in order of execution, each at its place."""
    boxes = {}
    for slot, state in zip(SLOTS, arch.slot_states, strict=True):
        column = slot.position
        if slot.half in ("in", "enc"):
            x = ENCODER + PITCH * (column + (slot.half == "enc"))
        elif slot.half == "mid":
            x = MID + PITCH * (column - 1)
        else:
            x = DECODER + PITCH * (6 if slot.half == "out" else column)
        row = 4 if slot.half == "mid" else slot.level
        boxes[slot.name] = Box(slot, state, x, TOP + ROW * row + ARC)
    return boxes


def place_skips(
    arch: Architecture, backbone: Backbone, boxes: Mapping[str, Box]
) -> tuple[Skip, ...]:
    """The teacher's 12 skips between the boxes that `place_boxes` has made."""
    graph, placed = build_graph(arch, backbone), list(boxes.values())
    fed = {edge.target: edge.source for edge in active_edges(graph) if edge.kind == "skip"}
    return tuple(
        Skip(placed[fed.get(edge.target, edge.source)], placed[edge.target], edge.target in fed)
        for edge in EDGES
        if edge.kind == "skip"
    )
