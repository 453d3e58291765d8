"""Measure what the embedded teacher can do, for docs/worlds.md, with a picture.

    python scripts/measure_tiny.py      # 3 minutes on 2 cores

256 test scenes under the protocol of the world's labels: the teacher against mean-colour and
biharmonic fill, true against wrong captions, guidance 2 against 1, the autoencoder alone, real
scenes against other real scenes. Prints Markdown.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from skimage.restoration import inpaint_biharmonic

from sdsearch.labels import Protocol
from sdsearch.pipelines import open_pipeline
from sdsearch.unet import UNPRUNED
from sdsearch_eval.bench import Bench, measure_images, prepare_bench
from sdsearch_eval.metrics import frechet_distance, jackknife, mean_of, psnr_in
from sdsearch_eval.models import load_teacher
from sdsearch_eval.nets import Features, extract_features, lpips_like
from sdsearch_eval.pictures import draw_comparison
from sdsearch_eval.sampling import (
    Generated,
    generate,
    images_to_tensor,
    paste_back,
    tensor_to_images,
)
from sdsearch_eval.scenes import render_scene, split_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sdsearch.labels import Measurement
    from sdsearch_eval.data import Sample

COLUMNS = ("fd_efflite0", "kid_efflite0", "lpips_like_efflite0", "psnr_hole", "ssim_hole")
SHOWN_COLUMNS = (*COLUMNS, "edge_jump")
SCENES = 256
SHOWN = (0, 1, 2, 3, 5, 8, 9, 11)


def main() -> None:
    """Measure, print, draw the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("work/tiny"))
    parser.add_argument("--picture", type=Path, default=Path("docs/fill-16.png"))
    options = parser.parse_args()
    protocol = Protocol(samples=SCENES, masks="thick", guidance=2.0)
    torch.set_num_threads(protocol.threads)
    teacher = load_teacher(open_pipeline("tiny"), torch.device("cpu"))
    options.work.mkdir(parents=True, exist_ok=True)
    bench = prepare_bench(protocol, 0, teacher, options.work / "features")
    inpainted = inpaint(bench)
    fills = {"mean colour": fill_mean(bench.samples), "biharmonic": fill_biharmonic(bench.samples)}
    decoded = reconstruct(bench)
    images = {
        "teacher": np.stack(inpainted["true"].composited),
        "wrong caption": np.stack(inpainted["wrong"].composited),
        "teacher, guidance 1": np.stack(inpainted["unguided"].composited),
        **fills,
        "autoencoder alone": np.stack(paste_back(decoded, bench.samples)),
    }
    values = {
        name: {
            **measure_images([*filled], bench),
            "edge_jump": mean_of(edge_jump(filled, bench.samples)),
        }
        for name, filled in images.items()
    }
    print(describe(values, others(images, decoded, bench)))
    names = ("teacher", "wrong caption", *fills)
    shown = {name: [*images[name][list(SHOWN)]] for name in names}
    picture = draw_comparison([bench.samples[i] for i in SHOWN], shown, {})
    picture.save(options.picture)


def inpaint(bench: Bench) -> dict[str, Generated]:
    """The teacher under the same noise with true captions, those of the next sample, guidance 1."""
    unet = bench.teacher.student(UNPRUNED)
    wrong = replace(bench.inputs, text=bench.inputs.text.roll(1, 0))
    unguided = bench.protocol.model_copy(update={"guidance": 1.0})
    runs = {
        "true": (bench.inputs, bench.protocol),
        "wrong": (wrong, bench.protocol),
        "unguided": (bench.inputs, unguided),
    }
    return {
        name: generate(unet, bench.teacher, inputs, bench.samples, protocol)
        for name, (inputs, protocol) in runs.items()
    }


def fill_mean(samples: Sequence[Sample]) -> NDArray[np.uint8]:
    """Every hole in the mean colour of its own image's known pixels."""
    means = [sample.image[sample.mask == 0].mean(0).round().astype(np.uint8) for sample in samples]
    flat = [np.broadcast_to(c, s.image.shape) for c, s in zip(means, samples, strict=True)]
    return np.stack(paste_back(np.stack(flat), samples))


def fill_biharmonic(samples: Sequence[Sample]) -> NDArray[np.uint8]:
    """Every hole by scikit-image's biharmonic equation, which continues what is around it."""
    filled = [
        inpaint_biharmonic(sample.image / 255, sample.mask == 255, channel_axis=-1)
        for sample in samples
    ]
    return (np.stack(filled).clip(0, 1) * 255).round().astype(np.uint8)


def reconstruct(bench: Bench) -> NDArray[np.uint8]:
    """What the autoencoder alone makes of the original images."""
    originals = np.stack([sample.image for sample in bench.samples])
    latents = [bench.teacher.encode_images(part) for part in images_to_tensor(originals).split(32)]
    return tensor_to_images(torch.cat([bench.teacher.decode_latents(part) for part in latents]))


def edge_jump(images: NDArray[np.uint8], samples: Sequence[Sample]) -> NDArray[np.float64]:
    """(n,) mean colour step across the hole's edge, over that of the original, in 1/255."""

    def step_at_edge(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> float:
        steps = [
            np.abs(np.diff(image.astype(float), axis=axis)).mean(-1)[
                np.diff(mask.astype(int), axis=axis) != 0
            ]
            for axis in (0, 1)
        ]
        return float(np.concatenate(steps).mean())

    pairs = zip(images, samples, strict=True)
    return np.array([step_at_edge(im, s.mask) - step_at_edge(s.image, s.mask) for im, s in pairs])


def others(
    images: dict[str, NDArray[np.uint8]], decoded: NDArray[np.uint8], bench: Bench
) -> dict[str, Measurement]:
    """Figures that are not one per fill: captions, autoencoder, real against other real scenes."""
    originals = np.stack([sample.image for sample in bench.samples])
    whole = np.ones(originals.shape[:3], bool)
    count = bench.protocol.samples
    strangers = np.stack([render_scene(split_seed("test", count + i)).image for i in range(count)])
    true, wrong = (features(images[name], bench) for name in ("teacher", "wrong caption"))
    errors = [
        lpips_like(one.maps, bench.references.features.maps).double().numpy()
        for one in (true, wrong)
    ]
    return {
        "gain": mean_of(errors[1] - errors[0]),
        "vae": mean_of(psnr_in(whole, decoded, originals)),
        "real": jackknife(
            frechet_distance,
            features(strangers, bench).pooled.double().numpy(),
            bench.references.features.pooled.double().numpy(),
        ),
    }


def features(images: NDArray[np.uint8], bench: Bench) -> Features:
    """Features of (n, H, W, 3) images under the bench's extractor and size."""
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    return extract_features(bench.extractor, tensor, bench.protocol.feature_size)


def describe(values: dict[str, dict[str, Measurement]], other: dict[str, Measurement]) -> str:
    """What was measured, and by what margin the teacher wins."""
    rows = [
        f"| {name} | " + " | ".join(plus_minus(row[column]) for column in SHOWN_COLUMNS) + " |"
        for name, row in values.items()
    ]
    margins = [
        f"| {fill} | " + " | ".join(margin(values, fill, column) for column in COLUMNS) + " |"
        for fill in ("mean colour", "biharmonic")
    ]
    return DOCUMENT.format(
        table="\n".join([head("filled by", SHOWN_COLUMNS), *rows]),
        margins="\n".join([head("teacher against", COLUMNS), *margins]),
        vae=plus_minus(other["vae"]),
        gain=plus_minus(other["gain"]),
        real=plus_minus(other["real"]),
    )


def head(first: str, columns: Sequence[str]) -> str:
    """The head of a Markdown table."""
    return f"| {first} | {' | '.join(columns)} |\n|---|" + "---|" * len(columns)


def plus_minus(measured: Measurement) -> str:
    """A value with its standard error."""
    digits = 1 if abs(measured.value) > 30 else 3 if abs(measured.value) < 2 else 2
    return f"{measured.value:.{digits}f} ± {measured.se or 0:.{digits}f}"


def margin(values: dict[str, dict[str, Measurement]], fill: str, column: str) -> str:
    """By how much the teacher is better than a fill, and in units of the standard error."""
    ours, theirs = values["teacher"][column], values[fill][column]
    better = theirs.value - ours.value
    if column in ("psnr_hole", "ssim_hole"):
        better = -better
    error = ((ours.se or 0) ** 2 + (theirs.se or 0) ** 2) ** 0.5
    return f"{better:.3g} ({better / error:.0f} SE)"


DOCUMENT = """\
{table}

{margins}

- other real scenes: `fd_efflite0` {real}
- another caption: `lpips_like_efflite0` rises by {gain}, paired over scenes
- autoencoder alone: {vae} dB PSNR
"""


if __name__ == "__main__":
    main()
