"""Export: a design and its recovered weights become a stock diffusers pipeline."""

from __future__ import annotations

import errno
import json
import re
import shutil
import uuid
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdsearch.console import say
from sdsearch.errors import InputError, WorkError
from sdsearch.export.index import choose_class, describe_index, read_parts
from sdsearch.export.inventory import (
    INVENTORY,
    find_changed,
    list_own_files,
    read_inventory,
    record_files,
)
from sdsearch.export.papers import write_papers
from sdsearch.export.parts import write_part, write_weights
from sdsearch.export.recovered import read_source, recovered_weights
from sdsearch.files import make_folder
from sdsearch.pipelines import open_pipeline, read_json, weight_stem
from sdsearch.study import find_teacher, one_at_a_time
from sdsearch.unet import check_pipeline_family, unet_config
from sdsearch.weights import TensorFiles, load_part, quiet_libraries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from diffusers import UNet2DConditionModel

    from sdsearch.design import Design
    from sdsearch.export.recovered import ExportSource
    from sdsearch.study import StudyFolder
    from sdsearch.unet import Architecture, Backbone


@dataclass(frozen=True, slots=True)
class Student:
    """The UNet that is exported: its stock module without memory, and its tensors in a file."""

    unet: UNet2DConditionModel
    file: Path
    tensors: TensorFiles


def export_pipeline(design: Design, study: StudyFolder, teacher: str) -> Path:
    """Write STUDY/pipelines/<design name>: loads with `from_pretrained`, needs no sdsearch.

    Holds the recovered student and copies of the teacher's other parts, all of them also as the
    variant fp16, a model card, design.json and provenance.json; nothing in it names a place on this
    machine. Weights and values are those of the long recovery where it has ended, else those of the
    label. The folder is written beside, read back and compared, and only then given its name; one
    that is current, with every file as it was written, stays. No part is in memory while it is
    written.

    Args:
        design: what is exported.
        study: where from, and where to.
        teacher: the teacher's identity by content, as `teacher_identity` gives it.

    Raises:
        InputError: the teacher cannot be read, or what has the design's name is no export.
        WorkError: the weights do not fit, a check failed, or the disk is full.
    """
    with at_export(study.pipelines_dir / design.name):
        source = read_source(design, study, teacher)
        if not _is_current(study.pipelines_dir / design.name, source):
            _export(source)
    return study.pipelines_dir / design.name


def at_export(folder: Path) -> AbstractContextManager[None]:
    """Be the only one that writes an export of a study, or adds to it: others wait."""
    root = folder.parent.parent
    if not (root / "study.toml").is_file():  # it was moved out of its study
        return nullcontext()
    return one_at_a_time(root, f"export-{folder.name}")


def _is_current(final: Path, source: ExportSource) -> bool:
    if _recorded_inputs(final) != source.key:
        return False
    changed = find_changed(final, source.study.hashes.of)
    if changed or not read_inventory(final):
        say(f"{final} is written again: {', '.join(changed[:3]) or INVENTORY} changed")
        return False
    return True


def _export(source: ExportSource) -> None:
    study, design = source.study, source.design
    study.make(study.pipelines_dir)
    final = study.pipelines_dir / design.name
    _check_replaceable(final)
    weights = recovered_weights(source)
    # Weights that are made again may be measured too.
    source = read_source(design, study, source.teacher)
    student = open_student(design.architecture, source.backbone, weights)
    kind = choose_class(source.backbone.in_channels, study.config.protocol.task)

    def write(folder: Path) -> None:
        write_papers(folder, source, study.hashes.of(weights))

    write_folder(final, find_teacher(study), student, kind, write)


def write_folder(
    final: Path, pipeline: str, student: Student, kind: str, papers: Callable[[Path], None]
) -> None:
    """Write the folder `final`: a UNet, and copies of the other parts of a pipeline.

    It is written beside, read back and compared, gets its papers, and only then its name.

    Args:
        final: where to; an export that lies there is replaced.
        pipeline: "tiny", a folder or a hub id, whose other parts are copied.
        student: the UNet.
        kind: the stock class that loads it.
        papers: writes what else belongs into the folder.

    Raises:
        InputError: the pipeline cannot be read, or what has the name is no export.
        WorkError: a check failed, or the disk is full.
    """
    _check_replaceable(final)
    _remove_leftovers(final)
    folder = _beside(final)
    try:
        with _full_disk_told(final):
            _write_pipeline(folder, final.name, pipeline, student, kind)
            with quiet_libraries():
                _check(folder, student)
            papers(folder)
            record_files(folder, list_own_files(folder))
        _give_name(folder, final)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _full_disk_told(final: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise WorkError(
            f"the export needs more space than is left in {final.parent}, where {final.name} is as "
            "it was; free some, then run again"
        ) from None


def _recorded_inputs(folder: Path) -> str | None:
    """The key of what an exported folder was made from; None where there is no whole export."""
    try:
        found = read_json(folder / "provenance.json")
    except InputError:
        return None
    recorded = found.get("inputs")
    return recorded if isinstance(recorded, str) else None


def _check_replaceable(final: Path) -> None:
    """Refuse to replace what this program has not written.

    Raises:
        InputError: it is a link, or lacks the records of an export.
    """
    is_ours = _recorded_inputs(final) is not None or "provenance.json" in read_inventory(final)
    if final.is_symlink() or (final.exists() and not is_ours):
        raise InputError(
            f"{final} must be an export to be replaced, but "
            f"{'is a link' if final.is_symlink() else 'has no provenance.json that says so'}; "
            "move it away, then export again"
        )


def open_student(arch: Architecture, backbone: Backbone, weights: Path) -> Student:
    """The UNet of an architecture with the weights of a file.

    Raises:
        WorkError: they do not fit it.
    """
    import torch
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(unet_config(arch, backbone))
    try:
        tensors = TensorFiles(weights)
        _compare_shapes(tensors, unet)
    except (InputError, ValueError) as error:
        raise WorkError(
            f"the weights in {weights} must fit {arch.key}, but do not; delete the file and "
            f"recover again: {error}"
        ) from None
    return Student(unet.eval(), weights, tensors)


def _compare_shapes(tensors: TensorFiles, unet: UNet2DConditionModel) -> None:
    """Raise `ValueError` unless there is a tensor for each of the UNet's, and no other."""
    meant = {name: tuple(one.shape) for name, one in unet.state_dict().items()}
    found = {name: tensors.shape(name) for name in tensors}
    odd = sorted(name for name in meant.keys() | found.keys() if meant.get(name) != found.get(name))
    if odd:
        raise ValueError(
            f"{odd[0]} is {found.get(odd[0], 'absent')} and must be {meant.get(odd[0], 'absent')}"
            f"{f', and {len(odd) - 1} more' if odd[1:] else ''}"
        )


def _write_pipeline(folder: Path, name: str, pipeline: str, student: Student, kind: str) -> None:
    """Write every part and model_index.json; say what of the pipeline is not there to write."""
    teacher = open_pipeline(pipeline)
    check_pipeline_family(teacher)
    parts, lacking = read_parts(teacher)
    for part, why in lacking.items():
        say(f"{name} is exported without the teacher's {part}: {why}")
    make_folder(folder, folder.parent)
    for one in parts:
        write_part(one, folder)
    student.unet.save_config(folder / "unet")
    stem = folder / "unet" / weight_stem("diffusers")
    write_weights(stem, student.tensors, [student.file], link=True)
    said = describe_index(teacher, parts, kind)
    (folder / "model_index.json").write_text(said, encoding="utf-8")


def _check(folder: Path, student: Student) -> None:
    """Load the folder by its stock class, and compare the UNet with what was meant."""
    import diffusers
    import torch

    try:
        written = open_pipeline(str(folder))
        parts, lacking = read_parts(written)
        loaded = {part.name: load_part(part) for part in parts}
        kind = getattr(diffusers, written.index["_class_name"])
        kind.from_pretrained(folder, unet=student.unet, local_files_only=True, **loaded)
    except (InputError, OSError, ValueError) as error:
        raise InputError(f"the parts of the teacher cannot be loaded again: {error}") from None
    if lacking:
        raise WorkError(f"the export reads back without {', '.join(lacking)}")
    if _public(read_json(folder / "unet" / "config.json")) != _public(student.unet.config):
        raise WorkError("the export reads back with another UNet configuration")
    found = TensorFiles(folder / "unet" / f"{weight_stem('diffusers')}.safetensors")
    changed = [
        name for name, meant in student.tensors.items() if not torch.equal(found[name], meant)
    ]
    if changed or found.keys() != student.tensors.keys():
        raise WorkError(f"the export reads back with changed tensors: {changed[:3]}")


def _public(config: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what diffusers adds about itself and compare tuples as the lists that JSON has."""
    kept = {name: value for name, value in config.items() if not name.startswith("_")}
    plain: dict[str, Any] = json.loads(json.dumps(kept))
    return plain


def _remove_leftovers(final: Path) -> None:
    """Remove what a killed export of the same name left behind, and of no longer name."""
    ours = re.compile(rf"\.{re.escape(final.name)}-[0-9a-f]{{8}}\.tmp")
    for leftover in final.parent.glob(".*.tmp"):
        if ours.fullmatch(leftover.name):
            shutil.rmtree(leftover, ignore_errors=True)


def _beside(final: Path) -> Path:
    """A name that no folder has yet, which is removed if it is left behind."""
    return final.with_name(f".{final.name}-{uuid.uuid4().hex[:8]}.tmp")


def _give_name(folder: Path, final: Path) -> None:
    """Rename a complete folder; an outdated one is moved out of the way first."""
    if final.exists():
        old = _beside(final)
        final.rename(old)
        folder.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    else:
        folder.rename(final)
