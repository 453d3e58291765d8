"""Tasks: what a study has left to do, and for which architectures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdsearch.assets import TINY_TABLE, asset_path
from sdsearch.design import find_allowed
from sdsearch.errors import InputError
from sdsearch.labels import read_label_table
from sdsearch.study import Task, draw_sample, load_meter, read_designs, read_sample
from sdsearch.unet import UNPRUNED

if TYPE_CHECKING:
    from sdsearch.study import StudyFolder
    from sdsearch.unet import Architecture


def list_tasks(study: StudyFolder) -> tuple[Task, ...]:
    """All that a study has left to do, and the long recovery of one design.

    Designs that are not built yet count as often as methods may build them, each as large as the
    budget allows: what they need in the end is less.
    """
    try:
        sample = list(read_sample(study).architectures.values())
    except InputError:  # not drawn yet
        sample = list(draw_sample(study).architectures.values())
    designs = _find_designs(study)
    there = _measured(study)
    wanted = [*sample, *designs] if read_designs(study) else sample
    left = {arch.key: arch for arch in wanted if arch.key not in there}
    unbuilt = () if read_designs(study) else designs
    todo = (*left.values(), *unbuilt)
    painted = (UNPRUNED, *designs)
    return (
        Task(stage="prepare", architectures=(UNPRUNED,) if todo else ()),
        Task(stage="label", architectures=todo),
        Task(stage="search", architectures=tuple(sample)),
        Task(stage="compare", architectures=painted),
        Task(stage="export", architectures=tuple(_exported(study, designs))),
        Task(stage="recover", architectures=designs[:1]),
    )


def _measured(study: StudyFolder) -> set[str]:
    """Keys of the architectures that have a label, or get one that is packaged."""
    found = {label.arch_key for label in study.labels.read_series(study.series).values()}
    if study.config.teacher.pipeline == "tiny":
        packaged = read_label_table(asset_path(TINY_TABLE))
        found |= {label.arch_key for label in packaged if label.key.series == study.series}
    return found


def _find_designs(study: StudyFolder) -> tuple[Architecture, ...]:
    """The designs, or as many of the largest members that the budget allows."""
    if built := read_designs(study):
        return tuple({design.arch_key: design.architecture for design in built}.values())
    build, meter = study.config.build, load_meter(study)
    try:
        allowed = find_allowed(meter, meter.limits(build.budget), build.top)
    except InputError:  # a problem that is told elsewhere
        allowed = np.ones(len(meter.space), np.bool_)
    macs = np.where(allowed, meter.whole("macs"), -1.0)
    return (meter.space.arch(int(macs.argmax())),) * (len(build.methods) * build.top)


def _exported(study: StudyFolder, designs: tuple[Architecture, ...]) -> tuple[Architecture, ...]:
    """Those that `sdsearch export` exports when it is told no name."""
    chosen = [one.architecture for one in read_designs(study) if one.method == "autobuild"]
    return tuple(chosen) or designs[: study.config.build.top]
