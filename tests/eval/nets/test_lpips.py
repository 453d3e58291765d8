from __future__ import annotations

import pytest
import torch
from torchmetrics.functional.image import lpips as torchmetrics_lpips

from sdsearch.errors import InputError
from sdsearch_eval.nets import lpips
from sdsearch_eval.nets.lpips import Lpips, linear_weights, load_lpips, lpips_of, trunk_weights

CHANNELS = (64, 192, 384, 256, 256)


def random_trunk():
    generator = torch.Generator().manual_seed(0)
    state = lpips._alexnet_features().state_dict()
    return {
        f"features.{name}": torch.randn(tensor.shape, generator=generator) * 0.05
        for name, tensor in state.items()
    }


@pytest.fixture(scope="module")
def linear():
    return torch.load(linear_weights(), map_location="cpu", weights_only=True)


@pytest.fixture(scope="module")
def net(linear):
    return Lpips(random_trunk(), linear).eval()


def images(count=3, side=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, side, side, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).numpy()


def test_the_learned_weights_are_the_published_ones(linear):
    sums = [2.349532, 16.143028, 39.268440, 27.197178, 20.317177]
    for number, (channels, total) in enumerate(zip(CHANNELS, sums, strict=True)):
        weight = linear[f"lin{number}.model.1.weight"]
        assert weight.shape == (1, channels, 1, 1)
        assert float(weight.sum()) == pytest.approx(total, abs=1e-4)
        assert (weight >= 0).all()


def test_lpips_is_0_on_equals_and_symmetric(net):
    first, second = images(seed=1), images(seed=2)
    assert torch.equal(lpips_of(net, first, first), torch.zeros(3, dtype=torch.float64))
    there, back = lpips_of(net, first, second), lpips_of(net, second, first)
    assert (there > 0).all()
    assert torch.allclose(there, back)


def test_orthogonal_unit_features_are_as_far_as_the_sum_of_their_weights(net, monkeypatch):
    def maps(self, x):
        units = []
        for channels in CHANNELS:
            unit = torch.zeros(len(x), channels, 2, 2)
            unit[:, int(x[0, 0, 0, 0])] = 1
            units.append(unit)
        return units

    monkeypatch.setattr(Lpips, "_maps", maps)
    found = net(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4))
    expected = sum(float(weight[0, 0] + weight[0, 1]) for weight in net.weights)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_torchmetrics_gives_the_same_lpips_over_the_same_trunk(net, monkeypatch):
    monkeypatch.setattr(torchmetrics_lpips, "_get_tv_model_features", lambda *_, **__: net.features)
    theirs = torchmetrics_lpips._NoTrainLpips(net="alex")
    first, second = images(seed=3), images(seed=4)
    a, b = (torch.from_numpy(x).permute(0, 3, 1, 2) / 127.5 - 1 for x in (first, second))
    expected = theirs(a.float(), b.float()).flatten().double()
    assert torch.allclose(lpips_of(net, first, second), expected, rtol=1e-4)


def test_without_its_trunk_official_lpips_is_refused_by_path(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"alexnet-owt-7be5be79\.pth, but it is missing"):
        load_lpips()
    trunk_weights().parent.mkdir(parents=True)
    torch.save(random_trunk(), trunk_weights())
    with pytest.raises(InputError, match=r"must have SHA-256 7be5be79"):
        load_lpips()
