"""The surroundings of a hole alone, against the stock pipeline's `padding_mask_crop`."""

from __future__ import annotations

import numpy as np
import pytest
from diffusers import StableDiffusionInpaintPipeline
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.labels.protocol import Protocol
from sdsearch.unet.architecture import UNPRUNED
from sdsearch_eval.data.sample import Frame
from sdsearch_eval.sampling.generation import generate
from sdsearch_eval.sampling.sampling import prepare_inputs

CROPS = {
    "at its own size": ((120, 96), (30, 24, 70, 64), 12),
    "scaled down": ((200, 160), (60, 40, 140, 120), 24),
    "scaled up": ((120, 96), (40, 32, 56, 48), 8),
    "moved to lie inside": ((120, 96), (8, 16, 48, 56), 12),
    "wider than the photo is high": ((96, 48), (20, 12, 68, 36), 8),
}
"""Photo's size, hole and padding; edges of holes lie on cells of the latents."""
CAPTION = "a red house by a lake at noon, green hills"


def draw_photo(size):
    """Smooth colours: (H, W, 3)."""
    coarse = np.random.default_rng(5).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))


def cut_hole(size, hole, padding):
    """A photo, its mask, and the sample around its hole."""
    photo = draw_photo(size)
    left, upper, right, lower = hole
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[upper:lower, left:right] = 255
    return photo, mask, Frame(64, padding).cut("photo", photo, CAPTION, mask)


@pytest.fixture(scope="module")
def stock(teacher):
    """The stock pipeline, which encodes by the mode of the posterior as labels do."""
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        asset_path(TINY_TEACHER),
        scheduler=teacher.scheduler(),
        unet=teacher.student(UNPRUNED),
        vae=teacher.vae,
        text_encoder=teacher.text_encoder,
    )
    pipeline._encode_vae_image = lambda image, generator: teacher.encode_images(image)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize(
    ("crop", "guidance"), [*((crop, 1.0) for crop in CROPS), ("scaled up", 2.0)]
)
def test_the_full_picture_is_that_of_the_stock_pipeline(teacher, stock, crop, guidance):
    size, hole, padding = CROPS[crop]
    photo, mask, sample = cut_hole(size, hole, padding)
    inputs = prepare_inputs(teacher, [sample], 7)
    protocol = Protocol(crop="hole", crop_padding=padding, samples=2, steps=3, guidance=guidance)
    unet = teacher.student(UNPRUNED)
    (painted,) = generate(unet, teacher, inputs, [sample], protocol).composited
    ours = sample.cutout.put_back(painted, photo)
    theirs = stock(
        CAPTION,
        image=Image.fromarray(photo),
        mask_image=Image.fromarray(mask),
        latents=inputs.noise,
        strength=1.0,
        height=64,
        width=64,
        num_inference_steps=3,
        guidance_scale=guidance,
        padding_mask_crop=padding,
    ).images[0]
    assert np.abs(np.asarray(theirs).astype(int) - ours).max() <= 1
    assert np.array_equal(ours[mask == 0], photo[mask == 0])
    assert np.abs(ours[mask == 255].astype(int) - photo[mask == 255]).mean() > 5


def test_every_pixel_of_a_hole_lies_in_one_that_the_unet_repaints():
    rng = np.random.default_rng(2)
    for size, padding in (((300, 240), 8), ((90, 100), 16), ((64, 40), 8)):
        photo = draw_photo(size)
        mask = np.where(rng.random(photo.shape[:2]) < 0.002, 255, 0).astype(np.uint8)
        sample = Frame(64, padding).cut("photo", photo, "", mask)
        # The middles of pixels of the photo, in the picture that the UNet sees in its middle; one
        # on the edge of two pixels there counts for the first.
        lengths = np.array(sample.hole.shape)
        inner = lengths * 64 // lengths.max()
        places = np.argwhere(sample.hole) + 0.5
        rows, columns = (64 // 2 - inner // 2 + (places * inner / lengths - 1e-9).astype(int)).T
        seen = sample.mask[rows, columns]
        assert (seen == 255).all()
        assert sample.hole.sum() == (mask == 255).sum() > 0


def test_a_hairline_that_the_stock_mask_loses_is_repainted():
    photo = draw_photo((640, 640))
    mask = np.zeros((640, 640), np.uint8)
    mask[100:540, 320] = 255
    sample = Frame(64, 32).cut("photo", photo, "", mask)
    processor = VaeImageProcessor(do_normalize=False, do_binarize=True, do_convert_grayscale=True)
    region = sample.cutout.box
    theirs = processor.preprocess(
        Image.fromarray(mask), 64, 64, resize_mode="fill", crops_coords=region
    )
    assert theirs.sum() == 0
    assert (sample.mask == 255).any(axis=1).sum() >= 440 * 64 // 504
