"""Plans: every distinct slot computation of a set of graphs, listed once.

The topology is that of the unpruned net for every member, and each feature of a slot depends only
on the option of the slot's own unit. Two graphs therefore share the hop-h embedding of a slot
whenever they agree on everything within h hops upstream. A `HopPlan` lists every distinct such
computation once; it makes training fast and scoring of the whole space exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sdsearch.errors import InputError
from sdsearch.ranker.features import (
    CATEGORICAL,
    FeatureLayout,
    Floats32,
    Ints,
    SlotFeatures,
    encode_all,
)
from sdsearch.unet import EDGES, SLOTS

if TYPE_CHECKING:
    from sdsearch.space import SearchSpace


def _sources(kind: str) -> Ints:
    """For each slot the slot that feeds it by an edge of this kind, -1 where there is none."""
    found = np.full(len(SLOTS), -1, dtype=np.int64)
    for edge in EDGES:
        if edge.kind == kind:
            found[edge.target] = edge.source
    return found


MAIN_SOURCE, SKIP_SOURCE = _sources("main"), _sources("skip")


@dataclass(frozen=True, slots=True)
class HopPlan:
    """The distinct slot computations of a set of graphs, hop by hop.

    `features` are the distinct feature rows, the items of hop 0. Row i of `sources[m]` names the
    items of hop m that item i of hop m + 1 reads: (main, skip, self), -1 where no edge exists.
    `items[m][slot]` says which item each graph uses at hop m: arrays of one shape (graphs,), or
    of shapes that broadcast to the shape of a whole space.
    """

    features: SlotFeatures
    sources: tuple[Ints, ...]
    items: tuple[tuple[Ints, ...], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many items each hop has."""
        return (len(self.features.categorical), *(len(source) for source in self.sources))


def plan_batch(features: SlotFeatures, hops: int) -> HopPlan:
    """Plan of a batch of graphs encoded as (graphs, 46, ...)."""
    return _plan([_slot_rows(features, slot) for slot in range(len(SLOTS))], hops)


def plan_space(space: SearchSpace, layout: FeatureLayout, hops: int) -> HopPlan:
    """Plan of every member of a space; items broadcast to (options of unit 0, ..., of unit 3).

    Raises:
        InputError: the space has widths to choose, so that a slot's channels depend on its
            neighbours' options too; its `width_parts` can be planned.
    """
    if space.chooses_widths:
        raise InputError(
            f"every unit must have one width to plan a whole space, but {space.name} has widths to "
            "choose; plan each of its width_parts"
        )
    # Slots depend on their own unit alone, so one member per option shows all of its features.
    base = space.digits(np.zeros(1, dtype=np.int64))[0]
    encoded = []
    for axis, unit in enumerate(space.units):
        digits = np.tile(base, (len(unit.options), 1))
        digits[:, axis] = np.arange(len(unit.options))
        members = [space.arch(int(i)) for i in space.indices(digits)]
        encoded.append(encode_all(members, space.backbone, layout))  # (options, 46, ...)
    axis_of = {unit.name: axis for axis, unit in enumerate(space.units)}
    rows = []
    for number, slot in enumerate(SLOTS):
        axis = axis_of.get(slot.unit or "", 0)
        categorical, continuous = _slot_rows(encoded[axis], number)
        shape = [1] * len(space.units)
        # A slot that looks alike under every option depends on nothing: keep its axis at 1.
        if (categorical != categorical[:1]).any() or (continuous != continuous[:1]).any():
            shape[axis] = len(categorical)
        size = int(np.prod(shape))
        rows.append(
            (
                categorical[:size].reshape(*shape, -1),
                continuous[:size].reshape(*shape, -1),
            )
        )
    return _plan(rows, hops)


def _slot_rows(features: SlotFeatures, slot: int) -> tuple[Ints, Floats32]:
    return features.categorical[:, slot], features.continuous[:, slot]


def _plan(rows: list[tuple[Ints, Floats32]], hops: int) -> HopPlan:
    """`rows` are per slot its ids and values, (..., 5) each; the items get the leading shape."""
    # Per slot (graphs or options, 10). Equal rows are one item of hop 0, whichever slots have them.
    flat = [
        np.concatenate([ids, values], axis=-1, dtype=np.float64).reshape(
            -1, ids.shape[-1] + values.shape[-1]
        )
        for ids, values in rows
    ]
    table, inverse = np.unique(np.concatenate(flat), axis=0, return_inverse=True)
    at = np.cumsum([0] + [len(part) for part in flat])  # where each slot's rows begin
    current = [
        inverse.reshape(-1)[at[i] : at[i + 1]].reshape(rows[i][0].shape[:-1])
        for i in range(len(rows))
    ]
    items, sources = [tuple(current)], []
    for _ in range(hops):
        current, source = _next_hop(current)
        items.append(tuple(current))
        sources.append(source)
    width = len(CATEGORICAL)
    features = SlotFeatures(table[:, :width].astype(np.int64), table[:, width:].astype(np.float32))
    return HopPlan(features, tuple(sources), tuple(items))


def _next_hop(current: list[Ints]) -> tuple[list[Ints], Ints]:
    """Items of the next hop: the distinct (main, skip, self) triples of each slot.

    `current` are per slot its items at this hop, of shapes that broadcast to one another. Returns
    those of the next hop, and the triple behind each, (items, 3).
    """
    # A triple is written as one number of three digits: `unique` is fast on numbers, not on rows.
    base = max(int(part.max()) for part in current) + 2  # digit 0 is "no edge", else item + 1
    following, sources, offset = [], [], 0
    for slot, own in enumerate(current):
        digits = [
            current[source] + 1 if source >= 0 else np.zeros((1,) * own.ndim, dtype=np.int64)
            for source in (MAIN_SOURCE[slot], SKIP_SOURCE[slot])
        ]
        # Broadcasting joins the axes of all three: the units that the slot sees after this hop.
        code = (digits[0] * base + digits[1]) * base + own + 1
        distinct, inverse = np.unique(code, return_inverse=True)
        following.append(offset + inverse.reshape(code.shape))
        # The three digits again, less 1: (distinct, 3) items, -1 where there is no edge.
        sources.append(
            np.stack([distinct // base**2, distinct // base % base, distinct % base], axis=1) - 1
        )
        offset += len(distinct)
    return following, np.concatenate(sources)
