"""Pictures of a study: its samples painted side by side, and thumbnails of what it exported."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from sdsearch.errors import InputError
from sdsearch.files import write_atomic
from sdsearch.study import read_listing, read_study
from sdsearch.unet import count_params
from sdsearch_eval.jobs.workspace import find_architecture, open_bench, open_console, open_student
from sdsearch_eval.pictures import (
    choose_rows,
    collect_gallery,
    describe_comparison,
    draw_comparison,
    draw_thumbnails,
)
from sdsearch_eval.planning import settle_labels
from sdsearch_eval.sampling import generate
from sdsearch_eval.world import open_world

if TYPE_CHECKING:
    from sdsearch.study import GridRequest, ThumbnailsRequest


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
    images, notes = {}, {}
    for name, arch in chosen.items():
        unet = open_student(study, arch, bench, console)
        images[name] = generate(unet, bench.teacher, inputs, samples, bench.protocol).composited
        notes[name] = f"{count_params(arch, bench.teacher.backbone) / 1e6:.2f} M params"
    picture = BytesIO()
    draw_comparison(samples, images, notes).save(picture, "PNG")
    described = describe_comparison(samples, images, request.columns)
    write_atomic(study.compare_dir / "grid.png", picture.getvalue())
    write_atomic(study.compare_dir / "comparison.json", described)
    write_atomic(study.compare_dir / "gallery.json", collect_gallery(samples, images))
    console.print(f"comparison: {study.compare_dir / 'grid.png'}", soft_wrap=True)


def add_thumbnails(request: ThumbnailsRequest) -> None:
    """Draw small pictures of what exported designs paint."""
    world = open_world(1)
    with open_console(world).status("thumbnails"):
        draw_thumbnails(read_study(request.study), request.designs, world.device)
