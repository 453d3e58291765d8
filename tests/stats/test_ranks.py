import numpy as np
import pytest
from scipy import stats as reference
from sklearn.metrics import ndcg_score

from sdsearch.stats import (
    bootstrap_interval,
    kendall,
    mean_and_se,
    ndcg_at,
    spearman,
    spearman_gain_interval,
    spearman_interval,
    top_k_regret,
)


def test_correlations_equal_scipy_with_ties() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 40).astype(float), rng.normal(size=40)
    assert spearman(a, b) == pytest.approx(reference.spearmanr(a, b).statistic, abs=1e-12)
    assert kendall(a, b) == pytest.approx(reference.kendalltau(a, b).statistic, abs=1e-12)


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0], [3.0] * 9])
def test_lists_without_order_give_zero_and_never_nan(values: list[float]) -> None:
    assert spearman(values, values) == 0.0
    assert kendall(values, values) == 0.0
    assert ndcg_at(values, values, 4) == 1.0
    assert top_k_regret(values, values, 4) == 0.0
    assert np.isfinite(spearman_interval(values, values, np.random.default_rng(0))).all()


def test_interval_holds_the_estimate_and_repeats_with_the_same_generator() -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(size=68)
    b = a + rng.normal(size=68)
    first = spearman_interval(a, b, np.random.default_rng(5))
    assert first.low < spearman(a, b) < first.high
    assert first == spearman_interval(a, b, np.random.default_rng(5))
    assert first.high - first.low < 0.5


def test_intervals_are_quantiles_over_the_same_drawn_rows_of_all_samples() -> None:
    rng = np.random.default_rng(2)
    y, a, b = (rng.integers(0, 9, 30).astype(float) for _ in range(3))  # with ties
    picks = np.random.default_rng(6).integers(0, 30, (100, 30))
    for_a, for_b = (
        np.array([reference.spearmanr(y[pick], other[pick]).statistic for pick in picks])
        for other in (a, b)
    )
    found = spearman_interval(y, a, np.random.default_rng(6), resamples=100)
    assert found == pytest.approx(np.quantile(for_a, [0.025, 0.975]), abs=1e-12)
    gain = spearman_gain_interval(y, a, b, np.random.default_rng(6), resamples=100)
    assert gain == pytest.approx(np.quantile(for_a - for_b, [0.025, 0.975]), abs=1e-12)
    one_by_one = [reference.kendalltau(y[pick], a[pick]).statistic for pick in picks]
    found = bootstrap_interval(kendall, (y, a), np.random.default_rng(6), resamples=100)
    assert found == pytest.approx(np.quantile(one_by_one, [0.025, 0.975]), abs=1e-12)


def test_nineteen_of_twenty_intervals_hold_the_true_correlation() -> None:
    rng, rho, held = np.random.default_rng(3), 0.6, 0
    truth = 6 / np.pi * np.arcsin(rho / 2)  # the SRCC of a bivariate normal (Kruskal 1958)
    for _ in range(200):
        a, noise = rng.normal(size=(2, 68))
        low, high = spearman_interval(a, rho * a + np.sqrt(1 - rho**2) * noise, rng, resamples=200)
        held += low <= truth <= high
    assert 180 <= held <= 198


def test_a_predictor_gains_nothing_over_itself_and_much_over_noise() -> None:
    rng = np.random.default_rng(4)
    y, noise = rng.normal(size=(2, 68))
    assert spearman_gain_interval(y, noise, noise, rng) == (0.0, 0.0)
    low, high = spearman_gain_interval(y, y, noise, rng)
    assert 0.5 < low < high < 1.5
    assert spearman_gain_interval(y, noise, y, rng).high < -0.5


def test_too_few_rows_leave_everything_open_and_a_constant_column_has_no_order() -> None:
    rng = np.random.default_rng(5)
    for n in (0, 1, 2):
        y = np.arange(float(n))
        assert spearman_interval(y, y, rng) == (-1.0, 1.0)
        assert spearman_gain_interval(y, y, y, rng) == (-2.0, 2.0)
    y, constant = np.arange(9.0), np.ones(9)
    assert spearman_interval(y, constant, rng) == (0.0, 0.0)
    assert bootstrap_interval(kendall, (constant, y), rng) == (0.0, 0.0)


def test_the_interval_of_a_single_row_is_its_value() -> None:
    rng = np.random.default_rng(6)
    assert bootstrap_interval(np.median, (np.array([3.0]),), rng) == (3.0, 3.0)
    assert bootstrap_interval(kendall, (np.array([3.0]), np.array([1.0])), rng) == (0.0, 0.0)


def test_ndcg_equals_scikit_learn_on_scaled_gains() -> None:
    rng = np.random.default_rng(2)
    y, guess = rng.normal(size=30), rng.normal(size=30)
    gain = (y - y.min()) / np.ptp(y)
    assert ndcg_at(y, guess, 4) == pytest.approx(ndcg_score([gain], [guess], k=4), abs=1e-12)


def test_regret_is_the_mean_loss_of_the_chosen_ones() -> None:
    y = [4.0, 3.0, 2.0, 1.0]
    assert top_k_regret(y, y, 2) == 0.0
    assert top_k_regret(y, [1.0, 2.0, 3.0, 4.0], 2) == pytest.approx(2.0)


def test_mean_of_nothing_is_refused() -> None:
    assert mean_and_se([5.0]) == (5.0, 0.0)
    with pytest.raises(ValueError, match="at least one"):
        mean_and_se([])


def test_vectors_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        spearman([1.0, 2.0], [1.0])
