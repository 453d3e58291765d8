"""Reference values are those of closed forms and of other implementations, never our own output."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from sdsearch_eval.metrics import pixels
from sdsearch_eval.metrics.pixels import compare_pixels, measure_seam, resize_images


def pair(seed=0, size=32):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    noisy = (first + rng.normal(0, 20, first.shape)).clip(0, 255).astype(np.uint8)
    return first, noisy


def compare(region, first, second):
    """PSNR, SSIM and L1 of one pair over one region."""
    found = compare_pixels(first[None], second[None], {"here": region[None]})
    return [float(found[f"{name}_here"][0]) for name in ("psnr", "ssim", "l1")]


def everywhere(image):
    return np.ones(image.shape[:2], bool)


def test_psnr_and_ssim_over_the_whole_image_equal_scikit_image():
    first, second = pair()
    psnr, _, _ = compare(everywhere(first), first, second)
    assert psnr == pytest.approx(peak_signal_noise_ratio(first, second))
    expected = structural_similarity(
        *(first, second),
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        full=True,
    )[1]
    inside = np.zeros((32, 32), bool)
    inside[6:-6, 6:-6] = True  # borders are padded differently
    _, ssim, _ = compare(inside, first, second)
    assert ssim == pytest.approx(expected[6:-6, 6:-6].mean(), abs=1e-5)


@pytest.mark.parametrize(("difference", "expected"), [(1, 48.130804), (16, 24.048404), (255, 0)])
def test_psnr_of_a_constant_difference(difference, expected):
    first = np.zeros((16, 16, 3), np.uint8)
    psnr, _, l1 = compare(everywhere(first), first, np.full_like(first, difference))
    assert psnr == pytest.approx(expected, abs=1e-6)
    assert l1 == pytest.approx(difference / 255)


def test_values_in_a_hole_ignore_what_its_windows_do_not_reach():
    first, second = pair(2)
    hole = np.zeros((32, 32), bool)
    hole[8:14, 8:16] = True
    changed = second.copy()
    changed[20:] = 0
    assert compare(hole, first, changed) == compare(hole, first, second)
    changed[15] = 0  # one of the five rows below the hole: in the windows of SSIM alone
    before, after = compare(hole, first, second), compare(hole, first, changed)
    assert [before[0], before[2]] == [after[0], after[2]]
    assert before[1] != after[1]


def test_identical_pixels_in_a_hole_count_100_db_and_not_infinity():
    first, _ = pair()
    psnr, ssim, l1 = compare(everywhere(first), first, first)
    assert (psnr, l1) == (100, 0)
    assert ssim == pytest.approx(1)


@pytest.mark.parametrize(("u", "v", "expected"), [(0, 255, 0.0001), (51, 204, 0.470666)])
def test_ssim_of_constant_images(u, v, expected):
    first, second = (np.full((32, 32, 3), value, np.uint8) for value in (u, v))
    _, ssim, _ = compare(everywhere(first), first, second)
    assert ssim == pytest.approx(expected, abs=5e-5)  # float32


@pytest.mark.parametrize(("count", "height", "width"), [(3, 64, 64), (5, 200, 88), (2, 133, 40)])
def test_pixels_in_parts_are_those_of_whole_images(count, height, width, monkeypatch):
    monkeypatch.setattr(pixels, "PIXELS_AT_ONCE", 2 * height * width)
    first, second, regions = changed_below(count, height, width)
    found = compare_pixels(first, second, regions)
    for name, region in regions.items():
        for metric, expected in plainly(region, first, second).items():
            wrong = abs(found[f"{metric}_{name}"] - expected).max()
            assert wrong <= (2e-7 if metric == "ssim" else 0), (metric, name)  # SSIM is in float32


def test_similarity_where_nothing_differs_is_1_bit_for_bit_as_it_would_be_computed(monkeypatch):
    first, second, regions = changed_below(3, 133, 88)
    found = compare_pixels(first, second, regions)
    monkeypatch.setattr(pixels, "_reached", lambda changed: slice(0, len(changed)))
    whole = compare_pixels(first, second, regions)
    assert all(np.array_equal(found[name], whole[name]) for name in whole)


def changed_below(count, height, width):
    """Pairs of images of which only the lower halves differ, and two regions of them."""
    rng = np.random.default_rng(height)
    first = rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    second = (first + rng.normal(0, 20, first.shape)).clip(0, 255).astype(np.uint8)
    second[:, : height // 2] = first[:, : height // 2]
    some = rng.random((count, height, width)) < 0.3
    return first, second, {"some": some, "all": np.ones_like(some)}


def plainly(region, first, second):
    """The same values by numpy alone, and by torchmetrics on whole images."""
    difference = first.astype(np.float64) - second
    squared, absolute = np.square(difference).mean(-1), np.abs(difference).mean(-1) / 255
    a, b = (
        torch.from_numpy(x.astype(np.float32) / 255).permute(0, 3, 1, 2) for x in (first, second)
    )
    _, maps = structural_similarity_index_measure(
        a, b, data_range=1.0, return_full_image=True, reduction="none"
    )
    area = region.sum((1, 2))
    mse = (squared * region).sum((1, 2)) / area
    return {
        "psnr": np.minimum(10 * np.log10(255.0**2 / mse), 100.0),
        "ssim": (maps.mean(1).double().numpy() * region).sum((1, 2)) / area,
        "l1": (absolute * region).sum((1, 2)) / area,
    }


def stripes(hole, level):
    """A black original with a white left half, and a fill of one level in the hole."""
    original = np.zeros((1, 32, 32, 3), np.uint8)
    original[:, :, :16] = 255
    return original, np.where(hole[..., None], np.uint8(level), original)


def test_a_fill_that_meets_its_surroundings_has_no_seam():
    hole = np.zeros((1, 32, 32), bool)
    hole[:, 8:24, 2:12] = True  # within the white half
    original, filled = stripes(hole, 255)
    assert measure_seam(filled, original, hole) == [0]


def test_a_seam_is_the_mean_error_of_the_steps_in_its_band():
    hole = np.zeros((1, 32, 32), bool)
    hole[:, :, 16:] = True
    original = np.zeros((1, 32, 32, 3), np.uint8)
    filled = np.where(hole[..., None], np.uint8(51), original)
    # Columns 12 to 19 are the band: 7 steps across in each of 32 rows, one of them wrong by 51,
    # and 31 steps down in each of 8 columns, all right.
    wrong, steps = 32 * 51 / 255, 7 * 32 + 31 * 8
    assert measure_seam(filled, original, hole) == pytest.approx([wrong / steps])


def test_a_fill_of_another_level_has_a_seam_though_both_sides_are_smooth():
    hole = np.zeros((1, 32, 32), bool)
    hole[:, 8:24, 2:12] = True
    seams = [measure_seam(*reversed(stripes(hole, level)), hole)[0] for level in (250, 200, 100)]
    assert 0 < seams[0] < seams[1] < seams[2]


def test_what_is_far_from_the_edge_makes_no_seam():
    hole = np.zeros((1, 48, 48), bool)
    hole[:, 8:40, 8:40] = True
    original = np.full((1, 48, 48, 3), 90, np.uint8)
    filled = original.copy()
    filled[:, 20:28, 20:28] = 0
    assert measure_seam(filled, original, hole) == [0]
    assert measure_seam(filled, original, np.ones_like(hole)) == [0]


def test_images_are_resized_as_pillow_does_it_and_left_alone_where_no_size_is_asked():
    images = np.stack(pair())
    halved = resize_images(images, 16)
    assert halved.shape == (2, 16, 16, 3)
    assert halved.dtype == np.uint8
    for image, small in zip(images, halved, strict=True):
        assert np.array_equal(small, np.asarray(Image.fromarray(image).resize((16, 16))))
    for side in (0, 32):
        assert resize_images(images, side) is images
