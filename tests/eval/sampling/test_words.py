"""Painting from words, against the stock pipelines under the same noise, sampler and guidance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline, StableDiffusionPipeline
from PIL import Image

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.labels.protocol import Protocol
from sdsearch.pipelines import open_pipeline
from sdsearch.unet.architecture import UNPRUNED
from sdsearch_eval.data.sample import paint_prompts
from sdsearch_eval.models.teacher import load_teacher
from sdsearch_eval.sampling.generation import generate
from sdsearch_eval.sampling.sampling import prepare_inputs

WORDS = Path(__file__).parents[3] / "assets" / "worlds" / "words-16"
CAPTIONS = ("a red house by a lake at noon, green hills", "pine trees in a meadow at night")


@pytest.fixture(scope="module")
def painter():
    return load_teacher(open_pipeline(str(WORDS)), torch.device("cpu"))


def paint(teacher, protocol):
    samples = paint_prompts(CAPTIONS, 64)
    inputs = prepare_inputs(teacher, samples, 3)
    return inputs, generate(teacher.student(UNPRUNED), teacher, inputs, samples, protocol)


def stock_arguments(inputs, protocol):
    return {
        "prompt": list(CAPTIONS),
        "latents": inputs.noise,
        "height": 64,
        "width": 64,
        "num_inference_steps": protocol.steps,
        "guidance_scale": protocol.guidance,
        "output_type": "np",
    }


SAMPLERS = ["ddim", *(pytest.param(x, marks=pytest.mark.slow) for x in ("euler", "dpmsolver++"))]


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_four_channels_paint_words_as_the_stock_pipeline_does(painter, sampler, guidance):
    protocol = Protocol(
        task="text-to-image", samples=2, steps=5, guidance=guidance, scheduler=sampler
    )
    inputs, made = paint(painter, protocol)
    pipeline = StableDiffusionPipeline.from_pretrained(
        WORDS,
        scheduler=painter.scheduler(name=sampler),
        unet=painter.student(UNPRUNED),
        vae=painter.vae,
        text_encoder=painter.text_encoder,
    )
    pipeline.set_progress_bar_config(disable=True)
    stock = (pipeline(**stock_arguments(inputs, protocol)).images * 255).round()
    assert np.abs(stock - np.stack(made.composited).astype(float)).max() <= 1
    assert np.stack(made.composited).std() > 20
    assert np.array_equal(made.composited, made.raw)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_nine_channels_paint_words_as_the_stock_pipeline_fills_a_hole_that_is_all(
    teacher, sampler, guidance
):
    protocol = Protocol(
        task="text-to-image", samples=2, steps=5, guidance=guidance, scheduler=sampler
    )
    inputs, made = paint(teacher, protocol)
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        asset_path(TINY_TEACHER),
        scheduler=teacher.scheduler(name=sampler),
        unet=teacher.student(UNPRUNED),
        vae=teacher.vae,
        text_encoder=teacher.text_encoder,
    )
    pipeline.set_progress_bar_config(disable=True)
    grey = Image.fromarray(np.full((64, 64, 3), 127, np.uint8))
    white = Image.fromarray(np.full((64, 64), 255, np.uint8))
    stock = pipeline(
        **stock_arguments(inputs, protocol),
        image=[grey] * 2,
        mask_image=[white] * 2,
        masked_image_latents=inputs.masked_latents,
        strength=1.0,
    ).images
    assert np.abs((stock * 255).round() - np.stack(made.composited).astype(float)).max() <= 1
    assert np.stack(made.composited).std() > 5


def test_a_prompt_begins_with_the_same_noise_whatever_else_is_painted(painter):
    both = prepare_inputs(painter, paint_prompts(CAPTIONS, 64), 3)
    first = prepare_inputs(painter, paint_prompts(CAPTIONS[:1], 64), 3)
    assert torch.equal(both.noise[:1], first.noise)
    assert not torch.equal(both.noise[0], both.noise[1])
