"""Showing a space: its size, its units and its named members, or a member as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdsearch.design.scores import read_scores
from sdsearch.files import write_atomic
from sdsearch.report.drawing import draw_unet
from sdsearch.unet.cost import count_macs, count_params

if TYPE_CHECKING:
    from sdsearch.space.space import SearchSpace
    from sdsearch.study.folder import StudyFolder
    from sdsearch.unet.architecture import Architecture


def describe_space(space: SearchSpace) -> dict[str, Any]:
    """Return size, units and named members with their exact costs, ready for JSON."""
    backbone = space.backbone
    members = {
        name: {
            "arch_key": arch.key,
            "index": space.index(arch),
            "params": count_params(arch, backbone),
            "macs": count_macs(arch, backbone, backbone.sample_size).total,
        }
        for name, arch in space.members.items()
    }
    units = [{"name": unit.name, "options": len(unit.options)} for unit in space.units]
    return {"size": len(space), "name": space.name, "units": units, "members": members}


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
