"""What jobs on a study share: the bench, a student, the lock and the console."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from sdsearch.console import make_console, show_status
from sdsearch.errors import InputError, WorkError
from sdsearch.files import FolderGoneError
from sdsearch.labels import LabelKey
from sdsearch.pipelines import open_pipeline
from sdsearch.study import find_teacher, one_at_a_time, read_listing
from sdsearch.unet import UNPRUNED
from sdsearch.weights import rename_noted
from sdsearch_eval.bench import (
    Bench,
    Stopwatch,
    confirm_label,
    has_recovered,
    load_recovered,
    prepare_bench,
    write_recovered,
)
from sdsearch_eval.data import read_dataset_captions
from sdsearch_eval.devices import set_arithmetic
from sdsearch_eval.models import describe_cut, load_teacher
from sdsearch_eval.sampling import cast_unet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from diffusers import UNet2DConditionModel
    from rich.console import Console

    from sdsearch.labels import Protocol
    from sdsearch.study import StudyFolder
    from sdsearch.unet import Architecture
    from sdsearch_eval.data import Sample
    from sdsearch_eval.models import Components
    from sdsearch_eval.world import Trouble, World


def open_bench(study: StudyFolder, console: Console, world: World) -> Bench:
    """Load what all labels share; the first process computes it, the others read it after."""
    torch.set_num_threads(study.config.protocol.threads)
    set_arithmetic(tf32=study.config.protocol.tf32)
    seed = study.config.seed
    console.print(
        f"world size {world.size}, device {world.device}, threads {torch.get_num_threads()}; "
        "preparing shared inputs"
    )
    with show_status(console, "teacher, samples, references"):
        teacher = load_teacher(open_pipeline(find_teacher(study)), world.device)
        protocol, cache = study.config.protocol, study.features_dir
        machine = study.config.machine
        if world.is_first:
            try:
                bench = prepare_bench(protocol, seed, teacher, cache, machine)
            except (InputError, WorkError) as error:
                world.agree(error)
                raise
        trouble = world.agree()
        if trouble is not None:
            raise WorkError(f"the first process could not prepare the samples: {trouble}")
        bench = bench if world.is_first else prepare_bench(protocol, seed, teacher, cache, machine)
    tell_captions(protocol, bench.samples, teacher, console)
    return bench


def tell_captions(
    protocol: Protocol, samples: Sequence[Sample], components: Components, console: Console
) -> None:
    """Say which photos have captions, and which captions are longer than the tokenizer takes."""
    found = read_dataset_captions(protocol)
    if found is not None:
        console.print(found.summary, markup=False, soft_wrap=True)
    cut = describe_cut(components, [sample.caption for sample in samples])
    if cut is not None:
        console.print(cut, style="yellow", markup=False, soft_wrap=True)


@contextmanager
def only_run(study: StudyFolder, world: World) -> Iterator[None]:
    """Hold the study's lock; the system frees it when the process ends, however it does."""
    from filelock import FileLock, Timeout

    lock = FileLock(study.root / ".lock")
    trouble: Trouble = None
    if world.is_first:
        try:
            study.make(study.root)  # the lock would make it anew
            lock.acquire(timeout=0)
        except FolderGoneError as error:
            trouble = error
        except Timeout:
            trouble = InputError(
                f"one run at a time may do this in {study.root}, but another is at work; wait for "
                "it to end"
            )
    trouble = world.agree(trouble)
    if isinstance(trouble, Exception):
        raise trouble
    try:
        yield
    finally:
        lock.release()


def open_console(world: World) -> Console:
    """Where progress goes: one process of a job tells it."""
    return make_console(quiet=not world.is_first)


def find_architecture(study: StudyFolder, arch_key: str) -> Architecture:
    """A sampled or built architecture of a study; raises `InputError` for any other key."""
    listed = read_listing(study).architectures
    if arch_key not in listed:
        raise InputError(
            f"an architecture must be in {study.architectures_file} or designs.json, but "
            f"{arch_key!r} is in neither"
        )
    return listed[arch_key]


def open_student(
    study: StudyFolder, arch: Architecture, bench: Bench, console: Console
) -> UNet2DConditionModel:
    """The recovered student: from its file, or made now, confirmed and kept."""
    if arch == UNPRUNED:
        return cast_unet(bench.teacher.student(arch), bench.protocol.dtype)
    path = study.recovered_file(arch.key)
    with one_at_a_time(study.root, f"weights-{arch.key}"):
        if not has_recovered(arch, path, bench):
            _recover_again(study, arch, bench, console)
        return load_recovered(arch, bench, path)


def _recover_again(study: StudyFolder, arch: Architecture, bench: Bench, console: Console) -> None:
    path = study.recovered_file(arch.key)
    made = path.with_name(f"{path.stem}-again{path.suffix}")
    write_recovered(arch, bench, made, Stopwatch())
    _confirm(study, arch, bench, made, console)
    rename_noted(made, path)


def _confirm(
    study: StudyFolder, arch: Architecture, bench: Bench, weights: Path, console: Console
) -> None:
    """Measure an architecture again where weights that were made again paint other images."""
    key = LabelKey(arch.key, study.series)
    if key not in study.labels:
        return
    known, column = study.labels.read(key), bench.protocol.column("fd")
    rows = study.rows_dir(arch.key) / bench.content
    again = rows.with_name(f"{rows.name}-again")
    label = confirm_label(known, bench, rows, weights, again)
    if label is known:
        return
    study.labels.write(label)
    shutil.rmtree(rows)
    again.rename(rows)
    before, now = (
        f"{one.scalar(column):.2f}" if column in one.values else "failed" for one in (known, label)
    )
    console.print(
        f"{arch.key} was measured again, as its weights made here paint other images than those "
        f"of its label: {column} {before} before, {now} now",
        soft_wrap=True,
    )
