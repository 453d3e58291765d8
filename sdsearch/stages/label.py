"""Labelling: measure what is listed, by whichever executor; the values are the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

from sdsearch.assets import TINY_DESIGNS, TINY_TABLE, asset_path
from sdsearch.console import following_labels, say
from sdsearch.errors import InputError, check_at_least, check_choice, suggest
from sdsearch.harness import run_harness
from sdsearch.labels import (
    ImportReport,
    LabelKey,
    import_labels,
    read_floors,
    read_label_table,
)
from sdsearch.pipelines import locate_pipeline, open_pipeline
from sdsearch.planning import check_study
from sdsearch.study import RecomputeRequest, find_teacher, read_designs, read_listing
from sdsearch.unet import teacher_sha256
from sdsearch.workers import (
    LabelJob,
    Watch,
    keep_best,
    label_by_halving,
    label_here,
    open_claims,
    read_label_status,
    read_values,
    redo_finish,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sdsearch.study import StudyFolder
    from sdsearch.workers import LabelStatus, News, RungReport

Executor = Literal["local", "ray"]
"""Who measures: a worker on this machine, or the tasks of a Ray cluster."""


def label_study(
    study: StudyFolder,
    *,
    processes: int = 1,
    executor: Executor | None = None,
    seed: int | None = None,
    only: Sequence[str] = (),
) -> None:
    """Label every sampled and built architecture that has no label yet.

    Args:
        study: whose architectures.
        processes: how many work on one label, one per GPU; torchrun starts them.
        executor: default: that of `[label]`.
        seed: the label seed; default: the study's.
        only: keys of sampled or built architectures; default: all.

    Raises:
        InputError: a value is invalid, a key of `only` unknown, or something concerns all labels.
        WorkError: labelling failed; the labels measured before are kept.
    """
    executor = executor or study.config.label.executor
    check_choice("the executor", executor, get_args(Executor))
    check_study(study)
    job = _job(study if seed is None else study.at_seed(seed), processes)
    if unknown := sorted(set(only) - set(job.keys)):
        raise InputError(
            f"only sampled and built architectures can be measured, but {unknown[0]!r} was neither "
            "sampled nor built" + suggest(unknown[0], job.keys, f"see {study.architectures_file}")
        )
    job = replace(job, keys=tuple(only) or job.keys)
    mend_floors(job.measured)
    _measure(job, executor, *_phase(study, job))


def halve_study(
    study: StudyFolder, *, processes: int = 1, executor: Executor | None = None
) -> list[RungReport]:
    """Label all under the cheaper protocols of `[label] rungs`, only the best under the study's."""
    chosen = executor or study.config.label.executor
    check_choice("the executor", chosen, get_args(Executor))
    check_study(study)
    job = _job(study, processes)

    def label(rung: int | None, keys: list[str]) -> None:
        part = replace(job, rung=rung, keys=tuple(keys))
        protocol = part.measured.config.protocol
        name = "final rung" if rung is None else f"rung {rung + 1}"
        say(f"{name}: {protocol.samples} samples, {protocol.recovery.steps} fine-tuning steps")
        _measure(part, chosen, name, len(keys))

    return label_by_halving(study, job.keys, label)


def prepare_study(study: StudyFolder, *, processes: int = 1, rungs: bool = False) -> None:
    """Compute what all labels share, so that many workers find it instead of making it each.

    With `rungs` also what those of the cheaper protocols share.
    """
    check_study(study)
    job = _job(study, processes)
    for rung in study.rungs if rungs else (None,):
        with replace(job, rung=rung).open_labeller() as labeller:
            labeller.prepare()


def read_statuses(study: StudyFolder) -> list[LabelStatus]:
    """What is done, failed, running and left: of the rungs that were begun, then of the study.

    Once rungs were begun, the study itself wants what they have left and what it has taken up.
    """
    wanted = _wanted(study)
    left = list(wanted)
    found: list[LabelStatus] = []
    for number, rung in enumerate(study.config.label.rungs):
        at = study.at_rung(number)
        if not at.claims_dir.is_dir():
            break
        found.append(read_label_status(at, left))
        if found[-1].waiting or found[-1].running:
            left = []
            break
        values = read_values(at, left)
        left = keep_best(values, rung.keep) if values else []
    own = open_claims(study).folder
    taken_up = [
        key for key in wanted if (own / key).is_dir() or LabelKey(key, study.series) in study.labels
    ]
    return [*found, read_label_status(study, [*left, *taken_up])]


def forget_failed(study: StudyFolder) -> int:
    """Remove the failed labels of the study's series and of its rungs, to measure them again."""
    count = 0
    for rung in study.rungs:
        at = study.at_rung(rung)
        for label in at.labels.read_series(at.series).values():
            if label.failure:
                at.labels.remove(label.key)
                count += 1
    return count


def recompute_labels(study: StudyFolder) -> None:
    """Compute the values of measured labels again from their rows, without sampling."""
    run_harness(RecomputeRequest(study=study.root))


def import_table(study: StudyFolder, table: Path | None = None) -> ImportReport:
    """Import a label table under the study's protocol; None means the tiny model's own tables.

    Raises:
        InputError: no label of the table fits the study's protocol and teacher.
    """
    if table is not None:
        return _import(study, table)
    if study.config.teacher.pipeline != "tiny":
        raise InputError(
            "the tiny label table was measured on the tiny teacher, but teacher.pipeline is "
            f"{study.config.teacher.pipeline!r}; measure instead: sdsearch label {study.root}"
        )
    # What both have is taken from the designs' table, whose labels can be compared in pairs.
    designs, members = (_import(study, asset_path(name)) for name in (TINY_DESIGNS, TINY_TABLE))
    return replace(
        members,
        imported=designs.imported + members.imported,
        skipped_existing=designs.skipped_existing + members.skipped_existing,
    )


def _import(study: StudyFolder, table: Path) -> ImportReport:
    teacher = teacher_sha256(open_pipeline(find_teacher(study)))
    return import_labels(study.labels, table, study.protocol_key, teacher)


def import_own_table(study: StudyFolder) -> None:
    """Import what the tiny model's own tables have of the study's protocol, and say what came."""
    table, key = asset_path(TINY_TABLE), study.protocol_key
    if not any(label.protocol_key == key for label in read_label_table(table)):
        say(f"no ready-made measurements of protocol {key}: all models are measured here")
        return
    done = import_table(study)
    say(
        f"loaded {done.imported} ready-made measurements of the built-in model, "
        f"{done.skipped_existing} were there already (refused: {done.other_protocol} of another "
        f"protocol, {done.other_teacher} of another teacher; {done.origin})"
    )


def mend_floors(study: StudyFolder) -> None:
    """Have floors measured again that are not as they were written."""
    try:
        read_floors(study.floors_file)
    except InputError as error:
        say(str(error))
        study.floors_file.unlink()
        redo_finish(open_claims(study))


def _phase(study: StudyFolder, job: LabelJob) -> tuple[str, int]:
    """What is measured now, in a word, and how many of it there are."""
    designs, todo = {design.arch_key for design in read_designs(study)}, set(job.todo())
    if todo and todo <= designs:
        return "designs", len(designs.intersection(job.keys))
    return "models", len(job.keys)


def _measure(job: LabelJob, executor: Executor, phase: str, total: int) -> None:
    """Label all of a job, with a bar of how far it is with the `total` of a phase."""
    watch, todo, before = Watch(job), len(job.todo()), len(job.keys) - total
    say(f"{phase}: {total - todo} of {total} measured ({watch.measure})")
    if not todo and not job.needs_finish():
        return
    with following_labels(phase, total, total - todo) as show:

        def tell(count: int, news: News) -> None:
            headway = watch.hear(news.arch_key).describe()
            show(count - before, news.said, headway, is_routine=news.is_routine)

        if executor == "local":
            label_here(job, tell)
        else:
            from sdsearch.workers import label_on_ray

            label_on_ray(job, tell)


def _job(study: StudyFolder, processes: int) -> LabelJob:
    check_at_least("processes", processes, 1)
    locate_pipeline(find_teacher(study))
    return LabelJob(study, _wanted(study), processes)


def _wanted(study: StudyFolder) -> tuple[str, ...]:
    """Sampled and built architectures, each once."""
    return tuple(read_listing(study).architectures)
