from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from sdsearch_eval.nets import efflite0
from sdsearch_eval.nets.extractors import load_extractor
from sdsearch_eval.nets.features import extract_features, lpips_like


@pytest.fixture(scope="module")
def net():
    return load_extractor("efflite0")


def images(count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8, generator=generator)


def test_features_are_1280_numbers_and_five_maps_an_image(net):
    found = extract_features(net, images(), 64)
    assert found.pooled.shape == (3, 1280)
    assert len(found.maps) == 5
    sides = [level.shape[-1] for level in found.maps]
    assert sides == sorted(sides, reverse=True)
    assert torch.isfinite(found.pooled).all()


def test_features_do_not_depend_on_the_batch(net):
    together = extract_features(net, images(5), 64, batch=5)
    alone = extract_features(net, images(5), 64, batch=1)
    assert torch.allclose(together.pooled, alone.pooled, atol=1e-4)


def test_a_folded_convolution_equals_convolution_and_batch_norm():
    generator = torch.Generator().manual_seed(0)
    state = {
        "c.weight": torch.randn(6, 4, 3, 3, generator=generator),
        "n.weight": torch.rand(6, generator=generator) + 0.5,
        "n.bias": torch.randn(6, generator=generator),
        "n.running_mean": torch.randn(6, generator=generator),
        "n.running_var": torch.rand(6, generator=generator) + 0.5,
    }
    x = torch.randn(2, 4, 9, 9, generator=generator)
    folded = efflite0._ConvBatchNorm(state, "c", "n")(x)
    plain = F.batch_norm(
        F.conv2d(x, state["c.weight"], padding=1),
        *(state["n.running_mean"], state["n.running_var"], state["n.weight"], state["n.bias"]),
        eps=1e-3,
    )
    assert torch.allclose(folded, plain, atol=1e-4)


@pytest.mark.parametrize(("side", "pads"), [(8, (0, 1)), (9, (1, 1))])
def test_strided_convolutions_pad_as_tensorflow_does(side, pads):
    state = {
        "c.weight": torch.ones(1, 1, 3, 3),
        "n.weight": torch.ones(1),
        "n.bias": torch.zeros(1),
        "n.running_mean": torch.zeros(1),
        "n.running_var": torch.ones(1) - 1e-3,
    }
    x = torch.arange(float(side * side)).view(1, 1, side, side)
    found = efflite0._ConvBatchNorm(state, "c", "n", stride=2)(x)
    expected = F.conv2d(F.pad(x, (*pads, *pads)), state["c.weight"], stride=2)
    assert torch.allclose(found, expected, rtol=1e-5)


def test_the_perceptual_distance_is_0_on_equals_and_grows_with_the_difference(net):
    first = images(2)
    noise = torch.randn(first.shape, generator=torch.Generator().manual_seed(1))
    slightly, strongly = (
        (first.float() + amount * noise).clamp(0, 255).to(torch.uint8) for amount in (10, 60)
    )
    maps = [extract_features(net, x, 64).maps for x in (first, slightly, strongly)]
    assert torch.allclose(lpips_like(maps[0], maps[0]), torch.zeros(2), atol=1e-6)
    near, far = lpips_like(maps[0], maps[1]), lpips_like(maps[0], maps[2])
    assert (near > 0).all()
    assert (far > near).all()
    assert torch.allclose(near, lpips_like(maps[1], maps[0]), atol=1e-6)
