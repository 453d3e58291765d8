from __future__ import annotations

import math

import pytest

from sdsearch.labels.target import Target
from sdsearch.report.noise import measure_noise
from tests.fakes import measured, tiny_member

NAMES = ("teacher", "bk-base", "bk-small", "bk-tiny")
TARGET = Target("-log(fd_efflite0)")


def test_noise_pools_seeds_of_the_same_architecture_and_leaves_single_ones_out() -> None:
    teacher, small = tiny_member(), tiny_member("bk-small")
    labels = [
        *(measured(teacher, fd, seed=seed) for seed, fd in enumerate((10.0, 12.0, 14.0))),
        *(measured(small, fd, seed=seed) for seed, fd in enumerate((20.0, 22.0))),
        measured(tiny_member("bk-tiny"), 99.0),
    ]
    shown = labels[:1] + labels[3:4]
    noise = measure_noise(labels, shown, "fd_efflite0", Target("-fd_efflite0"))
    assert noise is not None
    assert noise.of_value.count == 2
    # Sums of squares 8 and 2 over 2 + 1 degrees of freedom.
    assert noise.of_value.at(15.0) == pytest.approx(math.sqrt(10 / 3))
    assert noise.of_target is not None
    assert noise.of_target.at(-15.0) == pytest.approx(math.sqrt(10 / 3))
    assert noise.target_spread == pytest.approx(math.sqrt(50.0))
    assert measure_noise(labels[5:], [], "fd_efflite0", Target("-fd_efflite0")) is None


def test_noise_is_told_by_quality() -> None:
    labels = [
        measured(tiny_member(name), place + seed * place / 100, 1.0, seed=seed)
        for name, place in zip(NAMES, (10.0, 20.0, 40.0, 80.0), strict=True)
        for seed in range(3)
    ]
    noise = measure_noise(labels, labels, "fd_efflite0", TARGET)
    assert noise is not None
    assert noise.of_value.at(10.0) < 0.3 * noise.of_value.at(80.0)
    value, target = noise.lines()
    assert value.startswith(f"noise of fd_efflite0: {noise.of_value.at(10.0):.2f} at 10.00")
    assert "over label seeds, by 4 architectures" in value
    assert target.startswith("target: spread")


def test_a_target_without_a_spread_is_not_told() -> None:
    noise = measure_noise([measured(tiny_member(), 10.0, 1.0)], [], "fd_efflite0", TARGET)
    assert noise is not None
    assert noise.of_value.source == "samples"
    assert len(noise.lines()) == 1
