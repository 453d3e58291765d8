"""Reference values are those of closed forms and of other implementations, never our own output."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from sdsearch.errors import InputError
from sdsearch.stats import paired_difference
from sdsearch_eval.metrics import distances
from sdsearch_eval.metrics.distances import (
    Gaussian,
    diversity,
    frechet_at_infinity,
    frechet_distance,
    frechet_to_gaussian,
    jackknife,
    kernel_distance,
    mean_of,
)
from tests.eval.metrics.torchmetrics_distances import torchmetrics_frechet, torchmetrics_kernel

X = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], float)
Y = np.array([[2, 1], [3, 1], [2, 3], [4, 4]], float)


def with_moments(mean, covariance, n=40, seed=0):
    """(n, d) features whose sample mean and sample covariance (n - 1) are exactly those given."""
    mean, covariance = np.atleast_1d(mean).astype(float), np.atleast_2d(covariance).astype(float)
    raw = np.random.default_rng(seed).standard_normal((n, len(mean)))
    raw -= raw.mean(0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T, ddof=1).reshape(len(mean), -1)).T)
    values, vectors = np.linalg.eigh(covariance)
    return mean + white @ (vectors * np.sqrt(values.clip(0))).T


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 1), (3, 4), 10.0),
        (([0, 0], np.diag([1, 4])), ([1, 2], np.diag([9, 16])), 13.0),
        ((np.zeros(64), np.eye(64)), (np.ones(64), np.eye(64)), 64.0),
        (([0, 0], [[2, 1], [1, 2]]), ([1, -1], np.diag([1, 3])), 2.5166852265),
        (([0, 0], [[1, 0.5], [0.5, 1]]), ([0, 0], [[1, -0.5], [-0.5, 1]]), 4 - 2 * 3**0.5),
        (([0, 0], [[1, 0], [0, 0]]), ([0, 0], [[1, 1], [1, 1]]), 1.0),
        (
            ([0.1, 0.2, 0.3], [[4, 2, 0.6], [2, 3, 0.4], [0.6, 0.4, 2]]),
            ([-0.4, 0.5, 1], [[2, -0.5, 0.1], [-0.5, 1.5, 0.3], [0.1, 0.3, 1]]),
            2.611201775,
        ),
    ],
)
def test_the_frechet_distance_equals_the_closed_forms(first, second, expected):
    a, b = with_moments(*first, n=90), with_moments(*second, n=80, seed=1)
    assert frechet_distance(a, b) == pytest.approx(expected, abs=1e-7)
    assert frechet_distance(b, a) == pytest.approx(expected, abs=1e-7)


def test_the_frechet_distance_of_four_points_divides_by_n_minus_1():
    assert frechet_distance(X, Y) == pytest.approx(9.2218742078, abs=1e-9)
    assert frechet_distance(X, X) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("n", "m", "d"), [(50, 60, 8), (20, 20, 40), (12, 90, 30)])
def test_the_frechet_distance_equals_the_matrix_square_root_of_scipy(n, m, d):
    rng = np.random.default_rng(3)
    a, b = rng.random((n, d)), rng.random((m, d)) ** 2
    s1, s2 = np.cov(a.T), np.cov(b.T)
    shrunk = 1e-12 * np.eye(d)  # sqrtm needs it where n < d; it moves the value by about 1e-6
    root = np.trace(sqrtm((s1 + shrunk) @ (s2 + shrunk))).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(s1) + np.trace(s2) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(expected, abs=1e-4)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_the_frechet_distance_scales_squared_and_ignores_rotations(seed, scale):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((15, 6)), rng.standard_normal((15, 6)) + 0.5
    value = frechet_distance(a, b)
    assert frechet_distance(scale * a, scale * b) == pytest.approx(scale**2 * value, rel=1e-6)
    turn = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(value, rel=1e-6)


def test_the_kernel_distance_equals_the_u_statistic():
    assert kernel_distance(X, Y) == pytest.approx(432.854167, abs=1e-5)
    assert kernel_distance(X, X) == pytest.approx(0, abs=1e-12)
    circulant = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]], float)
    assert kernel_distance(np.eye(3), circulant) == pytest.approx(0, abs=1e-12)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`:UserWarning")
@pytest.mark.parametrize("n", [25, 200])  # fewer and more than the 40 features
def test_torchmetrics_gives_the_same_distances_of_the_same_features(n):
    rng = np.random.default_rng(8)
    first, second = rng.normal(size=(n, 40)), 1.2 * rng.normal(size=(n, 40)) + 0.3
    theirs = torchmetrics_frechet(first, second)
    assert frechet_distance(first, second) == pytest.approx(theirs, rel=1e-6)
    across = (first @ second.T / 40 + 1) ** 3
    unpaired = across[~np.eye(n, dtype=bool)].mean()
    # Theirs is of independent sets: it counts the equal pairs, which ours leaves out.
    ours = torchmetrics_kernel(first, second) + 2 * (across.mean() - unpaired)
    assert kernel_distance(first, second) == pytest.approx(ours, rel=1e-6)


def test_the_extrapolated_distance_is_free_of_the_bias_of_few_samples():
    rng = np.random.default_rng(9)
    first, second = rng.normal(size=(2000, 16)), rng.normal(size=(2000, 16))
    second[:, 0] += 1.0  # the true distance is 1
    line = frechet_at_infinity(first, second, rng, fewest=100)
    assert frechet_distance(first[:100], second[:100]) > 2
    assert line.value == pytest.approx(1.0, abs=0.15)
    assert line.slope > 0
    assert line.r2 > 0.8
    assert line.sizes[0] == 100
    with pytest.raises(InputError, match="at least 5000"):
        frechet_at_infinity(first, second, rng)


def biased_kernel_distance(a, b):
    """The V-statistic: means over all pairs, equal ones included."""
    inside, others, across = (((x @ y.T / 8 + 1) ** 3).mean() for x, y in ((a, a), (b, b), (a, b)))
    return inside + others - 2 * across


def test_the_kernel_distance_is_unbiased_where_the_biased_one_is_not():
    rng = np.random.default_rng(0)
    draws = [rng.standard_normal((2, 16, 8)) for _ in range(400)]
    for distance, biased in ((kernel_distance, False), (biased_kernel_distance, True)):
        values = np.array([distance(a, b) for a, b in draws])
        error = values.std(ddof=1) / 20
        assert (abs(values.mean()) > 3 * error) == biased


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (X, Y[:, :1], r"\(n, d\)"),
        (X[:1], Y, "at least 2"),
        (X * np.nan, Y, "finite"),
        (X[0], Y[0], r"\(n, d\)"),
    ],
)
@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_unfit_features_are_refused(distance, first, second, reason):
    with pytest.raises(InputError, match=reason):
        distance(first, second)


def test_the_jackknife_of_a_mean_is_the_standard_error_of_its_block_means():
    a = np.random.default_rng(1).standard_normal((32, 1))
    measured = jackknife(lambda x, y: float(x.mean() - y.mean()), a, np.zeros((32, 1)))
    assert measured.value == pytest.approx(a.mean())
    assert measured.se == pytest.approx(a.reshape(8, 4).mean(1).std(ddof=1) / np.sqrt(8))
    assert measured.n == 32


def test_the_jackknife_of_a_frechet_distance_is_about_its_spread_over_draws():
    def draw(seed):
        rng = np.random.default_rng(seed)
        return rng.standard_normal((128, 4)), rng.standard_normal((128, 4)) + 0.5

    measured = [jackknife(frechet_distance, *draw(seed)) for seed in range(60)]
    spread = np.std([one.value for one in measured], ddof=1)
    assert 0.6 < np.mean([one.se for one in measured]) / spread < 1.6


def test_a_mean_has_the_textbook_standard_error():
    measured = mean_of(np.array([1.0, 2.0, 3.0, 6.0]))
    assert measured.value == 3.0
    assert measured.se == pytest.approx(np.sqrt(14 / 3) / 2)
    assert mean_of(np.array([2.0])).se is None


def test_blocks_are_the_values_without_each_eighth_of_the_samples():
    rng = np.random.default_rng(2)
    first, second = rng.standard_normal((2, 32, 3))
    distance, mean = jackknife(frechet_distance, first, second), mean_of(first[:, 0])
    assert len(distance.blocks) == len(mean.blocks) == 8
    assert distance.blocks[0] == frechet_distance(first[4:], second[4:])
    assert mean.blocks[7] == first[:28, 0].mean()
    assert mean_of(first[:3, 0]).blocks is None
    assert jackknife(frechet_distance, first[:3], second[:3]).blocks is None


def test_labels_of_the_same_samples_differ_with_the_error_of_the_whole_computation():
    rng = np.random.default_rng(3)
    originals = rng.standard_normal((64, 4))
    near, far = (originals + shift * rng.standard_normal((64, 4)) for shift in (0.5, 0.8))
    both = np.hstack([far, near])

    def gain(joined, real):
        return frechet_distance(joined[:, :4], real) - frechet_distance(joined[:, 4:], real)

    expected = jackknife(gain, both, originals)
    found = paired_difference(*(jackknife(frechet_distance, x, originals) for x in (far, near)))
    assert found.value == pytest.approx(expected.value)
    assert found.se == pytest.approx(expected.se)


@pytest.mark.parametrize(("n", "m", "d"), [(40, 60, 8), (200, 90, 8), (12, 9, 30), (50, 40, 30)])
def test_a_distance_from_statistics_is_that_from_their_features(n, m, d):
    rng = np.random.default_rng(n + d)
    ours, theirs = rng.normal(size=(n, d)), rng.normal(1, 2, (m, d)) @ rng.normal(size=(d, d))
    gaussian = Gaussian(theirs.mean(0), np.cov(theirs, rowvar=False))
    expected = frechet_distance(ours, theirs)
    assert frechet_to_gaussian(ours, gaussian) == pytest.approx(expected, rel=1e-9)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
def test_the_unpaired_kernel_distance_is_torchmetrics_own_on_all_samples():
    ours, theirs = with_moments(np.zeros(4), np.eye(4), 30), with_moments(np.ones(4), np.eye(4), 30)
    found = kernel_distance(ours, theirs, paired=False)
    assert found == pytest.approx(torchmetrics_kernel(ours, theirs), abs=1e-4)


def test_the_unpaired_kernel_distance_takes_sets_of_unlike_size():
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=(20, 3)), rng.normal(1, 1, (31, 3))
    within = [
        np.mean([(x @ y / 3 + 1) ** 3 for i, x in enumerate(a) for j, y in enumerate(a) if i != j])
        for a in (ours, theirs)
    ]
    across = np.mean([(x @ y / 3 + 1) ** 3 for x in ours for y in theirs])
    found = kernel_distance(ours, theirs, paired=False)
    assert found == pytest.approx(within[0] + within[1] - 2 * across)


def test_pictures_that_are_all_alike_have_no_diversity_and_unlike_ones_have():
    same, right = np.array([[1.0, 0.0]]), np.array([[0.0, 3.0]])
    features = np.concatenate([same, 2 * same, same, right])
    assert diversity(features, 2) == pytest.approx([0, 1])
    assert diversity(np.concatenate([same, same, right]), 3) == pytest.approx([2 / 3])


@pytest.mark.parametrize("paired", [True, False])
def test_a_kernel_distance_is_the_same_however_few_rows_of_its_kernel_are_held(paired, monkeypatch):
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(23, 5)), rng.normal(size=(23, 5)) + 0.3
    whole = kernel_distance(first, second, paired=paired)
    monkeypatch.setattr(distances, "VALUES_AT_ONCE", 3 * 23)
    assert kernel_distance(first, second, paired=paired) == pytest.approx(whole, rel=1e-12)
    others = rng.normal(size=(40, 5))
    in_parts = kernel_distance(first, others, paired=False)
    monkeypatch.undo()
    assert kernel_distance(first, others, paired=False) == pytest.approx(in_parts, rel=1e-12)
