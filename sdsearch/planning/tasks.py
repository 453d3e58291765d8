"""Tasks: what a study has left to do, and for which architectures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdsearch.assets import TINY_DESIGNS, TINY_TABLE, asset_path
from sdsearch.design import find_allowed
from sdsearch.errors import InputError
from sdsearch.labels import read_label_table
from sdsearch.space import list_removals, with_option
from sdsearch.study import (
    Task,
    draw_sample,
    find_best,
    is_tuned,
    load_meter,
    load_space,
    read_designs,
    read_sample,
)
from sdsearch.unet import UNPRUNED

if TYPE_CHECKING:
    from sdsearch.study import StudyFolder
    from sdsearch.unet import Architecture

COMPARED = ("exhaustive", "autobuild")
"""Methods whose best designs are painted side by side."""


def list_tasks(study: StudyFolder) -> tuple[Task, ...]:
    """All that a study has left to do, and the long recovery of one design.

    Designs that are not built yet count as often as methods may build them, each as large as the
    budget allows: what they need in the end is less.
    """
    try:
        sample = list(read_sample(study).architectures.values())
    except InputError:  # not drawn yet; any members stand for those that a probe will draw
        strategy = study.config.space.strategy
        drawn = draw_sample(study, "uniform" if strategy == "probe" else strategy)
        sample = list(drawn.architectures.values())
    designs, there = _find_designs(study), _measured(study)
    left = {arch.key: arch for arch in sample if arch.key not in there}
    unmeasured = designs
    built = read_designs(study)
    if built:
        unmeasured = tuple(one for one in designs if one.key not in there | left.keys())
    exported = _exported(study, designs)
    compared = _compared(study, designs)
    todo = tuple(left.values())
    tune = Task(stage="tune", architectures=(UNPRUNED,))
    is_untuned = study.config.teacher.inpaint and not is_tuned(study)
    return (
        *((tune,) if is_untuned else ()),
        Task(stage="probe", architectures=_removals(study)),
        Task(stage="prepare", architectures=(UNPRUNED,) if todo or unmeasured else ()),
        Task(stage="label", architectures=todo),
        Task(stage="search", architectures=tuple(sample) if todo or not built else ()),
        Task(stage="measure", architectures=unmeasured),
        Task(stage="remake", architectures=_without_weights(study, (*exported, *compared), there)),
        Task(stage="compare", architectures=(UNPRUNED, *compared)),
        Task(stage="export", architectures=exported),
        Task(stage="recover", architectures=designs[:1]),
    )


def _removals(study: StudyFolder) -> tuple[Architecture, ...]:
    """What a probe measures, where there is none yet."""
    if study.probe_file.is_file():
        return ()
    space = load_space(study)
    return tuple(
        with_option(space, axis, number)
        for axis, numbers in enumerate(list_removals(space))
        for number in numbers
    )


def _without_weights(
    study: StudyFolder, archs: tuple[Architecture, ...], measured: set[str]
) -> tuple[Architecture, ...]:
    """Those whose labels come from a table: their weights have to be made before an export."""
    return tuple(
        arch
        for arch in {arch.key: arch for arch in archs}.values()
        if arch.key in measured and not study.recovered_file(arch.key).is_file()
    )


def _measured(study: StudyFolder) -> set[str]:
    """Keys of the architectures that have a label, or get one that is packaged."""
    found = {label.arch_key for label in study.labels.read_series(study.series).values()}
    if study.config.teacher.pipeline == "tiny":
        for name in (TINY_DESIGNS, TINY_TABLE):
            packaged = read_label_table(asset_path(name))
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
    macs[meter.space.index(UNPRUNED)] = -1.0  # it would not be recovered
    count = len(build.methods_for(probed=True)) * build.top
    return (meter.space.arch(int(macs.argmax())),) * count


def _compared(study: StudyFolder, designs: tuple[Architecture, ...]) -> tuple[Architecture, ...]:
    """The designs that are painted: the best measured one, and one of each compared method.

    The first of a method stands for its best measured one.
    """
    built = read_designs(study)
    if not built:
        methods = study.config.build.methods_for(probed=True)
        return designs[: 1 + sum(method in methods for method in COMPARED)]
    firsts = {design.method: design for design in reversed(built)}
    shown = [*find_best(study)[:1], *(firsts[method] for method in COMPARED if method in firsts)]
    return tuple({design.arch_key: design.architecture for design in shown}.values())


def _exported(study: StudyFolder, designs: tuple[Architecture, ...]) -> tuple[Architecture, ...]:
    """Those that `sdsearch export` exports when it is told no name, and has not yet."""
    if not read_designs(study):
        return designs[: study.config.build.top]
    there = {folder.name for folder in study.pipelines_dir.glob("*")}
    return tuple(one.architecture for one in find_best(study) if one.name not in there)
