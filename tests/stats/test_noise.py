from __future__ import annotations

import numpy as np
import pytest

from sdsearch.stats import Noise, fit_noise


def test_a_fit_finds_the_deviation_that_made_the_values() -> None:
    rng = np.random.default_rng(0)
    places = np.linspace(80, 340, 400)
    truth = 0.5 * np.exp(0.01 * (places - 80))
    repeats = [rng.normal(place, sd, 3).tolist() for place, sd in zip(places, truth, strict=True)]
    found = fit_noise(repeats, [])
    assert found is not None
    assert (found.source, found.count) == ("seeds", 400)
    for place in (90.0, 200.0, 330.0):
        assert found.at(place) == pytest.approx(0.5 * np.exp(0.01 * (place - 80)), rel=0.15)


def test_few_architectures_are_pooled_and_those_of_more_seeds_count_more() -> None:
    # Sums of squares 8 and 2 over 2 + 1 degrees of freedom.
    found = fit_noise([[10.0, 12.0, 14.0], [20.0, 22.0], [99.0]], [(5.0, 9.0)])
    assert found is not None
    assert found.slope == 0.0
    assert found.at(0.0) == found.at(50.0) == pytest.approx(np.sqrt(10 / 3))


def test_labels_own_errors_stand_in_where_there_is_one_seed() -> None:
    labels = [(value, 0.05 * value) for value in np.linspace(50, 100, 21)]
    found = fit_noise([[value] for value, _ in labels], [*labels, (300.0, None)])
    assert found is not None
    assert (found.source, found.count, found.high) == ("samples", 21, 100.0)
    assert found.at(50.0) == pytest.approx(2.5, rel=0.1)
    assert found.at(100.0) == pytest.approx(5.0, rel=0.1)


def test_beyond_what_was_measured_noise_stays_what_it_was_at_the_end() -> None:
    noise = Noise("seeds", 5, 1.0, 3.0, 0.0, 1.0)
    assert noise.at(2.0) == 1.0
    assert noise.at(-9.0) == noise.at(1.0) < noise.at(3.0) == noise.at(99.0)


def test_equal_values_do_not_make_a_slope_without_end() -> None:
    repeats = [[float(value)] * 3 for value in range(1, 9)] + [[9.0, 11.0]]
    found = fit_noise(repeats, [])
    assert found is not None
    assert 0 < found.at(1.0) < found.at(10.0) < 10


def test_what_never_moves_has_no_noise() -> None:
    assert fit_noise([[1.0, 1.0], [2.0, 2.0]], []) is None
    assert fit_noise([[1.0]], [(1.0, None)]) is None
    assert fit_noise([], []) is None
