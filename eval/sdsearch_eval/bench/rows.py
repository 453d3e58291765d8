"""What is known of every single sample, and the values of a label that follow from it.

Rows are kept, so that a label can be computed again without sampling again. A name that ends in
`_raw` is of the decoded image itself, others of the image with its known pixels pasted back. Pixels
are compared at the size of the originals, which may differ from sample to sample.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from sdsearch.errors import WorkError
from sdsearch_eval.metrics import (
    compare_pixels,
    diversity,
    extract_pictures,
    frechet_distance,
    jackknife,
    join_features,
    mean_of,
    measure_distances,
    measure_seam,
    resize_images,
    runs_of_one_size,
)
from sdsearch_eval.nets import lpips_like, lpips_of
from sdsearch_eval.sampling import generate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffusers import UNet2DConditionModel
    from numpy.typing import NDArray

    from sdsearch.labels import Measurement
    from sdsearch_eval.bench.bench import Bench
    from sdsearch_eval.data import Sample
    from sdsearch_eval.sampling import Generated, UNetInputs

Rows = dict[str, "NDArray[Any]"]
"""By name: (n,) values of samples in float64; `pooled`, their (n, d) float32 features; and
`image_hash`, 64 bits of each image's SHA-256, by which runs are compared bit for bit."""

HOLE_SIZES = {"below_10": (0.0, 0.1), "10_to_30": (0.1, 0.3), "above_30": (0.3, 1.01)}
"""Shares of an image in percent, by what a column of samples with such holes ends in."""
POOLED, IMAGE_HASH = "pooled", "image_hash"


def measure_rows(generated: Generated, block: slice, bench: Bench) -> Rows:
    """All per-sample values of what was generated for the bench's samples in `block`.

    Pictures that are painted from words have no originals: of them features and scores are taken.
    """
    error = (generated.latents - bench.teacher_latents[block]).square().mean(1, keepdim=True)
    cells = bench.inputs.masks[block]
    latent_mse = (error * cells).sum((1, 2, 3)) / cells.sum((1, 2, 3))
    retried = {"fp32_retry": generated.retried.astype(np.float64)}
    kept = {}
    if not bench.protocol.paints_words:
        samples = bench.samples[block]
        fitted = [one.fit(raw) for raw, one in zip(generated.raw, samples, strict=True)]
        runs = runs_of_one_size(fitted)
        kept = merge_rows([_raw_rows(fitted[run], samples[run], bench) for run in runs])
    return {
        **(retried if bench.protocol.dtype != "float32" else {}),
        "nfe": np.full(len(generated.raw), generated.nfe),
        IMAGE_HASH: np.array([_hash(image) for image in generated.composited]),
        **image_rows(generated.composited, block, bench),
        **kept,
        "latent_mse_vs_teacher": latent_mse.cpu().double().numpy(),
    }


def image_rows(images: Sequence[NDArray[np.uint8]], block: slice, bench: Bench) -> Rows:
    """Per-sample values of images that are painted for the samples in `block`.

    Each is (H, W, 3) uint8 and has the size of its original.
    """
    protocol, samples = bench.protocol, bench.samples[block]
    features = join_features(extract_pictures(bench.extractor, images, protocol))
    runs = runs_of_one_size(images)
    seen = {
        POOLED: features.pooled.cpu().numpy(),
        **merge_rows([_pixel_rows(images[run], samples[run], bench) for run in runs]),
    }
    if protocol.paints_words:
        return seen
    reference = [level[block].to(bench.teacher.device) for level in bench.references.features.maps]
    near = lpips_like(features.maps, reference).cpu().double().numpy()
    return {**seen, protocol.column("lpips_like"): near}


def _pixel_rows(
    painted: Sequence[NDArray[np.uint8]], samples: Sequence[Sample], bench: Bench
) -> Rows:
    """Scores of images of one size, and how far they are from their originals pixel by pixel."""
    images, device = np.stack(painted), bench.teacher.device
    compared = resize_images(images, bench.protocol.compared_size)
    scores: Rows = {**bench.scores.of(compared, samples)}
    if bench.protocol.paints_words:
        return scores
    originals, holes = _wanted(samples)
    regions = {"hole": holes, "full": np.ones_like(holes)}
    lpips = {"lpips_alex": lpips_of(bench.lpips, images, originals).numpy()} if bench.lpips else {}
    return {
        **scores,
        **lpips,
        **compare_pixels(images, originals, regions, device),
        "seam": measure_seam(images, originals, holes, device),
    }


def _raw_rows(fitted: Sequence[NDArray[np.uint8]], samples: Sequence[Sample], bench: Bench) -> Rows:
    """How far decoded images of one size, nothing pasted back, are from their originals."""
    images, device = np.stack(fitted), bench.teacher.device
    originals, holes = _wanted(samples)
    seam = measure_seam(images, originals, holes, device)
    return {**compare_pixels(images, originals, {"keep_raw": ~holes}, device), "seam_raw": seam}


def summarize_rows(rows: Rows, bench: Bench) -> dict[str, Measurement]:
    """The values of a label: means of rows, and distances of their distribution.

    Raises:
        WorkError: all images have the same features, as black or constant ones do.
    """
    pooled = rows[POOLED].astype(np.float64)
    if (pooled == pooled[:1]).all():
        raise WorkError("generated images must differ from each other, but all are the same")
    protocol, teacher = bench.protocol, bench.teacher_pooled.cpu().double().numpy()
    varied = {}
    if protocol.variations > 1:
        varied[protocol.column("diversity")] = mean_of(diversity(pooled, protocol.variations))
    return {
        **measure_distances(pooled, bench.references, protocol, bench.seed),
        **varied,
        **{name: mean_of(row) for name, row in rows.items() if name not in (POOLED, IMAGE_HASH)},
        **_by_size(rows, bench),
        "fd_vs_teacher": jackknife(frechet_distance, pooled, teacher),
    }


def _by_size(rows: Rows, bench: Bench) -> dict[str, Measurement]:
    """Means over the samples whose holes are small, middling and large shares of their images."""
    if bench.protocol.paints_words:
        return {}
    shares = np.array([sample.share for sample in bench.samples])
    found = {}
    for size, (least, most) in HOLE_SIZES.items():
        chosen = (least <= shares) & (shares < most)
        for name in ("psnr_hole", bench.protocol.column("lpips_like")):
            if chosen.any():
                found[f"{name}_{size}"] = mean_of(rows[name][chosen])
    return found


def measure_images(images: Sequence[NDArray[np.uint8]], bench: Bench) -> dict[str, Measurement]:
    """Quality values of images that fill the holes of all the bench's samples.

    Each is (H, W, 3) uint8 and has the size of its original.
    """
    parts = [image_rows(images[block], block, bench) for block in bench.blocks]
    return summarize_rows(merge_rows(parts), bench)


def measure_unet(
    unet: UNet2DConditionModel, inputs: UNetInputs, bench: Bench
) -> dict[str, Measurement]:
    """All values of a UNet on the bench's samples under the given inputs, block by block."""
    parts = []
    for block in bench.blocks:
        samples = bench.samples[block]
        made = generate(unet, bench.teacher, inputs.select(block), samples, bench.protocol)
        parts.append(measure_rows(made, block, bench))
    return summarize_rows(merge_rows(parts), bench)


def merge_rows(parts: list[Rows]) -> Rows:
    """Rows of consecutive blocks as one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _hash(image: NDArray[np.uint8]) -> int:
    digest = hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _wanted(samples: Sequence[Sample]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The (n, H, W, 3) originals of samples, which have one size, and their (n, H, W) holes."""
    originals = np.stack([sample.original for sample in samples])
    return originals, np.stack([sample.hole for sample in samples])
