import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

from sdsearch.ranker.baselines import RESAMPLES, fit_forest, fit_ridge, kept_slots
from sdsearch.ranker.features import FeatureLayout, encode_all
from sdsearch.space.space import search_space
from sdsearch.unet.slots import SLOTS


def test_kept_slots_are_those_of_the_architecture() -> None:
    space = search_space("tiny")
    archs = space.sample(5, np.random.default_rng(0))
    layout = FeatureLayout.for_space(space)
    kept = kept_slots(encode_all(archs, space.backbone, layout), layout)
    for row, arch in zip(kept, archs, strict=True):
        assert {slot.name for slot, on in zip(SLOTS, row, strict=True) if on} == arch.kept_slots


def test_the_flat_forest_predicts_what_scikit_learn_does() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 2, (50, 12)).astype(float)
    y = x @ rng.normal(size=12) + x[:, 0] * x[:, 1]
    fresh = rng.integers(0, 2, (40, 12)).astype(float)
    model = RandomForestRegressor(100, min_samples_leaf=2, max_features=1 / 3, random_state=7)
    want = model.fit(x, y).predict(fresh)
    np.testing.assert_allclose(fit_forest(x, y, seed=7).predict(fresh), want, atol=1e-12)


def test_ridge_recovers_an_additive_target() -> None:
    rng = np.random.default_rng(2)
    x = rng.integers(0, 2, (60, 6)).astype(float)
    model = fit_ridge(x, x @ np.arange(6.0) + 3.0)
    np.testing.assert_allclose(model.coefficients, np.arange(6.0), atol=0.05)


def test_ridge_with_pairs_finds_an_interaction_that_plain_ridge_cannot() -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(0, 2, (80, 6)).astype(float)
    y = x[:, 0] + 2.0 * (x[:, 1] != x[:, 2])
    fresh = rng.integers(0, 2, (200, 6)).astype(float)
    truth = fresh[:, 0] + 2.0 * (fresh[:, 1] != fresh[:, 2])
    pairs, plain = fit_ridge(x, y, with_pairs=True), fit_ridge(x, y)
    assert np.corrcoef(pairs.predict(fresh), truth)[0, 1] > 0.98
    assert np.corrcoef(plain.predict(fresh), truth)[0, 1] < 0.6
    assert np.abs(pairs.pairs[1, 2]) == np.abs(pairs.pairs).max()


def test_a_weight_of_two_is_a_repeated_row() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.integers(0, 2, (20, 5)).astype(float), rng.normal(size=20)
    twice = np.where(np.arange(20) < 5, 2.0, 1.0)
    model = fit_ridge(x, y, twice)
    rows = np.concatenate([x, x[:5]]), np.concatenate([y, y[:5]])
    centred = rows[0] - rows[0].mean(0)
    solutions = [
        np.linalg.solve(centred.T @ centred + a * np.eye(5), centred.T @ (rows[1] - rows[1].mean()))
        for a in np.logspace(-2, 3, 11)
    ]
    assert min(np.abs(s - model.coefficients).max() for s in solutions) < 1e-8


def test_fits_to_resampled_labels_spread_as_standard_errors_of_least_squares_do() -> None:
    rng = np.random.default_rng(5)
    x = rng.integers(0, 2, (300, 6)).astype(float)
    model = fit_ridge(x, x @ np.arange(6.0) + rng.normal(0, 2.0, 300), rng=rng)
    assert model.fits == RESAMPLES
    np.testing.assert_allclose(model.deviations.mean(0), 0, atol=1e-12)
    centred = x - x.mean(0)
    exact = 2.0 * np.sqrt(np.diag(np.linalg.inv(centred.T @ centred)))
    found = model.deviations[:, :-1].std(0)
    assert found.mean() == pytest.approx(exact.mean(), rel=0.15)
    np.testing.assert_allclose(found, exact, rtol=0.5)
    fresh = rng.integers(0, 2, (4, 6)).astype(float)
    each = [
        fresh @ (model.coefficients + row[:-1]) + model.intercept + row[-1]
        for row in model.deviations
    ]
    found = model.predict(fresh)[:, None] + model.deviate(fresh)
    np.testing.assert_allclose(found, np.stack(each, axis=1))


@pytest.mark.parametrize("with_pairs", [False, True])
def test_a_fit_that_is_not_asked_for_its_spread_has_none(with_pairs: bool) -> None:
    rng = np.random.default_rng(6)
    x, y = rng.integers(0, 2, (30, 5)).astype(float), rng.normal(size=30)
    model = fit_ridge(x, y, with_pairs=with_pairs)
    assert (model.fits, model.deviate(x).tolist()) == (1, [[0.0]] * 30)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_constant_and_few_targets_are_predicted_by_their_mean(n: int) -> None:
    x = np.eye(6)[:n]
    y = np.full(n, 2.0)
    np.testing.assert_allclose(fit_ridge(x, y).predict(x), 2.0)
    np.testing.assert_allclose(fit_forest(x, y, seed=0).predict(x), 2.0)
