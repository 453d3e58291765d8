"""The label stage of a study: measure what is listed, by whichever executor."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sdsearch.executors import LabelJob, label_architectures, prepare_labels
from sdsearch.halving import label_by_halving
from sdsearch.label_status import read_label_status
from sdsearch.labels import label_path, read_labels
from sdsearch.outcome import read_origins
from sdsearch.search import read_designs
from sdsearch.stages import say
from sdsearch.teacher import resolve_teacher

if TYPE_CHECKING:
    from sdsearch.executors import ExecutorName
    from sdsearch.halving import RungReport
    from sdsearch.label_status import LabelStatus
    from sdsearch.study import Study


def measure(study: Study, processes: int = 1, executor: ExecutorName | None = None) -> None:
    """Label every sampled and built architecture that has no label yet.

    Args:
        study: whose architectures.
        processes: how many work on one label, one per GPU; torchrun starts them.
        executor: default: that of `[label]`.
    """
    job = _job(study, processes)
    todo = len(job.todo())
    say(f"labels: {len(job.keys) - todo} of {len(job.keys)} are there, {todo} to measure")
    label_architectures(job, executor or study.config.label.executor)


def measure_by_halving(
    study: Study, processes: int = 1, executor: ExecutorName | None = None
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


def prepare(study: Study, processes: int = 1) -> None:
    """Compute what all labels share, so that many workers find it instead of making it each."""
    prepare_labels(_job(study, processes))


def read_status(study: Study) -> LabelStatus:
    """What is done, failed, running and left."""
    return read_label_status(study, study.config.seed, _wanted(study))


def forget_failed(study: Study) -> int:
    """Remove the failed labels under the study's protocol and seed, to measure them again."""
    protocol, seed = study.config.protocol.key, study.config.seed
    failed = [x for x in read_labels(study, protocol) if x.status == "failed" and x.seed == seed]
    for label in failed:
        label_path(study, label.arch_key, protocol, seed).unlink(missing_ok=True)
    return len(failed)


def _job(study: Study, processes: int) -> LabelJob:
    resolve_teacher(study.config.teacher.pipeline)
    return LabelJob(study, study.config.seed, _wanted(study), processes)


def _wanted(study: Study) -> tuple[str, ...]:
    """Sampled and built architectures, each once."""
    built = [design.arch_key for design in read_designs(study)]
    return tuple(dict.fromkeys([*read_origins(study), *built]))
