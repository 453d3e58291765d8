import numpy as np
import pytest
from scipy import stats as reference
from sklearn.metrics import ndcg_score

from sdsearch.stats import (
    kendall,
    mean_and_se,
    ndcg_at,
    spearman,
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
