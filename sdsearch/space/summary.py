"""A space in numbers: its size, its units, and its named members with their costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.model import FrozenModel
from sdsearch.space.loaders import LOADERS, Loader, space_loads
from sdsearch.unet import count_macs, count_params

if TYPE_CHECKING:
    from sdsearch.space.space import SearchSpace


class UnitSummary(FrozenModel):
    """A unit and how many options it has."""

    name: str
    options: int


class MemberSummary(FrozenModel):
    """A named member: its key, its number in the space, and its costs of one call at batch 1."""

    arch_key: str
    index: int
    params: int
    macs: int


class SpaceSummary(FrozenModel):
    """A space in numbers; `loads_in` counts the members that load elsewhere, by where."""

    size: int
    name: str
    units: tuple[UnitSummary, ...]
    members: dict[str, MemberSummary]
    loads_in: dict[Loader, int]


def summarize_space(space: SearchSpace) -> SpaceSummary:
    """Size, units and named members with their exact costs."""
    backbone = space.backbone
    return SpaceSummary(
        size=len(space),
        name=space.name,
        units=tuple(UnitSummary(name=u.name, options=len(u.options)) for u in space.units),
        members={
            name: MemberSummary(
                arch_key=arch.key,
                index=space.index(arch),
                params=count_params(arch, backbone),
                macs=count_macs(arch, backbone, backbone.sample_size).total,
            )
            for name, arch in space.members.items()
        },
        loads_in={name: int(space_loads(space, name).sum()) for name in LOADERS},
    )
