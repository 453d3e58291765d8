"""Architectures as numbers: named slot features, a PyG graph, and plans of distinct computations.

The topology is that of the unpruned net for every member, and each feature of a slot depends only
on the option of the slot's own unit. Two graphs therefore share the hop-h embedding of a slot
whenever they agree on everything within h hops upstream. `HopPlan` lists every distinct such
computation once; it makes training fast and scoring of the whole space exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from sdsearch.errors import InputError
from sdsearch.graph import EDGES, SLOTS, ArchGraph, build_graph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch_geometric.data import Data

    from sdsearch.architecture import Architecture
    from sdsearch.backbone import Backbone
    from sdsearch.space import SearchSpace

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

CATEGORICAL = ("level", "half", "slot", "state", "joint")
CONTINUOUS = ("resolution", "in_channels", "out_channels", "params_share", "macs_share")
EDGE_KINDS = ("main", "skip", "self")
REMOVED = "removed"

# A share of 1/1000 of the teacher is where the logarithm of a cost share starts to matter.
_SHARE_UNIT = 1000.0


def _sources(kind: str) -> Ints:
    """For each slot the slot that feeds it by an edge of this kind, -1 where there is none."""
    found = np.full(len(SLOTS), -1, dtype=np.int64)
    for edge in EDGES:
        if edge.kind == kind:
            found[edge.target] = edge.source
    return found


MAIN_SOURCE, SKIP_SOURCE = _sources("main"), _sources("skip")


@dataclass(frozen=True, slots=True)
class SlotFeatures:
    """Features of the slots of one graph or, with a leading axis, of many."""

    categorical: Ints  # (..., 46, 5) ids into the vocabularies
    continuous: Floats  # (..., 46, 5) about [0, 1]


class FeatureLayout(BaseModel):
    """Names every feature column and value; holds the teacher's totals that scale the costs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocabularies: dict[str, tuple[str, ...]]
    teacher_params: int
    teacher_macs: int
    teacher_channels: int
    teacher_resolution: int

    @classmethod
    def of(cls, teacher: ArchGraph) -> FeatureLayout:
        """The layout of all members pruned from this unpruned graph."""
        positions = sorted({slot.position for slot in SLOTS})
        kinds = tuple(dict.fromkeys(slot.kind for slot in SLOTS))
        return cls(
            vocabularies={
                "level": tuple(str(i) for i in sorted({slot.level for slot in SLOTS})),
                "half": tuple(dict.fromkeys(slot.half for slot in SLOTS)),
                "slot": tuple(str(i) for i in positions),
                "state": (REMOVED, *kinds),
                "joint": tuple(
                    f"{slot.name}={state}" for slot in SLOTS for state in (REMOVED, slot.kind)
                ),
            },
            teacher_params=sum(teacher.params),
            teacher_macs=sum(teacher.macs),
            teacher_channels=max(teacher.out_channels),
            teacher_resolution=max(teacher.resolutions),
        )

    @classmethod
    def for_space(cls, space: SearchSpace) -> FeatureLayout:
        """The layout of a search space, from its unpruned member."""
        return cls.of(build_graph(space.members["teacher"], space.backbone))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of `to_data(...).x`, in order."""
        return CATEGORICAL + CONTINUOUS

    @property
    def sizes(self) -> tuple[int, ...]:
        """Vocabulary size of each categorical column."""
        return tuple(len(self.vocabularies[name]) for name in CATEGORICAL)


def encode(graph: ArchGraph, layout: FeatureLayout) -> SlotFeatures:
    """Features of one graph: (46, 5) ids and (46, 5) floats."""
    states = [
        REMOVED if state == "removed" else slot.kind
        for slot, state in zip(SLOTS, graph.states, strict=True)
    ]
    words = [
        (str(slot.level), slot.half, str(slot.position), state, f"{slot.name}={state}")
        for slot, state in zip(SLOTS, states, strict=True)
    ]
    ids = [layout.vocabularies[name].index for name in CATEGORICAL]
    categorical = [[find(word) for find, word in zip(ids, row, strict=True)] for row in words]
    resolution = np.log2(np.maximum(graph.resolutions, 1)) / np.log2(layout.teacher_resolution)
    continuous = (
        resolution,
        np.asarray(graph.in_channels) / layout.teacher_channels,
        np.asarray(graph.out_channels) / layout.teacher_channels,
        _log_share(graph.params, layout.teacher_params),
        _log_share(graph.macs, layout.teacher_macs),
    )
    return SlotFeatures(
        np.asarray(categorical, dtype=np.int64),
        np.stack(continuous, axis=1).astype(np.float32),
    )


def encode_all(
    architectures: Sequence[Architecture], backbone: Backbone, layout: FeatureLayout
) -> SlotFeatures:
    """Features of many architectures, stacked: (graphs, 46, 5) each."""
    rows = [encode(build_graph(arch, backbone), layout) for arch in architectures]
    return SlotFeatures(
        np.stack([row.categorical for row in rows]), np.stack([row.continuous for row in rows])
    )


def to_data(graph: ArchGraph, layout: FeatureLayout) -> Data:
    """The graph as PyG sees it: `x` (46, 10) with `columns` naming it, typed edges, self loops.

    `edge_attr` is one-hot over main, skip, self. Categorical columns hold their ids as floats.
    """
    import torch
    from torch_geometric.data import Data

    features = encode(graph, layout)
    ends = [(edge.source, edge.target, EDGE_KINDS.index(edge.kind)) for edge in EDGES]
    ends += [(slot, slot, EDGE_KINDS.index("self")) for slot in range(len(SLOTS))]
    source, target, kind = torch.tensor(ends).T
    x = np.concatenate([features.categorical.astype(np.float32), features.continuous], axis=1)
    data = Data(
        x=torch.from_numpy(x),
        edge_index=torch.stack([source, target]),
        edge_attr=torch.nn.functional.one_hot(kind, len(EDGE_KINDS)).float(),
    )
    data.columns = layout.columns
    return data


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
    base = space.digits(np.zeros(1, dtype=np.int64))[0]
    encoded = []
    for axis, unit in enumerate(space.units):
        digits = np.tile(base, (len(unit.options), 1))
        digits[:, axis] = np.arange(len(unit.options))
        members = [space.arch(int(i)) for i in space.indices(digits)]
        encoded.append(encode_all(members, space.backbone, layout))
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


def _slot_rows(features: SlotFeatures, slot: int) -> tuple[Ints, Floats]:
    return features.categorical[:, slot], features.continuous[:, slot]


def _plan(rows: list[tuple[Ints, Floats]], hops: int) -> HopPlan:
    flat = [
        np.concatenate([ids, values], axis=-1, dtype=np.float64).reshape(
            -1, len(CATEGORICAL) + len(CONTINUOUS)
        )
        for ids, values in rows
    ]
    table, inverse = np.unique(np.concatenate(flat), axis=0, return_inverse=True)
    at = np.cumsum([0] + [len(part) for part in flat])
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
    """Items of the next hop: the distinct (main, skip, self) triples of each slot."""
    base = max(int(part.max()) for part in current) + 2  # digit 0 stands for "no edge"
    following, sources, offset = [], [], 0
    for slot, own in enumerate(current):
        digits = [
            current[source] + 1 if source >= 0 else np.zeros((1,) * own.ndim, dtype=np.int64)
            for source in (MAIN_SOURCE[slot], SKIP_SOURCE[slot])
        ]
        code = (digits[0] * base + digits[1]) * base + own + 1
        distinct, inverse = np.unique(code, return_inverse=True)
        following.append(offset + inverse.reshape(code.shape))
        sources.append(
            np.stack([distinct // base**2, distinct // base % base, distinct % base], axis=1) - 1
        )
        offset += len(distinct)
    return following, np.concatenate(sources)


def _log_share(cost: Sequence[int], total: int) -> Floats:
    share = np.asarray(cost, dtype=np.float64) / total
    scaled: Floats = np.log1p(share * _SHARE_UNIT) / np.log1p(_SHARE_UNIT)
    return scaled
