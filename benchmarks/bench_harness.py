"""The harness against a plain loop over `StableDiffusionInpaintPipeline`, on the tiny model.

    python benchmarks/bench_harness.py [--images 64] [--architectures 3]

Same model, images, masks, captions, steps and scheduler. Printed: images per second of both at the
pipeline's usual batch of 1 against the harness's blocks; the gain at equal batch when several
architectures share one study, beside its ceiling (what is shared costs nothing after the first);
and the share of the harness's time outside of UNet, VAE, text encoder and extractor.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.labels import Protocol, RecoveryRecipe
from sdsearch.pipelines import open_pipeline
from sdsearch.unet import UNPRUNED
from sdsearch_eval.bench import Bench, prepare_bench
from sdsearch_eval.bench.rows import measure_rows
from sdsearch_eval.models import Teacher, load_teacher
from sdsearch_eval.nets import extract_features
from sdsearch_eval.sampling import generate, paste_back, prepare_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST_RATIO, LEAST_OF_CEILING, MOST_OVERHEAD = 2.0, 0.90, 0.07


def plain_loop(bench: Bench, batch: int) -> float:
    """Seconds of the stock pipeline over the bench's samples, its images pasted back."""
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        asset_path(TINY_TEACHER), dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    start = time.perf_counter()
    for first in range(0, len(bench.samples), batch):
        tasks = bench.samples[first : first + batch]
        images = pipeline(
            [task.caption for task in tasks],
            image=[Image.fromarray(task.image) for task in tasks],
            mask_image=[Image.fromarray(task.mask) for task in tasks],
            height=64,
            width=64,
            strength=1.0,
            num_inference_steps=bench.protocol.steps,
            guidance_scale=bench.protocol.guidance,
            output_type="np",
        ).images
        paste_back((images * 255).round().astype(np.uint8), tasks)
    return time.perf_counter() - start


def sample(bench: Bench, batch: int) -> float:
    """Seconds of our sampling of one architecture, all shared work done before."""
    unet = bench.teacher.student(UNPRUNED)
    protocol = bench.protocol.model_copy(update={"block_size": batch})
    start = time.perf_counter()
    generate(unet, bench.teacher, bench.inputs, bench.samples, protocol)
    return time.perf_counter() - start


def share(bench: Bench) -> float:
    """Seconds of the work that all architectures share: text, masked latents, noise."""
    start = time.perf_counter()
    prepare_inputs(bench.teacher, bench.samples, 0)
    return time.perf_counter() - start


class ForwardClock:
    """Seconds inside the forward passes of some modules, the outermost only."""

    def __init__(self, *modules: torch.nn.Module) -> None:
        self.seconds, self._depth, self._start = 0.0, 0, 0.0
        self._modules = modules

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count while the block runs."""
        hooks = [m.register_forward_pre_hook(self._enter) for m in self._modules]
        hooks += [m.register_forward_hook(self._leave) for m in self._modules]
        yield
        for hook in hooks:
            hook.remove()

    def _enter(self, *_: object) -> None:
        if self._depth == 0:
            self._start = time.perf_counter()
        self._depth += 1

    def _leave(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.perf_counter() - self._start


def overhead(bench: Bench, teacher: Teacher) -> float:
    """The share of a label's sampling and measuring that is outside of all networks."""
    unet = teacher.student(UNPRUNED)
    clock = ForwardClock(unet, teacher.vae.decoder, teacher.text_encoder, bench.extractor.net)
    start = time.perf_counter()
    with clock.running():
        for block in bench.blocks:
            inputs, samples = bench.inputs.select(block), bench.samples[block]
            generated = generate(unet, teacher, inputs, samples, bench.protocol)
            measure_rows(generated, block, bench)
    return 1 - clock.seconds / (time.perf_counter() - start)


def main() -> None:
    """Measure, print every ratio beside its goal, and exit with 1 where one is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--architectures", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    protocol = Protocol(samples=options.images, recovery=RecoveryRecipe(steps=0))
    torch.set_num_threads(protocol.threads)
    teacher = load_teacher(open_pipeline("tiny"), torch.device("cpu"))
    with TemporaryDirectory() as folder:
        bench = prepare_bench(protocol, 0, teacher, Path(folder))
    extract_features(bench.extractor, torch.zeros(1, 3, 64, 64, dtype=torch.uint8), 32)  # warm
    count, batch = options.images, protocol.block_size
    best = {
        name: min(run() for _ in range(options.repeats))
        for name, run in {
            "loop, batch 1": lambda: plain_loop(bench, 1),
            f"loop, batch {batch}": lambda: plain_loop(bench, batch),
            "harness": lambda: sample(bench, batch),
            "shared": lambda: share(bench),
        }.items()
    }
    ours = best["harness"] + best["shared"]
    ratio = best["loop, batch 1"] / ours
    many = options.architectures
    loop_many = many * best[f"loop, batch {batch}"]
    ours_many = many * best["harness"] + best["shared"]
    ceiling = many * ours / ours_many
    gain = loop_many / ours_many
    outside = overhead(bench, teacher)
    for name, seconds in best.items():
        print(f"{name:16}{seconds:7.2f} s  {count / seconds:7.1f} images/s")
    print(f"against the loop at batch 1: ratio {ratio:.2f} (at least {LEAST_RATIO})")
    print(
        f"{many} architectures at equal batch: gain {gain:.2f}, ceiling of sharing {ceiling:.2f}, "
        f"reached {gain / ceiling:.0%} (at least {LEAST_OF_CEILING:.0%})"
    )
    print(f"outside of all networks: {outside:.1%} (at most {MOST_OVERHEAD:.0%})")
    if ratio < LEAST_RATIO or gain < LEAST_OF_CEILING * ceiling or outside > MOST_OVERHEAD:
        sys.exit(1)


if __name__ == "__main__":
    main()
