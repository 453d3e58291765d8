"""Verifying: whether every file of a study still holds what was written to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sdsearch.errors import InputError, WorkError
from sdsearch.files import check_file, check_records, check_sealed, read_json, read_sealed
from sdsearch.keys import without_seal
from sdsearch.labels import read_floors, read_label, read_recovery_values
from sdsearch.model import FrozenModel
from sdsearch.space import read_latency_table
from sdsearch.study import (
    MachineConfig,
    draw_sample,
    find_stages,
    read_designs,
    read_outputs,
    read_protocols,
    read_sample,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdsearch.study import StudyFolder

    Looked = Iterator[tuple[Path, str | None, str]]
    """Files with what is wrong with each, None where nothing is, and what to do if so."""

T = TypeVar("T")
_WEIGHTS = "weights.safetensors"
_DERIVED = "it is made again when it is needed"


class FileProblem(FrozenModel):
    """A file that does not hold what was written to it, and what to do."""

    file: str
    problem: str
    next_step: str


class FileReport(FrozenModel):
    """What became of looking at all files of a study.

    Attributes:
        checked: how many were compared with what is known of their content.
        unchecked: how many nothing is known of: pictures, logs, claims, study.toml.
        problems: those that do not hold what was written.
    """

    checked: int
    unchecked: int
    problems: tuple[FileProblem, ...]

    def __str__(self) -> str:
        """A line for each problem, and a last one of counts."""
        found = [f"{one.file}: {one.problem}; {one.next_step}" for one in self.problems]
        damaged = f"{len(found) or 'none'} damaged"
        return "\n".join([*found, f"{self.checked} files checked, {damaged}; {self.unchecked} not"])


def verify_files(study: StudyFolder) -> FileReport:
    """Compare every file of a study with the hash that was kept of its content.

    study.toml is the user's to edit, and read as it is.
    """
    looked = {path: (problem, step) for path, problem, step in _look(study)}
    files = sum(path.is_file() and path.suffix != ".lock" for path in study.root.rglob("*"))
    problems = (
        FileProblem(file=_name(path, study.root), problem=problem, next_step=step)
        for path, (problem, step) in sorted(looked.items())
        if problem is not None
    )
    there = sum(path.is_file() and path.is_relative_to(study.root) for path in looked)
    return FileReport(checked=len(looked), unchecked=files - there, problems=tuple(problems))


def _name(path: Path, root: Path) -> str:
    """A file as the report names it: by its path in the study, where it lies in it."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _look(study: StudyFolder) -> Looked:
    yield from _outputs(study)
    yield from _listing(study)
    for store in (study.labels, study.repeats):
        for file in sorted(store.folder.glob("*/*.json")):
            step = f"remove it, then run: sdsearch label {study.root}"
            yield file, _trouble(read_label, file), step
    for place in ("features", "rows", "repeats", "runtimes"):
        for file in sorted((study.root / place).rglob("*.safetensors")):
            if file.name != _WEIGHTS:
                yield file, _trouble(read_sealed, file), _DERIVED
    yield from _values(study)
    yield from _weights(study)
    yield from _exports(study)


def _outputs(study: StudyFolder) -> Looked:
    again = f"run: sdsearch run {study.root}"
    for record in find_stages(study):
        try:
            outputs = read_outputs(record)
        except ValueError:
            yield record, "not the record of a stage", again
            continue
        yield record, None, again
        for file, is_whole in outputs.items():
            step = f"run: sdsearch probe {study.root}" if record.stem == "probe" else again
            yield study.root / file, None if is_whole else f"not what {record.stem} wrote", step


def _listing(study: StudyFolder) -> Looked:
    again = f"or all stages: sdsearch run {study.root}"
    if study.architectures_file.is_file():
        trouble = _trouble(read_sample, study)
        if trouble is None and not _is_drawn(study):
            trouble = f"not the sample of study.toml; run: sdsearch sample {study.root}"
        yield study.architectures_file, trouble, again
    if study.designs_file.is_file() and (trouble := _trouble(read_designs, study)):
        yield study.designs_file, trouble, again


def _is_drawn(study: StudyFolder) -> bool:
    """Whether the sample is what is drawn, and whatever was proposed; so without a teacher."""
    found = set(read_sample(study).pairs())
    try:
        drawn = set(draw_sample(study).pairs())
    except InputError:  # the space is the teacher's, which may be elsewhere
        return True
    return found >= drawn and all(origin.kind == "proposal" for _, origin in found - drawn)


def _values(study: StudyFolder) -> Looked:
    """What a label or a long recovery keeps beside its rows and weights."""
    label, recover = (f"run: sdsearch {verb} {study.root}" for verb in ("label", "recover"))
    learned = [study.root / "recovered", study.root / "tuning"]
    kinds: list[tuple[Path, str, Callable[[Path], object], str]] = [
        (study.root, "protocols.json", read_protocols, label),
        (study.root / "floors", "*.json", read_floors, label),
        (study.root / "plan", "*.json", _read_settings, _DERIVED),
        (
            study.features_dir,
            "latents-*.bin",
            check_records,
            "remove it; what is needed is made again",
        ),
        (learned[0], "*/*/values.json", read_recovery_values, recover),
        *((place, "**/checkpoint.pt", check_sealed, _DERIVED) for place in learned),
    ]
    for place, pattern, read, again in kinds:
        for file in sorted(place.glob(pattern)):
            yield file, _trouble(read, file), again
    table = study.config.build.latency_table  # it may lie anywhere
    if table is not None and (file := study.root / table).exists():
        yield file, _trouble(read_latency_table, file), "remove it, then run: sdsearch latency"


def _read_settings(file: Path) -> None:
    """Found settings, sealed, or alone as they were before there were seals."""
    found = read_json(file)
    if not found.keys() <= MachineConfig.model_fields.keys():
        without_seal(found)


def _weights(study: StudyFolder) -> Looked:
    from sdsearch.weights import origin_of

    kept = sorted((study.root / "weights").glob("*.safetensors"))
    for place in ("recovered", "rows", "repeats", "tuning"):
        kept += sorted((study.root / place).rglob(_WEIGHTS))
    for file in kept:
        trouble = None if origin_of(file) else "not as its note says that it was written"
        lost = file.is_relative_to(study.root / "recovered")
        yield file, trouble, f"remove {file.parent}, then recover again" if lost else _DERIVED
        if (note := file.with_suffix(".of")).is_file():
            yield note, None, _DERIVED


def _exports(study: StudyFolder) -> Looked:
    from sdsearch.export import INVENTORY, find_changed, read_inventory

    export = f"run: sdsearch export {study.root}"
    steps = dict.fromkeys(sorted(study.pipelines_dir.glob("[!.]*/")), export)
    if study.teacher_dir.is_dir():
        steps[study.teacher_dir] = (
            f"remove {study.teacher_dir}, then run: sdsearch tune {study.root}"
        )
    for folder, again in steps.items():
        files, changed = read_inventory(folder), set(find_changed(folder))
        yield folder / INVENTORY, None if files else "no inventory of an export", again
        for name in files:
            yield folder / name, "not what the export wrote" if name in changed else None, again


def _trouble(read: Callable[[T], object], what: T) -> str | None:
    try:
        if isinstance(what, Path):
            check_file(what)  # a pipe would never end
        read(what)
    except (ValueError, WorkError, OSError) as error:
        return str(error)
    return None
