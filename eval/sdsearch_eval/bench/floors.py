"""What no student can beat, and what nobody should read as a difference: two rows beside labels.

`autoencoder` decodes the encoded originals: what the latent space itself costs. `teacher reseeded`
is the teacher under other noise, measured against the teacher: differences below it are noise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sdsearch.console import say
from sdsearch.errors import InputError
from sdsearch.files import write_atomic
from sdsearch.labels import Floors, read_floors
from sdsearch.unet import UNPRUNED
from sdsearch_eval.bench.rows import image_rows, measure_unet, merge_rows, summarize_rows
from sdsearch_eval.sampling import (
    cast_unet,
    draw_noise,
    images_to_tensor,
    paste_back,
    tensor_to_images,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.labels import Measurement
    from sdsearch_eval.bench.bench import Bench


def write_floors(bench: Bench, path: Path) -> None:
    """Measure both rows into a JSON file, unless it holds them for this bench already."""
    if _are_there(path, bench.content):
        return
    rows = {}
    if bench.protocol.prompts == "captions":  # prompts of a file have no originals
        rows["autoencoder"] = measure_autoencoder(bench)
    rows["teacher reseeded"] = measure_reseeded(bench)
    write_atomic(path, Floors(of=bench.content, rows=rows).to_json() + "\n", path.parents[1])


def _are_there(path: Path, of: str) -> bool:
    """Whether a file holds the floors of a bench; one that is damaged is said, and does not."""
    try:
        known = read_floors(path)
    except InputError as error:
        say(str(error))
        return False
    return known is not None and known.of == of


def measure_autoencoder(bench: Bench) -> dict[str, Measurement]:
    """The originals through the teacher's autoencoder, known pixels pasted back."""
    teacher, parts = bench.teacher, []
    for block in bench.blocks:
        samples = bench.samples[block]
        originals = images_to_tensor(np.stack([sample.image for sample in samples]))
        decoded = tensor_to_images(teacher.decode_latents(teacher.encode_images(originals)))
        parts.append(image_rows(paste_back(decoded, samples), block, bench))
    return summarize_rows(merge_rows(parts), bench)


def measure_reseeded(bench: Bench) -> dict[str, Measurement]:
    """The teacher under the noise of the next label seed; `_vs_teacher` is its noise floor."""
    noise = draw_noise(bench.inputs.noise, bench.samples, bench.seed + 1)
    inputs = replace(bench.inputs, noise=noise)
    unet = cast_unet(bench.teacher.student(UNPRUNED), bench.protocol.dtype)
    return measure_unet(unet, inputs, bench)
