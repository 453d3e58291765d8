"""CPU seconds of all metrics of one label: 256 samples of 512 pixels, as at full size.

    python -m benchmarks.bench_metrics

Holes are filled with noise, since what metrics cost does not depend on what they show; known pixels
are pasted back, as a label does. Beside it stands torchmetrics' SSIM of each image in each region.
Exit code 1 above 20 CPU seconds.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from sdsearch.labels import Protocol, RecoveryRecipe
from sdsearch.pipelines import open_pipeline
from sdsearch_eval.bench import prepare_bench
from sdsearch_eval.bench.rows import measure_rows, merge_rows, summarize_rows
from sdsearch_eval.metrics import References
from sdsearch_eval.models import load_teacher
from sdsearch_eval.nets import Features
from sdsearch_eval.sampling import Generated, paste_back

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sdsearch_eval.bench import Bench

SAMPLES, BLOCK, MOST = 256, 8, 20.0
PROTOCOL = Protocol(
    resolution=512,
    samples=BLOCK,
    block_size=BLOCK,
    steps=1,
    feature_size=224,
    recovery=RecoveryRecipe(steps=0),
)


def painted(bench: Bench, number: int) -> Generated:
    """What a student might have painted for the bench's samples."""
    rng = np.random.default_rng(number)
    images = rng.integers(0, 256, (BLOCK, 512, 512, 3), np.uint8)
    filled, nothing = paste_back(images, bench.samples), np.zeros(BLOCK, np.bool_)
    return Generated(bench.teacher_latents + 0.1, images, filled, nothing, 1.0)


def measure_label(bench: Bench, blocks: list[Generated]) -> float:
    """CPU seconds of a label's metrics: of every block, and of all together."""
    start = time.process_time()
    rows = merge_rows([measure_rows(block, slice(0, BLOCK), bench) for block in blocks])
    pooled = torch.from_numpy(rows["pooled"])
    features = Features(pooled + 0.01 * torch.randn_like(pooled), [])
    many = replace(
        bench,
        samples=[*bench.samples] * len(blocks),
        references=References(features),
        teacher_pooled=features.pooled,
    )
    summarize_rows(rows, many)
    return time.process_time() - start


def measure_similarity(images: NDArray[np.uint8], originals: NDArray[np.uint8]) -> float:
    """CPU seconds of torchmetrics' SSIM of one image in its three regions."""
    start = time.process_time()
    a, b = (torch.tensor(x[None]).permute(0, 3, 1, 2).float() for x in (images, originals))
    for _ in ("hole", "full", "keep_raw"):
        structural_similarity_index_measure(a, b, data_range=255.0, return_full_image=True)
    return time.process_time() - start


def main() -> int:
    """Print the seconds, and those of SSIM alone done the plain way."""
    torch.set_num_threads(1)  # threads that wait for each other count as working
    with TemporaryDirectory() as folder:
        teacher = load_teacher(open_pipeline("tiny"), torch.device("cpu"))
        bench = prepare_bench(PROTOCOL, 0, teacher, Path(folder))
        blocks = [painted(bench, number) for number in range(SAMPLES // BLOCK)]
        measure_label(bench, blocks[:1])
        took = measure_label(bench, blocks)
        image = measure_similarity(blocks[0].raw[0], bench.samples[0].image)
        plain = min(image, measure_similarity(blocks[0].raw[0], bench.samples[0].image)) * SAMPLES
    print(f"metrics of {SAMPLES} samples at 512 px: {took:.1f} CPU seconds (at most {MOST:g})")
    print(f"torchmetrics' SSIM alone, once a region: {plain:.1f} CPU seconds, {plain / took:.1f} x")
    return 0 if took <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
