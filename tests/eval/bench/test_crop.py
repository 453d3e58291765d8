"""Labels of photos that are cropped around their holes: pixels are compared in the photo's own."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sdsearch.labels.columns import label_columns
from sdsearch.labels.protocol import Protocol
from sdsearch.unet.architecture import UNPRUNED
from sdsearch_eval.bench.bench import prepare_bench
from sdsearch_eval.bench.evaluate import evaluate_architecture
from sdsearch_eval.bench.floors import measure_autoencoder
from sdsearch_eval.bench.rows import measure_images
from sdsearch_eval.sampling.generation import generate

SIZES = ((150, 100), (100, 170), (120, 120), (120, 120), (90, 80), (96, 64), (70, 90), (64, 64))
HOLES = (16, 30, 20, 60, 50, 40, 16, 16)


@pytest.fixture(scope="module")
def protocol(tmp_path_factory):
    """Six photos of several sizes, with a hole each, and two to recover on."""
    folder = tmp_path_factory.mktemp("data")
    for kind in ("photos", "masks"):
        (folder / kind).mkdir()
    rng = np.random.default_rng(0)
    for number, (size, side) in enumerate(zip(SIZES, HOLES, strict=True)):
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        photo = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        photo.save(folder / "photos" / f"{number}.png")
        mask = Image.new("L", size)
        mask.paste(255, (20, 10, 20 + side, 10 + side))
        mask.save(folder / "masks" / f"{number}.png")
    return Protocol(
        dataset=str(folder / "photos"),
        masks=str(folder / "masks"),
        crop="hole",
        crop_padding=8,
        samples=6,
        block_size=4,
        steps=2,
        feature_size=32,
        recovery={"steps": 1, "batch_size": 2},
    )


@pytest.fixture(scope="module")
def bench(protocol, teacher, tmp_path_factory):
    return prepare_bench(protocol, 0, teacher, tmp_path_factory.mktemp("features"))


def decibels(image, sample):
    error = image.astype(float)[sample.hole] - sample.original[sample.hole]
    return 10 * np.log10(255**2 / np.square(error).mean())


def test_a_label_has_all_columns_and_they_are_those_of_the_photos_own_pixels(bench, tmp_path):
    label = evaluate_architecture(UNPRUNED, bench, tmp_path / "rows", tmp_path / "weights")
    assert label.status == "ok"
    assert label_columns(bench.protocol) <= set(label.values)
    unet = bench.teacher.student(UNPRUNED)
    made = generate(unet, bench.teacher, bench.inputs, bench.samples, bench.protocol).composited
    assert len({image.shape for image in made}) > 3
    found = [decibels(image, one) for image, one in zip(made, bench.samples, strict=True)]
    assert label.values["psnr_hole"].value == pytest.approx(np.mean(found), abs=0.01)
    # Holes of 16 x 16, of 2 % of a photo, are small, though they are a fourth of what is painted.
    shares = [
        side**2 / (width * height) for (width, height), side in zip(SIZES, HOLES, strict=True)
    ]
    small = [value for value, share in zip(found, shares, strict=False) if share < 0.1]
    assert label.values["psnr_hole_below_10"].n == len(small) == 3
    assert label.values["psnr_hole_below_10"].value == pytest.approx(np.mean(small), abs=0.01)
    assert label.values["psnr_hole_above_30"].n == 1


def test_the_truth_is_without_error_and_the_autoencoder_near_it(bench):
    truth = measure_images([sample.original for sample in bench.samples], bench)
    assert truth["psnr_hole"].value == 100
    assert truth["ssim_full"].value == pytest.approx(1)
    for column in ("seam", "lpips_like_efflite0", "fd_efflite0"):
        assert truth[column].value == pytest.approx(0, abs=1e-3)
    floor = measure_autoencoder(bench)
    assert 15 < floor["psnr_hole"].value < 100


def test_photos_recovered_on_are_cropped_around_their_holes_too(bench):
    pool = bench.lessons._pool()
    assert len(pool["clean"]) == 2
    # A hole of 16 pixels with 8 around it is painted as half of a square, at any place.
    assert pool["masks"].mean((1, 2, 3)).tolist() == pytest.approx([0.25, 0.25], abs=0.1)
