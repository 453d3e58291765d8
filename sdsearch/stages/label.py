"""The label stage of a study: measure what is listed, by whichever executor."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sdsearch.assets import asset_path
from sdsearch.console import say
from sdsearch.errors import InputError, nearest
from sdsearch.harness import run_harness
from sdsearch.labels.store import ImportReport, import_labels, label_path, read_labels, read_table
from sdsearch.labels.target import Target
from sdsearch.report.outcome import read_origins
from sdsearch.stages.search import read_designs
from sdsearch.unet.teacher import resolve_teacher, teacher_sha256
from sdsearch.workers.halving import keep_best, label_by_halving, read_values
from sdsearch.workers.job import LabelJob
from sdsearch.workers.local import label_architectures, prepare_labels
from sdsearch.workers.status import read_label_status
from sdsearch.workers.worker import open_claims

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sdsearch.study.folder import StudyFolder
    from sdsearch.workers.halving import RungReport
    from sdsearch.workers.local import ExecutorName
    from sdsearch.workers.status import LabelStatus


def measure(
    study: StudyFolder,
    processes: int = 1,
    executor: ExecutorName | None = None,
    *,
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
    """
    job = _job(study, processes)
    if unknown := set(only) - set(job.keys):
        raise InputError(
            f"--arch must be a sampled or built architecture, but {sorted(unknown)[0]!r} is none; "
            f"did you mean {nearest(sorted(unknown)[0], job.keys)!r}?"
        )
    job = replace(job, seed=job.seed if seed is None else seed, keys=tuple(only) or job.keys)
    todo = len(job.todo())
    say(f"labels: {len(job.keys) - todo} of {len(job.keys)} are there, {todo} to measure")
    label_architectures(job, executor or study.config.label.executor)


def measure_by_halving(
    study: StudyFolder, processes: int = 1, executor: ExecutorName | None = None
) -> list[RungReport]:
    """Label all under the cheaper protocols of `[label] rungs`, only the best under the study's."""
    job = _job(study, processes)

    def label(rung: int | None, keys: list[str]) -> None:
        part = replace(job, rung=rung, keys=tuple(keys))
        protocol = part.rung_study.config.protocol
        say(
            f"{len(keys)} architectures, {protocol.samples} samples, "
            f"{protocol.recovery.steps} recovery steps"
        )
        label_architectures(part, executor or study.config.label.executor)

    return label_by_halving(study, job.seed, job.keys, label)


def prepare(study: StudyFolder, processes: int = 1, *, rungs: bool = False) -> None:
    """Compute what all labels share, so that many workers find it instead of making it each.

    With `rungs` also what those of the cheaper protocols share.
    """
    job = _job(study, processes)
    for rung in (*(range(len(study.config.label.rungs)) if rungs else ()), None):
        prepare_labels(replace(job, rung=rung))


def read_statuses(study: StudyFolder) -> list[LabelStatus]:
    """What is done, failed, running and left: of the rungs that were begun, then of the study.

    Once rungs were begun, the study itself wants what they have left and what it has taken up.
    """
    seed, wanted = study.config.seed, _wanted(study)
    target, left = Target(study.config.ranker.target), list(wanted)
    found: list[LabelStatus] = []
    for number, rung in enumerate(study.config.label.rungs):
        at = study.at_rung(number)
        if not open_claims(at, seed).folder.is_dir():
            break
        found.append(read_label_status(at, seed, left))
        if found[-1].waiting or found[-1].running:
            left = []
            break
        values = read_values(at, seed, left, target)
        left = keep_best(values, rung.keep) if values else []
    own, protocol = open_claims(study, seed).folder, study.config.protocol.key
    taken_up = [
        key
        for key in wanted
        if (own / key).is_dir() or label_path(study, key, protocol, seed).exists()
    ]
    return [*found, read_label_status(study, seed, [*left, *taken_up])]


def forget_failed(study: StudyFolder) -> int:
    """Remove the failed labels of the study's protocol and of its rungs, to measure them again."""
    count, seed = 0, study.config.seed
    for rung in (*range(len(study.config.label.rungs)), None):
        protocol = study.at_rung(rung).config.protocol.key
        for label in read_labels(study, protocol):
            if label.status == "failed" and label.seed == seed:
                label_path(study, label.arch_key, protocol, seed).unlink(missing_ok=True)
                count += 1
    return count


def _job(study: StudyFolder, processes: int) -> LabelJob:
    resolve_teacher(study.config.teacher.pipeline)
    return LabelJob(study, study.config.seed, _wanted(study), processes)


def _wanted(study: StudyFolder) -> tuple[str, ...]:
    """Sampled and built architectures, each once."""
    built = [design.arch_key for design in read_designs(study)]
    return tuple(dict.fromkeys([*read_origins(study), *built]))


TINY_TABLE = "tiny-labels.jsonl"


def import_table(study: StudyFolder, table: Path | None = None) -> ImportReport:
    """Import a label table under the study's protocol; None means the tiny model's own table."""
    if table is None:
        if study.config.teacher.pipeline != "tiny":
            raise InputError(
                "the tiny label table was measured on the tiny teacher, but teacher.pipeline is "
                f"{study.config.teacher.pipeline!r}; measure instead: sdsearch label {study.root}"
            )
        table = asset_path(TINY_TABLE)
    folder = resolve_teacher(study.config.teacher.pipeline)
    if isinstance(folder, str):
        raise InputError(
            f"labels fit one teacher's weights, but those of the hub id {folder!r} are not here; "
            "set teacher.pipeline to a local folder"
        )
    return import_labels(study, table, study.config.protocol.key, teacher_sha256(folder))


def recompute(study: StudyFolder) -> None:
    """Compute the values of measured labels again from their rows, without sampling."""
    run_harness("label", study.root, "--recompute-metrics")


def _import_own_table(study: StudyFolder) -> None:
    table, key = asset_path(TINY_TABLE), study.config.protocol.key
    if not any(label.protocol_key == key for label in read_table(table)):
        say(f"{TINY_TABLE} has no label of protocol {key}: all labels are measured here")
        return
    done = import_table(study)
    say(
        f"imported {done.imported} labels of protocol {key} ({done.skipped_existing} were there, "
        f"{done.other_protocol} of another protocol and {done.other_teacher} of another teacher "
        f"refused) from {done.origin}"
    )
