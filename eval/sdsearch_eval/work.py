"""The harness's three jobs on a study folder: label, compare, recover."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from sdsearch.cost import count_params
from sdsearch.errors import InputError
from sdsearch.files import write_atomic
from sdsearch.labels import check_comparable, label_path, read_labels, write_label
from sdsearch.study import Study, load_study
from sdsearch_eval.comparison import (
    choose_rows,
    collect_gallery,
    describe_comparison,
    draw_comparison,
)
from sdsearch_eval.finetune_job import run_long_recovery
from sdsearch_eval.floors import write_floors
from sdsearch_eval.generation import generate
from sdsearch_eval.harness import (
    Stopwatch,
    evaluate,
    has_recovered,
    load_recovered,
    write_recovered,
)
from sdsearch_eval.job import only_run, open_bench, open_console, progress_bar
from sdsearch_eval.latency_survey import fill_survey
from sdsearch_eval.listing import choose_listed, parse_columns, read_built, read_listed
from sdsearch_eval.outliers import find_outliers
from sdsearch_eval.rows import summarize_rows
from sdsearch_eval.shards import Shards
from sdsearch_eval.side_by_side import paint_side_by_side
from sdsearch_eval.thumbnails import draw_thumbnails
from sdsearch_eval.world import World, open_world

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from diffusers import UNet2DConditionModel
    from rich.console import Console

    from sdsearch.architecture import Architecture
    from sdsearch.labels import Label
    from sdsearch_eval.bench import Bench
    from sdsearch_eval.request import Request


def label_study(
    folder: Path,
    seed: int | None = None,
    only: Sequence[str] | None = None,
    processes: int | None = None,
) -> None:
    """Label every listed architecture without a label; each label is one atomic file.

    An architecture that fails gets a label that says why, and the next one follows. The recovered
    weights of designs are kept, since they will be exported. `processes` is how many of this job
    are expected; each works on its share of the blocks.

    Raises:
        InputError: something concerns all labels, or another run is at work on this study.
    """
    study = load_study(folder)
    world = open_world(processes)
    with only_run(study, world):
        _label_listed(study, study.config.seed if seed is None else seed, only, world)


def _label_listed(study: Study, seed: int, only: Sequence[str] | None, world: World) -> None:
    designs = read_built(study)
    wanted = choose_listed(read_listed(study), only, study)
    protocol_key = study.config.protocol.key
    paths = {key: label_path(study, key, protocol_key, seed) for key in wanted}
    todo = [key for key in wanted if not paths[key].exists()]
    console = open_console(world)
    world.agree()  # the list is made before anybody writes
    if not todo:
        console.print(f"all {len(wanted)} labels of protocol {protocol_key} seed {seed} are there")
        return
    bench = open_bench(study, console, seed, world)
    check_comparable(read_labels(study, protocol_key), bench.provenance)
    if skipped := bench.provenance.get("skipped_images"):
        console.print(f"skipped as unreadable: {skipped}", style="yellow", markup=False)
    with progress_bar(console) as progress:
        task = progress.add_task(
            f"labels (protocol {protocol_key}, seed {seed})",
            total=len(wanted),
            completed=len(wanted) - len(todo),
        )
        for number, key in enumerate(todo, start=1):
            keeps = key in designs and seed == study.config.seed
            label = _label_one(study, wanted[key], bench, world, keeps=keeps)
            progress.advance(task)
            if label is None:
                continue
            if label.status == "failed":
                reason = f"{key} failed: {label.reason}; to try again, delete {paths[key]}"
                console.print(reason, style="red", markup=False)
            if not console.is_terminal:  # where no bar can be drawn
                console.print(f"label {number} of {len(todo)}: {key} {label.status}")
    _repeat_outliers(study, bench, world, console)
    if world.is_first:
        with console.status("floors: the autoencoder alone, the teacher under other noise"):
            write_floors(bench, study.floors_path(seed))
    world.agree()


def _repeat_outliers(study: Study, bench: Bench, world: World, console: Console) -> None:
    """Measure labels far from all others once more; the second value is kept beside the first."""
    column = bench.protocol.column("fd")
    labels = [x for x in read_labels(study, bench.protocol.key) if x.seed == bench.seed]
    for label in find_outliers(labels, column):
        first = label_path(study, label.arch_key, bench.protocol.key, bench.seed)
        second = first.parent / "again" / first.name
        if second.exists():
            continue
        rows = second.with_suffix("")
        again = evaluate(label.architecture, bench, rows, rows / "weights.safetensors", world)
        if again is not None:
            write_atomic(second, again.model_dump_json() + "\n")
            values = [x.values.get(column) for x in (label, again)]
            same = "the same again" if values[0] == values[1] else f"{values[0]}, then {values[1]}"
            console.print(f"{label.arch_key} is far from all others in {column}: {same}")
        world.agree()


def recompute_metrics(folder: Path, seed: int | None = None) -> None:
    """Compute the values of finished labels again from their rows; nothing is sampled again.

    Latency and cost stay. A label without rows (an imported one) is left as it is and counted.
    """
    study, world = load_study(folder), open_world(1)
    seed = study.config.seed if seed is None else seed
    console = open_console(world)
    with only_run(study, world):
        bench = open_bench(study, console, seed, world)
        found = [x for x in read_labels(study, study.config.protocol.key) if x.seed == seed]
        done = 0
        for label in found:
            rows = study.rows_path(label.arch_key, seed) / bench.content
            shards = Shards(rows, len(bench.blocks))
            if label.status == "ok" and not shards.missing():
                values = {**label.values, **summarize_rows(shards.read(), bench)}
                write_label(study, label.model_copy(update={"values": values}))
                done += 1
    console.print(f"{done} of {len(found)} labels computed again; the others have no rows here")


def _label_one(
    study: Study, arch: Architecture, bench: Bench, world: World, *, keeps: bool
) -> Label | None:
    """Label one architecture and write it; its weights go once they are of no more use."""
    rows = study.rows_path(arch.key, bench.seed) / bench.content
    weights = study.recovered_path(arch.key) if keeps else rows / "weights.safetensors"
    label = evaluate(arch, bench, rows, weights, world)
    if label is not None:
        write_label(study, label)
        if not keeps:
            weights.unlink(missing_ok=True)
    world.agree()  # nobody begins the next one before this one is whole
    return label


def survey_latency(path: Path) -> None:
    """Fill in a latency survey with a progress bar; what is measured already stays."""
    console = open_console(World())
    with progress_bar(console) as progress:
        task = progress.add_task(f"latency ({path.name})", total=None)
        fill_survey(path, lambda done, total: progress.update(task, completed=done, total=total))


def compare(folder: Path, columns: Sequence[str], rows: int) -> None:
    """Draw `compare/grid.png` of the given columns on the samples with the largest holes."""
    study = load_study(folder)
    named = parse_columns(columns)
    chosen = choose_listed(read_listed(study), list(named.values()), study)
    world = open_world(1)
    console = open_console(world)
    bench = open_bench(study, console, study.config.seed, world)
    if not 1 <= rows <= len(bench.samples):
        raise InputError(f"1 <= rows <= {len(bench.samples)} must hold, but rows = {rows}")
    shown = choose_rows(bench.samples, rows)
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
    write_atomic(study.compare_dir / "gallery.json", collect_gallery(samples, images))
    console.print(f"comparison: {study.compare_dir / 'grid.png'}")


def inpaint(request: Request) -> None:
    """Inpaint images with several pipelines and write the picture and its JSON."""
    world = open_world(1)
    console = open_console(world)
    paint_side_by_side(request, world.device, console)
    console.print(f"comparison: {request.out}")


def thumbnails(folder: Path, names: Sequence[str]) -> None:
    """Draw what exported pipelines paint, into their folders."""
    world = open_world(1)
    console = open_console(world)
    with console.status("thumbnails"):
        draw_thumbnails(load_study(folder), names, world.device)


def app(folder: Path, host: str, port: int | None) -> None:
    """Serve the app of a study until it is stopped."""
    from sdsearch_eval.app import serve_app

    serve_app(load_study(folder), host, port)


def recover(folder: Path, key: str) -> None:
    """Write the recovered weights of one architecture, if they are not there yet."""
    study = load_study(folder)
    arch = choose_listed(read_listed(study), [key], study)[key]
    if not study.recovered_path(key).exists():
        world = open_world(1)
        _student(study, arch, open_bench(study, open_console(world), study.config.seed, world))


def finetune(folder: Path, key: str, processes: int | None = None) -> None:
    """Recover one architecture by the long recipe of `[export.recovery]`, with values and pictures.

    Weights, `values.json` (before and after, as a label measures them), `log.jsonl` and pictures
    are in the study's `recovered` folder; a killed run goes on from its last checkpoint.
    """
    study, world = load_study(folder), open_world(processes)
    arch = choose_listed(read_listed(study), [key], study)[key]
    recipe, place = study.config.export.recovery, study.finetuned_dir(key)
    console = open_console(world)
    weights = place / "weights.safetensors"
    with only_run(study, world):
        bench = open_bench(study, console, study.config.seed, world)
        if not has_recovered(arch, weights, bench):
            run_long_recovery(arch, bench, recipe, place, world, study.features_dir, console)
        world.agree()
    console.print(f"recovered weights: {weights}")


def _student(study: Study, arch: Architecture, bench: Bench) -> UNet2DConditionModel:
    """The recovered student, from its weight file or made (and kept) now."""
    path = study.recovered_path(arch.key)
    if not has_recovered(arch, path, bench):
        write_recovered(arch, bench, path, Stopwatch())
    return load_recovered(arch, bench, path)
