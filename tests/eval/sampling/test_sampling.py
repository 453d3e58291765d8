from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.errors import WorkError
from sdsearch.labels.protocol import Protocol
from sdsearch.labels.samplers import SAMPLERS
from sdsearch.unet.architecture import UNPRUNED
from sdsearch_eval.data.sample import Sample
from sdsearch_eval.data.samples import load_samples
from sdsearch_eval.metrics.pixels import psnr_in
from sdsearch_eval.sampling.generation import generate
from sdsearch_eval.sampling.sampling import (
    images_to_tensor,
    paste_back,
    prepare_inputs,
    sample_latents,
    tensor_to_images,
)


@pytest.fixture(scope="module")
def samples():
    return load_samples(Protocol(samples=6))


@pytest.fixture(scope="module")
def inputs(teacher, samples):
    return prepare_inputs(teacher, samples, 0)


@pytest.fixture(scope="module")
def unet(teacher):
    return teacher.student(UNPRUNED)


def aligned_sample():
    scene = load_samples(Protocol(samples=2))[0]
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 8:40] = 255
    return Sample("aligned", scene.image, "a red house by a lake at noon, green hills", mask)


def run_stock(pipeline, task, inputs, *, steps, guidance, image=None):
    """What the stock pipeline paints for a task, in levels of 255."""
    pipeline.set_progress_bar_config(disable=True)
    painted = pipeline(
        task.caption,
        image=Image.fromarray(task.image) if image is None else image,
        mask_image=Image.fromarray(task.mask),
        masked_image_latents=inputs.masked_latents,
        latents=inputs.noise,
        strength=1.0,
        height=64,
        width=64,
        num_inference_steps=steps,
        guidance_scale=guidance,
        output_type="np",
    ).images[0]
    return (painted * 255).round()


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("steps", [3, 8])
def test_our_sampling_equals_the_stock_pipeline(teacher, unet, guidance, steps):
    task = aligned_sample()
    inputs = prepare_inputs(teacher, [task], 7)
    latents = sample_latents(unet, inputs, teacher, steps=steps, guidance=guidance)
    ours = tensor_to_images(teacher.decode_latents(latents))[0]
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        asset_path(TINY_TEACHER), dtype=torch.float32
    )
    stock = run_stock(pipeline, task, inputs, steps=steps, guidance=guidance)
    assert np.abs(stock - ours.astype(float)).max() <= 1
    assert ours.std() > 5


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "ddim"])
def test_every_sampler_equals_the_stock_pipeline_with_it(teacher, unet, sampler):
    task = aligned_sample()
    inputs = prepare_inputs(teacher, [task], 7)
    latents = sample_latents(unet, inputs, teacher, steps=6, guidance=1.0, sampler=sampler)
    ours = tensor_to_images(teacher.decode_latents(latents))[0]
    # The very same modules: memory-mapped ones differ by 1e-6, which multistep samplers amplify.
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        asset_path(TINY_TEACHER),
        scheduler=teacher.scheduler(name=sampler),
        unet=unet,
        vae=teacher.vae,
        text_encoder=teacher.text_encoder,
    )
    stock = run_stock(pipeline, task, inputs, steps=6, guidance=1.0)
    assert np.abs(stock - ours.astype(float)).max() <= 1
    assert ours.std() > 5


@pytest.fixture(scope="module")
def four(teacher):
    """The tiny teacher with its first four input channels: a UNet that has to blend."""
    state = {**teacher.unet_state}
    state["conv_in.weight"] = state["conv_in.weight"][:, :4].contiguous()
    backbone = teacher.backbone.model_copy(update={"in_channels": 4})
    return replace(teacher, backbone=backbone, unet_state=state)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_blending_with_four_channels_equals_the_stock_pipeline(teacher, four, guidance):
    task = aligned_sample()
    inputs = prepare_inputs(four, [task], 7)
    unet = four.student(UNPRUNED)
    latents = sample_latents(unet, inputs, four, steps=5, guidance=guidance)
    ours = tensor_to_images(four.decode_latents(latents))[0]
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        asset_path(TINY_TEACHER), unet=unet, dtype=torch.float32
    )
    # An image of four channels is taken as latents, so that nothing is drawn.
    image = inputs.masked_latents
    stock = run_stock(pipeline, task, inputs, steps=5, guidance=guidance, image=image)
    assert np.abs(stock - ours.astype(float)).max() <= 1
    assert ours.std() > 5


def test_with_four_channels_the_known_cells_end_as_they_were(four, samples):
    inputs = prepare_inputs(four, samples, 0)
    unet = four.student(UNPRUNED)
    latents = sample_latents(unet, inputs, four, steps=2, guidance=1.0)
    known = (1 - inputs.masks).bool().expand_as(latents)
    assert torch.equal(latents[known], inputs.masked_latents[known])
    assert not torch.allclose(latents[~known], inputs.masked_latents[~known], atol=0.1)


def test_a_result_does_not_depend_on_the_other_tasks_of_the_run(teacher, unet, samples, inputs):
    alone = prepare_inputs(teacher, samples[2:3], 0)
    assert torch.equal(alone.noise, inputs.noise[2:3])
    assert torch.equal(alone.masks, inputs.masks[2:3])
    together = sample_latents(unet, inputs.select([2, 3]), teacher, steps=2, guidance=1.0)
    swapped = sample_latents(unet, inputs.select([3, 2]), teacher, steps=2, guidance=1.0)
    assert torch.allclose(together, swapped.flip(0), atol=1e-5)


def test_nothing_under_the_hole_reaches_the_unet(teacher, samples):
    def poison(sample):
        image = sample.image.copy()
        image[sample.mask == 255] = 255 - image[sample.mask == 255]
        return replace(sample, image=image)

    clean = prepare_inputs(teacher, samples, 0)
    leaked = prepare_inputs(teacher, [poison(sample) for sample in samples], 0)
    for name in ("noise", "masks", "masked_latents", "text", "empty_text"):
        assert torch.equal(getattr(clean, name), getattr(leaked, name)), name


@pytest.mark.parametrize("channels", [4, 9])
def test_changing_what_is_under_the_hole_changes_nothing_in_the_outcome(
    channels, teacher, four, samples, small
):
    chosen = four if channels == 4 else teacher
    net = chosen.student(UNPRUNED)

    def outcome(tasks):
        inputs = prepare_inputs(chosen, tasks, 0)
        return generate(net, chosen, inputs, tasks, small).composited

    poisoned = []
    for sample in samples:
        image = sample.image.copy()
        image[sample.mask == 255] = 255 - image[sample.mask == 255]
        poisoned.append(replace(sample, image=image))
    assert np.array_equal(outcome(samples), outcome(poisoned))


def test_other_block_sizes_move_pixels_by_rounding_only(teacher, unet, small):
    tasks = load_samples(Protocol(samples=16))
    inputs = prepare_inputs(teacher, tasks, 0)
    outcomes = [
        generate(unet, teacher, inputs, tasks, small.model_copy(update={"block_size": size}))
        for size in (1, 5, 16)
    ]
    originals = np.stack([task.image for task in tasks])
    holes = np.stack([task.mask for task in tasks]) == 255
    for other in outcomes[:2]:
        difference = np.abs(other.raw.astype(int) - outcomes[2].raw)
        assert difference.max() <= 2
        quality = [
            psnr_in(holes, np.stack(o.composited), originals).mean() for o in (other, outcomes[2])
        ]
        assert quality[0] == pytest.approx(quality[1], rel=0.005)


def test_known_pixels_survive_exactly(samples):
    noise = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    pasted = paste_back(noise, samples)
    for image, sample, drawn in zip(pasted, samples, noise, strict=True):
        hole = sample.mask == 255
        assert (image[~hole] == sample.image[~hole]).all()
        assert (image[hole] == drawn[hole]).all()


def test_one_repainted_pixel_repaints_its_whole_latent_cell(teacher):
    mask = np.zeros((64, 64), np.uint8)
    mask[17, 42] = 255
    task = replace(aligned_sample(), mask=mask)
    cells = prepare_inputs(teacher, [task], 0).masks[0, 0]
    assert cells.sum() == 1
    assert cells[4, 10] == 1


def test_other_seeds_and_names_get_other_noise(teacher, samples, inputs):
    other = prepare_inputs(teacher, samples[:2], 1)
    assert not torch.equal(other.noise, inputs.noise[:2])
    assert not torch.equal(inputs.noise[0], inputs.noise[1])


def test_guidance_of_one_is_no_guidance_and_two_is(teacher, unet, inputs):
    task = inputs.select([0])
    without = replace(task, empty_text=torch.full_like(task.empty_text, 99.0))
    one = sample_latents(unet, task, teacher, steps=2, guidance=1.0)
    assert torch.equal(one, sample_latents(unet, without, teacher, steps=2, guidance=1.0))
    two = sample_latents(unet, task, teacher, steps=2, guidance=2.0)
    assert not torch.allclose(one, two, atol=1e-3)


def test_pixels_survive_the_way_to_a_tensor_and_back():
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    assert (tensor_to_images(images_to_tensor(images)) == images).all()
    beyond = torch.tensor([-3.0, 3.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    assert tensor_to_images(beyond)[0, 0, :, 0].tolist() == [0, 255]


def test_a_unet_that_makes_no_numbers_is_failed_work(teacher, inputs):
    broken = teacher.student(UNPRUNED)
    broken.conv_out.weight.data.fill_(float("nan"))
    with pytest.raises(WorkError, match="finite"):
        sample_latents(broken, inputs.select([0]), teacher, steps=2, guidance=1.0)
    with pytest.raises(WorkError, match="finite"):
        tensor_to_images(torch.full((1, 3, 2, 2), float("inf")))
