"""The harness's jobs on a study folder, but for labelling: compare, recover and the like."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from sdsearch.console import progress_bar
from sdsearch.errors import InputError
from sdsearch.files import write_atomic
from sdsearch.labels.store import read_labels, write_label
from sdsearch.study.folder import StudyFolder, read_study
from sdsearch.unet.cost import count_params
from sdsearch_eval.bench.evaluate import (
    Stopwatch,
    has_recovered,
    load_recovered,
    write_recovered,
)
from sdsearch_eval.bench.rows import summarize_rows
from sdsearch_eval.bench.shards import Shards
from sdsearch_eval.jobs.finetune import run_long_recovery
from sdsearch_eval.jobs.listing import choose_listed, parse_columns, read_listed
from sdsearch_eval.jobs.workspace import only_run, open_bench, open_console
from sdsearch_eval.pictures.comparison import (
    choose_rows,
    collect_gallery,
    describe_comparison,
    draw_comparison,
)
from sdsearch_eval.pictures.side_by_side import paint_side_by_side
from sdsearch_eval.pictures.thumbnails import draw_thumbnails
from sdsearch_eval.sampling.generation import generate
from sdsearch_eval.sampling.survey import fill_survey
from sdsearch_eval.world import World, open_world

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from diffusers import UNet2DConditionModel

    from sdsearch.unet.architecture import Architecture
    from sdsearch_eval.bench.bench import Bench
    from sdsearch_eval.pictures.request import Request


def recompute_metrics(folder: Path, seed: int | None = None) -> None:
    """Compute the values of finished labels again from their rows; nothing is sampled again.

    Latency and cost stay. A label without rows (an imported one) is left as it is and counted.
    """
    study, world = read_study(folder), open_world(1)
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


def survey_latency(path: Path) -> None:
    """Fill in a latency survey with a progress bar; what is measured already stays."""
    console = open_console(World())
    with progress_bar(console) as progress:
        task = progress.add_task(f"latency ({path.name})", total=None)
        fill_survey(path, lambda done, total: progress.update(task, completed=done, total=total))


def compare(folder: Path, columns: Sequence[str], rows: int) -> None:
    """Draw `compare/grid.png` of the given columns on the samples with the largest holes."""
    study = read_study(folder)
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
        draw_thumbnails(read_study(folder), names, world.device)


def app(folder: Path, host: str, port: int | None) -> None:
    """Serve the app of a study until it is stopped."""
    from sdsearch_eval.app.pages import serve_app

    serve_app(read_study(folder), host, port)


def recover(folder: Path, key: str) -> None:
    """Write the recovered weights of one architecture, if they are not there yet."""
    study = read_study(folder)
    arch = choose_listed(read_listed(study), [key], study)[key]
    if not study.recovered_path(key).exists():
        world = open_world(1)
        _student(study, arch, open_bench(study, open_console(world), study.config.seed, world))


def finetune(folder: Path, key: str, processes: int | None = None) -> None:
    """Recover one architecture by the long recipe of `[export.recovery]`, with values and pictures.

    Weights, `values.json` (before and after, as a label measures them), `log.jsonl` and pictures
    are in the study's `recovered` folder; a killed run goes on from its last checkpoint.
    """
    study, world = read_study(folder), open_world(processes)
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


def _student(study: StudyFolder, arch: Architecture, bench: Bench) -> UNet2DConditionModel:
    """The recovered student, from its weight file or made (and kept) now."""
    path = study.recovered_path(arch.key)
    if not has_recovered(arch, path, bench):
        write_recovered(arch, bench, path, Stopwatch())
    return load_recovered(arch, bench, path)
