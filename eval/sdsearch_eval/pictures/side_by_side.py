"""The same tasks and the same noise through several pipelines, in one labelled picture."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sdsearch.console import show_status
from sdsearch.errors import InputError
from sdsearch.files import write_atomic
from sdsearch.labels import Protocol
from sdsearch.unet import check_teacher
from sdsearch_eval.data import MaskReading, list_images, paint_prompts, read_tasks
from sdsearch_eval.metrics import compare_pixels
from sdsearch_eval.models import describe_cut
from sdsearch_eval.pictures.comparison import (
    are_painted_whole,
    draw_comparison,
    say_column,
)
from sdsearch_eval.pictures.pipelines import Pipeline, load_pipeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray
    from rich.console import Console

    from sdsearch.labels import PipelineCost
    from sdsearch.study import InpaintRequest
    from sdsearch_eval.data import Sample

FORMATS = {".png": "PNG", ".webp": "WEBP"}
DIFFERENCE_GAIN = 4


@dataclass(frozen=True, slots=True)
class Column:
    """What one pipeline painted, row by row, and what it costs.

    Raw images are (rows, H, W, 3) uint8; composited ones have the size of their originals.
    """

    name: str
    size: int
    params: int
    guidance: float
    samples: tuple[Sample, ...]
    raw: NDArray[np.uint8]
    composited: list[NDArray[np.uint8]]
    cost: PipelineCost


def paint_side_by_side(
    request: InpaintRequest, device: torch.device, console: Console
) -> list[Column]:
    """Paint all tasks under all seeds with every pipeline, then write the picture and its JSON.

    A row is a task under a seed. Pipelines of one resolution see the same noise; boxes are in
    pixels of the first one.

    Raises:
        InputError: a file or an option is unfit; nothing is written then.
    """
    if request.out.suffix.lower() not in FORMATS:
        raise InputError(f"the picture must end in .png or .webp, but is {request.out}")
    for where in request.pipelines:
        # What is not there, of another family or distilled, shows before the first is painted with.
        check_teacher(where)
    for manifest in list_images(request.images, request.masks) if request.images else ():
        console.print(str(manifest), markup=False)
    columns: list[Column] = []
    told: set[str | None] = {None}
    guidance, unit = request.guidance, None
    for where in request.pipelines:  # one in memory at a time
        with show_status(console, f"{where}: painting"):
            pipeline = load_pipeline(where, device)
            guidance = pipeline.guidance if guidance is None else guidance
            unit = unit or pipeline.size
            columns.append(_paint(pipeline, request, guidance, unit))
        prompts = dict.fromkeys(sample.caption for sample in columns[-1].samples)
        cut = describe_cut(pipeline.components, list(prompts))
        if cut not in told:
            console.print(cut, style="yellow", markup=False, soft_wrap=True)
            told.add(cut)
    names = distinct_names([column.name for column in columns])
    picture = BytesIO()
    draw_columns(columns, names, differences=request.differences).save(
        picture, FORMATS[request.out.suffix.lower()]
    )
    request.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(request.out, picture.getvalue())
    write_atomic(request.out.with_suffix(".json"), describe(columns, names, request))
    return columns


def _paint(pipeline: Pipeline, request: InpaintRequest, guidance: float, unit: int) -> Column:
    reading = MaskReading(request.mask_convention, request.mask_geometry)
    if request.images:
        samples = read_tasks(
            request.images,
            request.masks,
            request.prompts,
            pipeline.size,
            reading,
            unit,
            request.crop_padding if request.crop == "hole" else None,
        )
    else:
        samples = paint_prompts(request.prompts, pipeline.size)
    protocol = Protocol(
        resolution=pipeline.size,
        samples=max(2, len(samples)),
        steps=request.steps,
        guidance=guidance,
        scheduler=request.scheduler,
    )
    found = [pipeline.paint(samples, protocol, seed) for seed in request.seeds]
    shown = [
        replace(sample, name=f"{sample.name}, seed {seed}")
        for seed in request.seeds
        for sample in samples
    ]
    return Column(
        pipeline.name,
        pipeline.size,
        pipeline.params,
        guidance,
        tuple(shown),
        np.concatenate([made.raw for made in found]),
        [image for made in found for image in made.composited],
        pipeline.cost(samples[0], protocol, request.seeds[0]),
    )


def draw_columns(
    columns: Sequence[Column], names: Sequence[str], *, differences: bool
) -> Image.Image:
    """The grid: what was asked for, then every pipeline with its size and speed, and differences.

    A difference is that to the first pipeline, absolute and `DIFFERENCE_GAIN` times as bright.
    """
    first = max(columns, key=lambda column: column.size)
    shown: dict[str, list[NDArray[np.uint8]]] = {}
    notes: dict[str, str] = {}
    for name, column in zip(names, columns, strict=True):
        shown[name] = _resized(column.composited, first.samples)
        notes[name] = say_column(column.params, column.cost)
        if differences and len(shown) > 1:
            pairs = zip(shown[name], shown[names[0]], strict=True)
            shown[f"{name} - {names[0]}"] = [_differ(image, other) for image, other in pairs]
            notes[f"{name} - {names[0]}"] = f"difference x {DIFFERENCE_GAIN}"
    rows = [
        replace(sample, caption=f"{sample.caption} ({sample.name})") for sample in first.samples
    ]
    unmeasured = {name for name in shown if name not in names}
    return draw_comparison(rows, shown, notes, unmeasured)


def _resized(
    images: Sequence[NDArray[np.uint8]], samples: Sequence[Sample]
) -> list[NDArray[np.uint8]]:
    """Images at the size of the samples' originals."""
    sizes = [sample.original.shape[1::-1] for sample in samples]
    pairs = zip(images, sizes, strict=True)
    return [
        image if image.shape[1::-1] == size else np.asarray(Image.fromarray(image).resize(size))
        for image, size in pairs
    ]


def _differ(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    gap = np.abs(image.astype(np.int16) - other.astype(np.int16))
    return (gap * DIFFERENCE_GAIN).clip(0, 255).astype(np.uint8)


def describe(columns: Sequence[Column], names: Sequence[str], request: InpaintRequest) -> str:
    """JSON beside the picture: settings, rows, and per column size, speed and values by row."""
    described = [
        {
            "name": name,
            "pipeline": where,
            "resolution": column.size,
            "params": column.params,
            **column.cost.model_dump(mode="json", exclude={"name"}),
            "values": measure_rows(column),
        }
        for name, where, column in zip(names, request.pipelines, columns, strict=True)
    ]
    return json.dumps(
        {
            "schema": 1,
            "steps": request.steps,
            "guidance": columns[0].guidance,
            "scheduler": request.scheduler,
            "rows": [{"name": s.name, "caption": s.caption} for s in columns[0].samples],
            "columns": described,
        },
        indent=1,
    )


def measure_rows(column: Column) -> dict[str, list[float]]:
    """Per row: PSNR, SSIM and mean absolute error in the hole, of the composited images.

    Pictures from words have no original to be compared with.
    """
    if are_painted_whole(column.samples):
        return {}
    rows = [
        compare_pixels(image[None], np.stack([sample.original]), {"hole": sample.hole[None]})
        for sample, image in zip(column.samples, column.composited, strict=True)
    ]
    return {name: [round(float(row[name][0]), 4) for row in rows] for name in rows[0]}


def distinct_names(names: Sequence[str]) -> list[str]:
    """The names, numbered where two are the same."""
    return [
        name if names.count(name) == 1 else f"{name} ({names[: i + 1].count(name)})"
        for i, name in enumerate(names)
    ]
