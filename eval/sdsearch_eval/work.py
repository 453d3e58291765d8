"""The harness's three jobs on a study folder: label, compare, recover."""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING

import torch

from sdsearch.architecture import Architecture
from sdsearch.cost import count_params
from sdsearch.errors import InputError
from sdsearch.files import write_atomic
from sdsearch.labels import check_comparable, label_path, read_labels, write_label
from sdsearch.study import Study, load_study
from sdsearch.teacher import resolve_teacher
from sdsearch_eval.comparison import describe_comparison, draw_comparison
from sdsearch_eval.harness import (
    Bench,
    Stopwatch,
    evaluate,
    generate,
    prepare_bench,
    recovered_student,
)
from sdsearch_eval.latency_survey import fill_survey
from sdsearch_eval.teacher import load_teacher

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from diffusers import UNet2DConditionModel
    from rich.console import Console
    from rich.progress import Progress

    from sdsearch_eval.dataset import Sample

LARGEST_FIRST_POOL = 4
"""The comparison shows the largest holes among this many times as many samples."""


def label_study(folder: Path, seed: int | None = None, only: Sequence[str] | None = None) -> None:
    """Label every listed architecture without a label; each label is one atomic file.

    An architecture that fails gets a label that says why, and the next one follows. The recovered
    weights of designs are kept, since they will be exported.
    """
    study = load_study(folder)
    seed = study.config.seed if seed is None else seed
    designs = _read_designs(study)
    wanted = _choose(_read_listed(study), only, study)
    protocol_key = study.config.protocol.key
    paths = {key: label_path(study, key, protocol_key, seed) for key in wanted}
    todo = [key for key in wanted if not paths[key].exists()]
    console = _console()
    if not todo:
        console.print(f"all {len(wanted)} labels of protocol {protocol_key} seed {seed} are there")
        return
    bench = _open_bench(study, console, seed)
    check_comparable(read_labels(study, protocol_key), bench.provenance)
    with _progress(console) as progress:
        task = progress.add_task(
            f"labels (protocol {protocol_key}, seed {seed})",
            total=len(wanted),
            completed=len(wanted) - len(todo),
        )
        for number, key in enumerate(todo, start=1):
            label, unet = evaluate(wanted[key], bench)
            if unet is not None and key in designs and seed == study.config.seed:
                _save_weights(study, key, unet)
            write_label(study, label)
            if label.status == "failed":
                reason = f"{key} failed: {label.reason}; to try again, delete {paths[key]}"
                console.print(reason, style="red", markup=False)
            progress.advance(task)
            if not console.is_terminal:  # where no bar can be drawn
                console.print(f"label {number} of {len(todo)}: {key} {label.status}")


def survey_latency(path: Path) -> None:
    """Fill in a latency survey with a progress bar; what is measured already stays."""
    console = _console()
    with _progress(console) as progress:
        task = progress.add_task(f"latency ({path.name})", total=None)
        fill_survey(path, lambda done, total: progress.update(task, completed=done, total=total))


def compare(folder: Path, columns: Sequence[str], rows: int) -> None:
    """Draw `compare/grid.png` of the given columns on the samples with the largest holes."""
    study = load_study(folder)
    named = _parse_columns(columns)
    chosen = _choose(_read_listed(study), list(named.values()), study)
    console = _console()
    bench = _open_bench(study, console, study.config.seed)
    if not 1 <= rows <= len(bench.samples):
        raise InputError(f"1 <= rows <= {len(bench.samples)} must hold, but rows = {rows}")
    shown = _rows_to_show(bench.samples, rows)
    samples, inputs = [bench.samples[i] for i in shown], bench.inputs.select(shown)
    images, notes = {}, {}
    for name, key in named.items():
        unet = _student(study, chosen[key], bench)
        images[name] = generate(unet, bench.teacher, inputs, samples, bench.protocol).composited
        notes[name] = f"{count_params(chosen[key], bench.teacher.backbone) / 1e6:.2f} M params"
    picture = BytesIO()
    draw_comparison(samples, images, notes).save(picture, "PNG")
    write_atomic(study.compare_dir / "grid.png", picture.getvalue())
    write_atomic(study.compare_dir / "comparison.json", describe_comparison(samples, images, named))
    console.print(f"comparison: {study.compare_dir / 'grid.png'}")


def recover(folder: Path, key: str) -> None:
    """Write the recovered weights of one architecture, if they are not there yet."""
    study = load_study(folder)
    arch = _choose(_read_listed(study), [key], study)[key]
    if not study.recovered_path(key).exists():
        _student(study, arch, _open_bench(study, _console(), study.config.seed))


def _open_bench(study: Study, console: Console, seed: int) -> Bench:
    from accelerate import PartialState

    state = PartialState()
    if state.num_processes != 1:
        raise InputError(
            f"the harness runs in one process so far, but {state.num_processes} were started"
        )
    torch.set_num_threads(study.config.protocol.threads)
    folder = resolve_teacher(study.config.teacher.pipeline)
    if isinstance(folder, str):
        raise InputError(
            f"teacher.pipeline must be a local folder for labelling, but is the hub id {folder!r}; "
            f"download it first: hf download {folder} --local-dir {folder.split('/')[-1]}"
        )
    console.print(
        f"world size 1, device {state.device}, threads {torch.get_num_threads()}; "
        "preparing shared inputs"
    )
    with console.status("teacher, samples, references"):
        teacher = load_teacher(folder, state.device)
        return prepare_bench(study.config.protocol, seed, teacher, study.features_dir)


def _student(study: Study, arch: Architecture, bench: Bench) -> UNet2DConditionModel:
    """The recovered student, from its weight file or made (and kept) now."""
    from safetensors.torch import load_file

    path = study.recovered_path(arch.key)
    if not path.exists():
        unet = recovered_student(arch, bench, Stopwatch())
        _save_weights(study, arch.key, unet)
        return unet
    unet = bench.teacher.student(arch)
    unet.load_state_dict(load_file(path), strict=True)
    return unet


def _save_weights(study: Study, key: str, unet: UNet2DConditionModel) -> None:
    from safetensors.torch import save

    state = {name: tensor.contiguous() for name, tensor in unet.state_dict().items()}
    write_atomic(study.recovered_path(key), save(state, metadata={"arch_key": key}))


def _rows_to_show(samples: Sequence[Sample], rows: int) -> list[int]:
    pool = range(min(len(samples), rows * LARGEST_FIRST_POOL))
    largest = sorted(pool, key=lambda i: -float((samples[i].mask == 255).mean()))[:rows]
    return sorted(largest)


def _parse_columns(columns: Sequence[str]) -> dict[str, str]:
    named = {}
    for column in columns:
        name, separator, key = column.rpartition("=")
        if not separator or not name or not key:
            raise InputError(f"--column must be NAME=ARCHITECTURE KEY, but got {column!r}")
        named[name] = key
    return named


def _choose(
    listed: dict[str, Architecture], only: Sequence[str] | None, study: Study
) -> dict[str, Architecture]:
    if not listed:
        raise InputError(
            f"{study.root} lists no architectures to label; run: sdsearch sample {study.root}"
        )
    unknown = set(only or ()) - set(listed)
    if unknown:
        raise InputError(
            f"every --arch must be in {study.architectures_file} or designs.json, but "
            f"{', '.join(sorted(unknown))} is in neither"
        )
    return {key: arch for key, arch in listed.items() if not only or key in only}


def _read_listed(study: Study) -> dict[str, Architecture]:
    return {**_read_architectures(study), **_read_designs(study)}


def _read_architectures(study: Study) -> dict[str, Architecture]:
    if not study.architectures_file.is_file():
        return {}
    lines = study.architectures_file.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    return {row["arch_key"]: Architecture.model_validate(row["architecture"]) for row in rows}


def _read_designs(study: Study) -> dict[str, Architecture]:
    if not study.designs_file.is_file():
        return {}
    designs = json.loads(study.designs_file.read_text(encoding="utf-8"))["designs"]
    return {row["arch_key"]: Architecture.model_validate(row["architecture"]) for row in designs}


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def _progress(console: Console) -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
