from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.torch
import torch

from sdsearch.errors import InputError
from sdsearch.keys import with_seal, without_seal
from sdsearch.ranker.file import load_ranker, save_ranker
from sdsearch.ranker.fit import fit_ranker, label_weights
from sdsearch.ranker.training import RankerConfig, training_rows
from sdsearch.ranker.validation import split_folds
from sdsearch.space.space import search_space
from tests.planted import SMALL, PlantedTruth, small_fit

if TYPE_CHECKING:
    from pathlib import Path

SPACE = search_space("tiny")
QUICK = SMALL.model_copy(update={"steps": 3})


def test_the_report_holds_every_predictor_and_hop_measured_out_of_fold() -> None:
    report = small_fit().report
    assert sorted(report.predictors) == ["forest", "gnn", "macs", "params", "ridge", "ridge-pairs"]
    assert len(report.hops) == SMALL.hops + 1
    assert (report.labels, report.failed, report.members) == (24, 1, 3)
    assert report.predictors["gnn"].low <= report.predictors["gnn"].srcc
    assert type(report).model_validate_json(report.model_dump_json()) == report


def test_training_learns_the_order_of_its_labels() -> None:
    rng = np.random.default_rng(5)
    archs, truth = SPACE.sample(24, rng), PlantedTruth.draw(rng)
    y = truth.labels(archs, rng)
    fitted = fit_ranker(SPACE, archs, y, SMALL, rng)
    guess = fitted.predict(archs, SPACE).mean(1)
    assert np.corrcoef(guess, y)[0, 1] > 0.9
    assert abs(guess.mean() - np.mean(y)) < np.std(y)


def test_a_failed_architecture_counts_as_the_worst() -> None:
    rng = np.random.default_rng(0)
    archs = SPACE.sample(6, rng)
    seen = [
        fit_ranker(SPACE, archs, [1.0, 2.0, 3.0, 4.0, 5.0, last], QUICK, np.random.default_rng(2))
        for last in (None, 1.0)
    ]
    assert seen[0].report.failed == 1
    np.testing.assert_array_equal(*(one.predict(archs, SPACE) for one in seen))


def test_the_same_seed_gives_the_same_fit_and_another_does_not() -> None:
    archs = SPACE.sample(8, np.random.default_rng(3))
    y = [float(i) for i in range(8)]
    first, second, other = (
        fit_ranker(SPACE, archs, y, QUICK, np.random.default_rng(seed)).predict(archs, SPACE)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_noisy_labels_weigh_less_and_unknown_errors_like_the_median() -> None:
    y = np.array([0.0, 1.0, 2.0, 3.0])
    assert label_weights(y, []).tolist() == [1.0] * 4
    assert label_weights(y, [None] * 4).tolist() == [1.0] * 4
    weight = label_weights(y, [0.1, 0.5, None, 2.0])
    assert weight.mean() == pytest.approx(1.0)
    assert weight[0] > weight[1] > weight[3] > 0
    assert weight[2] == pytest.approx(weight[1])
    tiny = label_weights(y, [1e-9, 1e-6, 1e-9, 1e-9])
    assert np.ptp(tiny) < 1e-3  # far below the spread of the labels


def test_a_label_of_great_error_moves_the_fit_less() -> None:
    archs = SPACE.sample(12, np.random.default_rng(6))
    y: list[float | None] = [float(i % 4) for i in range(12)]
    wrong = [*y[:-1], 50.0]

    def moved(errors: list[float | None]) -> float:
        fits = [
            fit_ranker(SPACE, archs, values, QUICK, np.random.default_rng(0), errors)
            for values in (y, wrong)
        ]
        guesses = [fit.baselines["ridge"].predict(np.eye(46)) for fit in fits]
        return float(np.abs(guesses[1] - guesses[0]).mean())

    assert moved([0.1] * 11 + [100.0]) < 0.5 * moved([0.1] * 12)


@pytest.mark.parametrize("correlation", ["spearman", "pearson"])
@pytest.mark.parametrize("y", [[1.0], [1.0, 2.0], [1.0, 1.0], [3.0] * 7])
def test_few_or_constant_labels_never_give_nan(correlation: str, y: list[float]) -> None:
    archs = SPACE.sample(len(y), np.random.default_rng(4))
    config = QUICK.model_copy(update={"correlation": correlation})
    fitted = fit_ranker(SPACE, archs, y, config, np.random.default_rng(0))
    assert np.isfinite(fitted.predict(archs, SPACE)).all()
    assert all(
        bool(torch.isfinite(value).all())
        for value in fitted.nets["gnn"].ranker.state_dict().values()
    )
    assert np.isfinite([one.srcc for one in fitted.report.hops]).all()


@pytest.mark.slow
@pytest.mark.parametrize(("strength", "chosen"), [(0.0, "ridge"), (2.0, "gnn")])
def test_auto_takes_ridge_on_an_additive_truth_and_the_gnn_under_level_interactions(
    strength: float, chosen: str
) -> None:
    rng = np.random.default_rng(100)
    truth, archs = PlantedTruth.with_level_interactions(rng, strength), SPACE.sample(68, rng)
    report = fit_ranker(SPACE, archs, truth.labels(archs, rng), RankerConfig(), rng).report
    assert report.kind == chosen, report.reason
    gnn, ridge = report.predictors["gnn"].srcc, report.predictors["ridge"].srcc
    assert (gnn > ridge) == (chosen == "gnn")
    assert gnn > 0.8


@pytest.mark.parametrize("kind", ["gnn", "ridge", "ridge-pairs", "forest"])
def test_saving_and_loading_is_bit_exact(kind: str, tmp_path: Path) -> None:
    fitted = small_fit(kind)
    assert fitted.kind == kind
    save_ranker(fitted, tmp_path)
    loaded = load_ranker(tmp_path)
    archs = SPACE.sample(5, np.random.default_rng(6))
    np.testing.assert_array_equal(loaded.predict(archs, SPACE), fitted.predict(archs, SPACE))
    assert (loaded.report, loaded.config, loaded.layout) == (
        fitted.report,
        fitted.config,
        fitted.layout,
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ranker.json", "ranker.safetensors"]


def test_loading_is_strict(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sdsearch fit"):
        load_ranker(tmp_path)
    save_ranker(small_fit(), tmp_path)
    file = tmp_path / "ranker.safetensors"
    tensors = safetensors.torch.load_file(file)
    safetensors.torch.save_file(tensors | {"extra": torch.ones(1)}, file)
    with pytest.raises(InputError, match="extra"):
        load_ranker(tmp_path)
    safetensors.torch.save_file({k: v for k, v in tensors.items() if k != "gnn.centre"}, file)
    with pytest.raises(InputError, match=r"gnn\.centre"):
        load_ranker(tmp_path)
    save_ranker(small_fit(), tmp_path)
    described = json.loads((tmp_path / "ranker.json").read_text(encoding="utf-8"))
    assert described["schema"] == 3
    described = without_seal(described)
    described["config"]["width"] = 9
    (tmp_path / "ranker.json").write_text(json.dumps(with_seal(described)), encoding="utf-8")
    with pytest.raises(InputError, match="size mismatch"):
        load_ranker(tmp_path)


def test_training_rows_hold_no_held_out_label_and_are_equally_long() -> None:
    rng = np.random.default_rng(7)
    held = split_folds(23, 5, 2, rng)
    rows = training_rows(held, rng)
    assert rows.shape == (10, 19)
    for out, row in zip(held, rows.numpy(), strict=True):
        assert set(row) == set(np.flatnonzero(~out))


def test_labels_that_cannot_be_fitted_are_refused_in_words() -> None:
    archs = SPACE.sample(2, np.random.default_rng(0))
    for y in ([None, None], [1.0]):
        with pytest.raises(InputError, match="sdsearch label"):
            fit_ranker(SPACE, archs, y, RankerConfig(), np.random.default_rng(0))
    with pytest.raises(InputError, match="distinct"):
        fit_ranker(SPACE, [archs[0]] * 2, [1, 2], RankerConfig(), np.random.default_rng(0))
    with pytest.raises(InputError, match="finite"):
        fit_ranker(SPACE, archs, [1.0, float("nan")], RankerConfig(), np.random.default_rng(0))
