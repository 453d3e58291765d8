"""Architectures as numbers: named features of the 46 slots, and the same as a PyG graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sdsearch.design import LEAST_ERROR
from sdsearch.errors import InputError
from sdsearch.model import FrozenModel
from sdsearch.unet import EDGES, SLOTS, UNPRUNED, ArchGraph, build_graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch_geometric.data import Data

    from sdsearch.space import SearchSpace
    from sdsearch.unet import Architecture, Backbone

Ints = npt.NDArray[np.int64]
Floats32 = npt.NDArray[np.float32]

CATEGORICAL = ("level", "half", "slot", "state", "joint")
CONTINUOUS = ("resolution", "in_channels", "out_channels", "params_share", "macs_share")
REMOVAL_ERROR = "removal_error"
"""The column of a layout that knows a probe: what is lost with a slot that is gone, else 0."""
EDGE_KINDS = ("main", "skip", "self")
REMOVED = "removed"

# A share of 1/1000 of the teacher is where the logarithm of a cost share starts to matter.
_SHARE_UNIT = 1000.0


@dataclass(frozen=True, slots=True)
class SlotFeatures:
    """Features of the slots of one graph or, with a leading axis, of many."""

    categorical: Ints  # (..., 46, 5) ids into the vocabularies
    continuous: Floats32  # (..., 46, 5 or 6) about [0, 1]


class FeatureLayout(FrozenModel):
    """Names every feature column and value; holds the teacher's totals that scale the costs.

    `removal_errors` are a probe's: the relative squared error without each slot, by slot name.
    """

    vocabularies: dict[str, tuple[str, ...]]
    teacher_params: int
    teacher_macs: int
    teacher_channels: int
    teacher_resolution: int
    removal_errors: dict[str, float] | None = None

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
    def for_space(
        cls, space: SearchSpace, removal_errors: Mapping[str, float] | None = None
    ) -> FeatureLayout:
        """The layout of a search space, from its unpruned member, and of a probe where given."""
        layout = cls.of(build_graph(UNPRUNED, space.backbone))
        errors = None if removal_errors is None else dict(removal_errors)
        return layout.model_copy(update={"removal_errors": errors})

    def check_space(self, space: SearchSpace) -> None:
        """Raise `InputError` where a space has another layout: its scores would mean nothing."""
        if self != FeatureLayout.for_space(space, self.removal_errors):
            raise InputError(
                f"the ranker must be fitted on the backbone of space {space.name!r}, but its layout"
                " differs; refit: sdsearch fit STUDY"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of `to_data(...).x`, in order."""
        return CATEGORICAL + self.continuous

    @property
    def continuous(self) -> tuple[str, ...]:
        """Names of the columns that are no categories."""
        return CONTINUOUS if self.removal_errors is None else (*CONTINUOUS, REMOVAL_ERROR)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Vocabulary size of each categorical column."""
        return tuple(len(self.vocabularies[name]) for name in CATEGORICAL)


def encode(graph: ArchGraph, layout: FeatureLayout) -> SlotFeatures:
    """Features of one graph: (46, 5) ids, and a column of floats for each of `continuous`."""
    states = [
        slot.kind if state == "kept" else REMOVED
        for slot, state in zip(SLOTS, graph.states, strict=True)
    ]
    words = [
        (str(slot.level), slot.half, str(slot.position), state, f"{slot.name}={state}")
        for slot, state in zip(SLOTS, states, strict=True)
    ]
    ids = [layout.vocabularies[name].index for name in CATEGORICAL]
    categorical = [[find(word) for find, word in zip(ids, row, strict=True)] for row in words]
    resolution = np.log2(np.maximum(graph.resolutions, 1)) / np.log2(layout.teacher_resolution)
    continuous = [
        resolution,
        np.asarray(graph.in_channels) / layout.teacher_channels,
        np.asarray(graph.out_channels) / layout.teacher_channels,
        _log_share(graph.params, layout.teacher_params),
        _log_share(graph.macs, layout.teacher_macs),
    ]
    if layout.removal_errors is not None:
        continuous.append(_removed_errors(states, layout.removal_errors))
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
    """The graph as PyG sees it: `x` (46, columns), which `columns` names, typed edges, self loops.

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


def _removed_errors(states: Sequence[str], errors: Mapping[str, float]) -> Floats32:
    """(46,) the errors of slots that are gone, from 0 at `LEAST_ERROR` to 1 at the whole output."""
    pairs = zip(SLOTS, states, strict=True)
    gone = np.array(
        [errors.get(slot.name, 0.0) if state == REMOVED else 0.0 for slot, state in pairs]
    )
    scaled: Floats32 = np.log1p(gone / LEAST_ERROR) / np.log1p(1 / LEAST_ERROR)
    return scaled


def _log_share(cost: Sequence[int], total: int) -> Floats32:
    share = np.asarray(cost, dtype=np.float64) / total
    scaled: Floats32 = np.log1p(share * _SHARE_UNIT) / np.log1p(_SHARE_UNIT)
    return scaled
