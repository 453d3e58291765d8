import numpy as np
import pytest

from sdsearch.ranker.validation import (
    average_held_out,
    baselines_out_of_fold,
    choose_kind,
    rate_predictions,
    split_folds,
)


def test_each_label_is_held_out_once_per_repeat_in_folds_of_even_size() -> None:
    held = split_folds(68, 5, 2, np.random.default_rng(0))
    assert held.shape == (10, 68)
    assert (held[:5].sum(0) == 1).all()
    assert (held[5:].sum(0) == 1).all()
    assert set(held.sum(1)) == {13, 14}
    assert not (held[:5] == held[5:]).all()


def test_a_single_label_cannot_be_held_out() -> None:
    assert not split_folds(1, 5, 2, np.random.default_rng(0)).any()
    assert split_folds(2, 5, 1, np.random.default_rng(0)).tolist() in (
        [[True, False], [False, True]],
        [[False, True], [True, False]],
    )


def test_pooling_uses_only_members_that_held_a_label_out() -> None:
    held = np.array([[True, False], [False, True], [True, False]])
    guesses = np.array([[1.0, 9.0], [9.0, 5.0], [3.0, 9.0]])
    assert average_held_out(guesses, held).tolist() == [2.0, 5.0]


def test_baselines_predict_what_they_have_not_seen() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 2, (60, 8)).astype(float)
    y = x @ np.arange(8.0)
    costs = np.stack([1.0 + x.sum(1), 20.0 - x.sum(1)], axis=1)
    held = split_folds(60, 5, 1, rng)
    even = np.ones(60)
    found = baselines_out_of_fold(x, costs, y, even, held, seed=0)
    assert sorted(found) == ["forest", "macs", "params", "ridge", "ridge-pairs"]
    assert rate_predictions(y, found["ridge"], rng).srcc > 0.99
    assert rate_predictions(y, found["forest"], rng).srcc > 0.7
    # A fitted line learns the sign: fewer MACs are better here.
    assert rate_predictions(y, found["macs"], rng).srcc > 0.5
    changed = y.copy()
    changed[held[0]] += 100.0
    again = baselines_out_of_fold(x, costs, changed, even, held, seed=0)["ridge"]
    np.testing.assert_array_equal(again[held[0]], found["ridge"][held[0]])


@pytest.mark.parametrize(
    ("asked", "gnn_noise", "ridge_noise", "chosen", "words"),
    [
        ("auto", 0.3, 2.0, "gnn", "ranks held-out labels best"),
        ("auto", 0.51, 0.5, "gnn", "ahead, but not beyond noise"),
        ("auto", 2.0, 0.2, "ridge", "beyond noise"),
        ("forest", 0.3, 2.0, "forest", "chosen by the user"),
    ],
)
def test_auto_is_the_gnn_unless_a_baseline_gains_beyond_noise(
    asked: str, gnn_noise: float, ridge_noise: float, chosen: str, words: str
) -> None:
    rng = np.random.default_rng(2)
    y, wrong = rng.normal(size=(2, 68))
    noise = {"gnn": gnn_noise, "ridge": ridge_noise, "ridge-pairs": 50.0, "forest": 50.0}
    guesses = {name: y + size * wrong for name, size in noise.items()}
    qualities = {name: rate_predictions(y, guess, rng) for name, guess in guesses.items()}
    kind, reason = choose_kind(asked, y, guesses, qualities, rng)  # type: ignore[arg-type]
    assert kind == chosen
    assert words in reason
    assert f"{qualities['gnn'].srcc:.2f}" in reason


def test_every_measure_has_an_interval_around_its_value() -> None:
    rng = np.random.default_rng(3)
    y = rng.normal(size=68)
    found = rate_predictions(y, y + rng.normal(size=68), rng)
    assert found.low < found.srcc < found.high
    assert set(found.intervals) == {"kendall", "ndcg_at_4", "top_4_regret"}
    for name, (low, high) in found.intervals.items():
        assert low <= getattr(found, name) <= high
        assert high - low > 0.05


def test_a_single_label_has_finite_measures() -> None:
    found = rate_predictions(np.array([1.0]), np.array([2.0]), np.random.default_rng(0))
    assert np.isfinite([found.srcc, found.kendall, found.ndcg_at_4, found.top_4_regret]).all()
