"""The block graph: 46 slots of the unpruned UNet in execution order, joined by typed edges.

The topology is the teacher's for every member. A removed slot stays as a node: it passes its main
input on, and edges into a removed consumer are void. Where widths are the backbone's, all facts of
a slot depend on the option of the slot's own unit alone, so that embeddings can be shared between
members.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sdsearch.unet.architecture import member_backbone
from sdsearch.unet.cost import slot_costs
from sdsearch.unet.slots import SLOTS, SlotState

if TYPE_CHECKING:
    from sdsearch.unet.architecture import Architecture
    from sdsearch.unet.backbone import Backbone

_LETTERS = {"conv_in": "C", "res": "R", "attn": "A", "sample": "S", "conv_out": "C"}


@dataclass(frozen=True, slots=True)
class Edge:
    """A tensor that flows from slot to slot; a `skip` is concatenated to the main input."""

    source: int
    target: int
    kind: Literal["main", "skip"]


@dataclass(frozen=True, slots=True, repr=False)
class ArchGraph:
    """One member as a graph: per slot its state, costs, channels and resolution (pixels of latent).

    Costs are per UNet call at batch 1 and the backbone's `sample_size`; MACs include attention
    matmuls. Ghosts cost their projections. Channels are the member's own.
    """

    states: tuple[SlotState, ...]
    params: tuple[int, ...]
    macs: tuple[int, ...]
    in_channels: tuple[int, ...]
    out_channels: tuple[int, ...]
    resolutions: tuple[int, ...]

    def __repr__(self) -> str:
        """Blocks in order of execution, such as `down.0 RARaS`; `-` is removed, `a` a ghost."""
        blocks: dict[str, str] = {}
        for slot, state in zip(SLOTS, self.states, strict=True):
            letter = {"kept": _LETTERS[slot.kind], "ghost": "a", "removed": "-"}[state]
            blocks[slot.block] = blocks.get(slot.block, "") + letter
        drawn = ", ".join(f"{block} {letters}" for block, letters in blocks.items())
        millions, giga = sum(self.params) / 1e6, sum(self.macs) / 1e9
        return f"ArchGraph({drawn}; {millions:.2f} M params, {giga:.2f} G MACs)"


def build_graph(arch: Architecture, backbone: Backbone) -> ArchGraph:
    """Lower a member to its 46-slot graph."""
    costs = slot_costs(arch, backbone)
    own = member_backbone(arch, backbone)
    return ArchGraph(
        states=arch.slot_states,
        params=tuple(cost.params for cost in costs),
        macs=tuple(cost.macs.total for cost in costs),
        in_channels=tuple(slot.in_channels(own) for slot in SLOTS),
        out_channels=tuple(slot.out_channels(own) for slot in SLOTS),
        resolutions=tuple(cost.size[0] for cost in costs),
    )


def active_edges(graph: ArchGraph) -> list[Edge]:
    """The wiring among kept slots: the others contracted, edges into them dropped."""
    main_input = {edge.target: edge.source for edge in EDGES if edge.kind == "main"}

    def contract(source: int) -> int:
        while graph.states[source] != "kept":
            source = main_input[source]
        return source

    return [
        Edge(contract(edge.source), edge.target, edge.kind)
        for edge in EDGES
        if graph.states[edge.target] == "kept"
    ]


def _teacher_edges() -> tuple[Edge, ...]:
    main = [Edge(i, i + 1, "main") for i in range(len(SLOTS) - 1)]
    # A skip is pushed by whatever ends a layer of the encoder: the attention, else the res block.
    pushing = [i for i, s in enumerate(SLOTS) if s.half in ("in", "enc") and s.attention is None]
    popping = [i for i, s in enumerate(SLOTS) if s.half == "dec" and s.kind == "res"]
    skips = zip(reversed(pushing), popping, strict=True)
    return (*main, *(Edge(source, target, "skip") for source, target in skips))


EDGES = _teacher_edges()
"""The teacher's 45 main and 12 skip edges."""
