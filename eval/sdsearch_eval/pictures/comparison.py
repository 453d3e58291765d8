"""The comparison picture: original, masked, then one labelled column per architecture."""

from __future__ import annotations

import base64
import json
import re
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from sdsearch.keys import with_seal
from sdsearch_eval.metrics import psnr_in

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from sdsearch.labels import PipelineCost
    from sdsearch_eval.data import Sample

CELL, GAP, HEADER, LINE, CAPTION = 160, 8, 28, 16, 34
LARGEST_FIRST_POOL = 4
LARGEST_CELL = 768
"""Pixels a side of a picture on a page; surroundings of holes in photos may have more."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
INK, PAPER, GREY = (30, 30, 34), (255, 255, 255), (110, 110, 116)


def choose_rows(samples: Sequence[Sample], rows: int) -> list[int]:
    """The numbers of the samples with the largest holes among the first `rows` times four."""
    pool = range(min(len(samples), rows * LARGEST_FIRST_POOL))
    largest = sorted(pool, key=lambda i: -samples[i].share)[:rows]
    return sorted(largest)


def say_column(params: int, cost: PipelineCost) -> str:
    """What a column's UNet and its pictures cost, in lines that are as wide as a cell."""
    return (
        f"{params / 1e6:.2f} M, {cost.call_said.partition(' (')[0]} a UNet call\n"
        f"{cost.seconds_said.partition(' (')[0]}, {cost.memory_said} a picture"
    )


def draw_comparison(
    samples: Sequence[Sample],
    columns: Mapping[str, Sequence[NDArray[np.uint8]]],
    notes: Mapping[str, str],
    unmeasured: Collection[str] = (),
) -> Image.Image:
    """Draw a grid: a row per sample with its caption below, a column per name with its note.

    `columns` holds n (H, W, 3) uint8 composited images per name, in the size of their originals;
    those of `unmeasured` are no inpaintings. A note may have several lines. The hole is grey in
    `masked`. What is painted from words alone has no such column, no decibels, and an original only
    where its caption has a picture.
    """
    unmeasured = {*columns} if are_painted_whole(samples) else {*unmeasured}
    shown = {**_originals(samples), **columns}
    width = GAP + len(shown) * (CELL + GAP)
    header = HEADER + LINE * max([1, *(note.count("\n") + 1 for note in notes.values())])
    height = header + len(samples) * (CELL + CAPTION + GAP)
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    bold, small = ImageFont.load_default(15), ImageFont.load_default(12)
    for column, (name, images) in enumerate(shown.items()):
        left = GAP + column * (CELL + GAP)
        draw.text((left, 6), _fit(draw, name, bold, CELL), fill=INK, font=bold)
        for line, note in enumerate(notes.get(name, "").split("\n")):
            top = 25 + LINE * line
            draw.text((left, top), _fit(draw, note, small, CELL), fill=GREY, font=small)
        for row, image in enumerate(images):
            top = header + row * (CELL + CAPTION + GAP)
            cell = ImageOps.pad(
                Image.fromarray(image), (CELL, CELL), Image.Resampling.BICUBIC, color=PAPER
            )
            canvas.paste(cell, (left, top))
            if name not in ("original", "masked", *unmeasured):
                psnr = _decibels_in(samples[row], image)
                draw.text((left, top + CELL + 16), f"hole {psnr:.1f} dB", fill=GREY, font=small)
    for row, sample in enumerate(samples):
        top = header + row * (CELL + CAPTION + GAP) + CELL + 2
        draw.text(
            (GAP, top), _fit(draw, sample.caption, small, width - 2 * GAP), fill=INK, font=small
        )
    return canvas


def are_painted_whole(samples: Sequence[Sample]) -> bool:
    """Whether all samples are pictures from words: their holes are everything."""
    return all(bool(sample.hole.all()) for sample in samples)


def mask_image(sample: Sample) -> NDArray[np.uint8]:
    """The original of a sample, its hole grey."""
    return np.where(sample.hole[..., None], np.uint8(127), sample.original)


def _originals(samples: Sequence[Sample]) -> dict[str, list[NDArray[np.uint8]]]:
    """The columns that say what was asked for: pictures, and pictures with a hole."""
    originals = [sample.original for sample in samples]
    if not are_painted_whole(samples):
        return {"original": originals, "masked": [mask_image(sample) for sample in samples]}
    is_plain = all((original == originals[0][0, 0]).all() for original in originals)
    return {} if is_plain else {"original": originals}


def describe_comparison(
    samples: Sequence[Sample],
    columns: Mapping[str, Sequence[NDArray[np.uint8]]],
    keys: Mapping[str, str],
    costs: Mapping[str, PipelineCost],
) -> str:
    """JSON beside the picture: which sample is in which row, which architecture in which column."""
    description = {
        "schema": 1,
        "rows": [{"name": sample.name, "caption": sample.caption} for sample in samples],
        "columns": [
            {
                "name": name,
                "arch_key": keys[name],
                **costs[name].model_dump(mode="json", exclude={"name"}),
                **_decibels(samples, images),
            }
            for name, images in columns.items()
        ],
    }
    return json.dumps(with_seal(description), indent=1)


def _decibels(
    samples: Sequence[Sample], images: Sequence[NDArray[np.uint8]]
) -> dict[str, list[float]]:
    if are_painted_whole(samples):
        return {}
    pairs = zip(samples, images, strict=True)
    return {"psnr_hole": [round(_decibels_in(sample, image), 3) for sample, image in pairs]}


def _decibels_in(sample: Sample, image: NDArray[np.uint8]) -> float:
    """How near a composited image is to its original in the hole."""
    one, other = (np.stack([pixels]) for pixels in (image, sample.original))
    return float(psnr_in(sample.hole[None], one, other)[0])


def collect_gallery(
    samples: Sequence[Sample], columns: Mapping[str, Sequence[NDArray[np.uint8]]]
) -> str:
    """JSON of the picture's cells as WebP data URIs, for pages that show them one by one."""
    shown = {**_originals(samples), **columns}
    rows = [
        {
            "caption": sample.caption,
            "images": {name: _data_uri(images[row]) for name, images in shown.items()},
        }
        for row, sample in enumerate(samples)
    ]
    return json.dumps(with_seal({"schema": 1, "rows": rows}))


def _data_uri(image: NDArray[np.uint8]) -> str:
    file, picture = BytesIO(), Image.fromarray(image)
    picture.thumbnail((LARGEST_CELL, LARGEST_CELL))
    picture.save(file, "WEBP", quality=90)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _fit(
    draw: ImageDraw.ImageDraw,
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: int,
) -> str:
    """As much of a text as fits into one line, control characters as escapes."""
    text = CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(f"{text}...", font=font) > width:
        text = text[:-1]
    return f"{text}..."
