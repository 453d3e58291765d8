import numpy as np
import pytest

from sdsearch.validation import (
    Quality,
    baselines_out_of_fold,
    choose_kind,
    measure,
    pool,
    split_folds,
)


def quality(srcc: float) -> Quality:
    return Quality(
        srcc=srcc, low=srcc - 0.1, high=srcc + 0.1, kendall=0, ndcg_at_4=1, top_4_regret=0
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
    assert pool(guesses, held).tolist() == [2.0, 5.0]


def test_baselines_predict_what_they_have_not_seen() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 2, (60, 8)).astype(float)
    y = x @ np.arange(8.0)
    costs = np.stack([1.0 + x.sum(1), 20.0 - x.sum(1)], axis=1)
    held = split_folds(60, 5, 1, rng)
    found = baselines_out_of_fold(x, costs, y, held, seed=0)
    assert sorted(found) == ["forest", "macs", "params", "ridge"]
    assert measure(y, found["ridge"], rng).srcc > 0.99
    assert measure(y, found["forest"], rng).srcc > 0.7
    # A fitted line learns the sign: fewer MACs are better here.
    assert measure(y, found["macs"], rng).srcc > 0.5
    changed = y.copy()
    changed[held[0]] += 100.0
    again = baselines_out_of_fold(x, costs, changed, held, seed=0)["ridge"]
    np.testing.assert_array_equal(again[held[0]], found["ridge"][held[0]])


@pytest.mark.parametrize(
    ("asked", "gnn", "ridge", "chosen", "words"),
    [
        ("auto", 0.8, 0.7, "gnn", "ranks held-out labels best"),
        ("auto", 0.8, 0.85, "gnn", "within the GNN's interval"),
        ("auto", 0.7, 0.85, "ridge", "better than the GNN's interval"),
        ("forest", 0.8, 0.7, "forest", "chosen by the user"),
    ],
)
def test_auto_is_the_gnn_unless_a_baseline_beats_its_interval(
    asked: str, gnn: float, ridge: float, chosen: str, words: str
) -> None:
    kind, reason = choose_kind(
        asked, {"gnn": quality(gnn), "ridge": quality(ridge), "forest": quality(0.1)}
    )
    assert kind == chosen
    assert words in reason
    assert f"{gnn:.2f}" in reason
