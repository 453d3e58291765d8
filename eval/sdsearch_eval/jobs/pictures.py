"""Pictures: a study's samples or a user's images side by side; what exports paint, and cost.

An export costs what its runtime makes of it: those that it has are measured here too.
"""

from __future__ import annotations

import shutil
from io import BytesIO
from typing import TYPE_CHECKING

import torch

from sdsearch.errors import InputError
from sdsearch.files import write_atomic
from sdsearch.study import read_listing, read_study
from sdsearch.unet import count_params
from sdsearch_eval.devices import set_arithmetic
from sdsearch_eval.jobs.workspace import find_architecture, open_bench, open_console, open_student
from sdsearch_eval.pictures import (
    choose_rows,
    collect_gallery,
    describe_comparison,
    draw_comparison,
    draw_thumbnails,
    measure_exports,
    paint_side_by_side,
    say_column,
)
from sdsearch_eval.planning import settle_labels
from sdsearch_eval.runtimes import measure_runtimes
from sdsearch_eval.sampling import generate, measure_costs
from sdsearch_eval.world import World, open_world

if TYPE_CHECKING:
    from sdsearch.study import (
        GridRequest,
        InpaintRequest,
        RuntimesRequest,
        ThumbnailsRequest,
    )


def draw_grid(request: GridRequest) -> None:
    """Draw STUDY/compare/grid.png, and its JSON files, on the samples with the largest holes."""
    study = read_study(request.study)
    chosen = {name: find_architecture(study, key) for name, key in request.columns.items()}
    world = open_world(1)
    study = settle_labels(study, read_listing(study).architectures.values(), world.device)
    console = open_console(world)
    bench = open_bench(study, console, world)
    if request.rows > len(bench.samples):
        raise InputError(
            f"a grid has at most {len(bench.samples)} rows, one for each sample, but "
            f"{request.rows} were asked for"
        )
    shown = choose_rows(bench.samples, request.rows)
    samples, inputs = [bench.samples[i] for i in shown], bench.inputs.select(shown)
    images, costs, notes = {}, {}, {}
    for name, arch in chosen.items():
        unet = open_student(study, arch, bench, console)
        images[name] = generate(unet, bench.teacher, inputs, samples, bench.protocol).composited
        first = inputs.select(slice(0, 1))
        costs[name] = measure_costs(name, unet, bench.teacher, first, samples[0], bench.protocol)
        notes[name] = say_column(count_params(arch, bench.teacher.backbone), costs[name])
    picture = BytesIO()
    draw_comparison(samples, images, notes).save(picture, "PNG")
    described = describe_comparison(samples, images, request.columns, costs)
    study.make(study.compare_dir)
    write_atomic(study.compare_dir / "grid.png", picture.getvalue())
    write_atomic(study.compare_dir / "comparison.json", described)
    write_atomic(study.compare_dir / "gallery.json", collect_gallery(samples, images))
    console.print(f"comparison: {study.compare_dir / 'grid.png'}", soft_wrap=True)


def inpaint_images(request: InpaintRequest) -> None:
    """Inpaint images with several pipelines and write the picture and its JSON."""
    world = open_world(1)
    console = open_console(world)
    paint_side_by_side(request, world.device, console)
    console.print(f"comparison: {request.out}", soft_wrap=True)


def add_thumbnails(request: ThumbnailsRequest) -> None:
    """Draw small pictures of what exported designs paint, and measure what a picture costs.

    What an export has already stays.
    """
    world, study = open_world(1), read_study(request.study)
    torch.set_num_threads(study.config.protocol.threads)
    set_arithmetic(tf32=study.config.protocol.tf32)
    folders = [study.pipelines_dir / name for name in request.designs]
    console = open_console(world)
    if unseen := [one.name for one in folders if not (one / "thumbnails").is_dir()]:
        with console.status("thumbnails"):
            draw_thumbnails(study, unseen, world.device)
    if unmeasured := [one.name for one in folders if not (one / "costs.json").is_file()]:
        with console.status("what a picture costs"):
            measure_exports(study, unmeasured, world.device)


def add_runtimes(request: RuntimesRequest) -> None:
    """Make int8 of an export and write its runtimes.json, on the processor."""
    study, world = read_study(request.study), World()
    console = open_console(world)
    bench = open_bench(study, console, world)
    rows = study.make(study.runtimes_dir / request.pipeline.name)
    with console.status("runtimes") as status:
        table = measure_runtimes(request.pipeline, bench, rows, status.update)
    write_atomic(request.pipeline / "runtimes.json", table.to_json(indent=1) + "\n")
    shutil.rmtree(rows)
