"""The harness at the full geometry of SD v1.4, with random weights: does it run, in what memory?

    python benchmarks/full_size.py [--channels 9] [--member bk-small] [--dtype bfloat16]

Writes a whole pipeline of random weights (UNet, autoencoder, text encoder; 2.1 GB) to a temporary
folder, loads it as a teacher, prunes, samples one 512-pixel image in one step, checks that all is
finite, and prints the peak memory of the process. What the image shows means nothing.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from sdsearch.assets import asset_path
from sdsearch.labels import Protocol, RecoveryRecipe
from sdsearch.pipelines import open_pipeline
from sdsearch.space import search_space
from sdsearch.unet import SD14, SD14_INPAINT, UNPRUNED, unet_cost
from sdsearch.weights import make_unet
from sdsearch_eval.data import load_samples
from sdsearch_eval.models import load_teacher
from sdsearch_eval.sampling import cast_unet, generate, prepare_inputs

GIB = 1 << 30
MOST_MEMORY = 20.0


def randomize(module: torch.nn.Module, scale: float) -> torch.nn.Module:
    """Fill a module with seeded numbers small enough to keep activations finite, in float16."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-scale, scale, generator=generator)
    return torch.nn.Module.to(module, torch.float16).eval()


def write_pipeline(folder: Path, channels: int) -> None:
    """Save a pipeline with the geometry of SD v1.4 and random weights."""
    backbone = SD14_INPAINT if channels == 9 else SD14
    unet = randomize(make_unet(UNPRUNED, backbone), 0.02)
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    )
    text = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
    )
    kind = StableDiffusionInpaintPipeline if channels == 9 else StableDiffusionPipeline
    kind(
        vae=randomize(vae, 0.02),
        text_encoder=randomize(CLIPTextModel(text), 0.02),
        tokenizer=CLIPTokenizer.from_pretrained(asset_path("tiny-sd") / "tokenizer"),
        unet=unet,
        scheduler=DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def main() -> None:
    """Run once and print times and the peak; exit 1 where it passes 20 GiB."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, choices=(4, 9), default=9)
    parser.add_argument("--member", default="bk-small")
    parser.add_argument("--dtype", default="bfloat16")
    options = parser.parse_args()
    protocol = Protocol.model_validate(
        {
            "samples": 2,
            "resolution": 512,
            "steps": 1,
            "block_size": 1,
            "dtype": options.dtype,
            "recovery": RecoveryRecipe(steps=0),
        }
    )
    with TemporaryDirectory() as folder:
        write_pipeline(Path(folder), options.channels)
        start = time.perf_counter()
        teacher = load_teacher(open_pipeline(str(folder)), torch.device("cpu"))
    print(f"teacher loaded: {time.perf_counter() - start:.1f} s")
    arch = search_space("sd14", teacher.backbone).members[options.member]
    start = time.perf_counter()
    unet = cast_unet(teacher.student(arch), options.dtype)
    print(f"{options.member} inherited and cast: {time.perf_counter() - start:.1f} s")
    samples = load_samples(protocol)[:1]
    inputs = prepare_inputs(teacher, samples, 0)
    start = time.perf_counter()
    made = generate(unet, teacher, inputs, samples, protocol)
    seconds = time.perf_counter() - start
    cost = unet_cost(arch, teacher.backbone, 64, value_bytes=unet.dtype.itemsize)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    print(
        f"one {options.channels}-channel 512 px image, one step, {options.dtype}: "
        f"{seconds:.1f} s, finite, "
        f"{'sampled again in float32' if made.retried.any() else 'no retry'}; "
        f"{cost.macs.total / 1e9:.1f} G MACs, activations {cost.activation_bytes / GIB:.2f} GiB"
    )
    print(f"peak memory of the process: {peak:.1f} GiB (at most {MOST_MEMORY:.0f})")
    if peak > MOST_MEMORY:
        sys.exit(1)


if __name__ == "__main__":
    main()
