"""Showing a space: its size, its units and its named members, or a member as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sdsearch.design.scores import read_scores
from sdsearch.files import write_atomic
from sdsearch.model import FrozenModel
from sdsearch.report.drawing import draw_unet
from sdsearch.unet.cost import count_macs, count_params

if TYPE_CHECKING:
    from sdsearch.space.space import SearchSpace
    from sdsearch.study.folder import StudyFolder
    from sdsearch.unet.architecture import Architecture


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
    """A space in numbers."""

    size: int
    name: str
    units: tuple[UnitSummary, ...]
    members: dict[str, MemberSummary]


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
    )


def draw_member(
    arch: Architecture,
    space: SearchSpace,
    out: Path | None = None,
    study: StudyFolder | None = None,
) -> Path:
    """Write a member's picture as SVG; a study that has scored blocks gives their colours."""
    scores = read_scores(study.scores_file) if study else None
    file = out or Path(f"{arch.key}.svg")
    write_atomic(file, draw_unet(arch, space.backbone, scores.block_worth if scores else None))
    return file
