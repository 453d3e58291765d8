"""Predictors that know a probe: exact over the space, and better with few labels."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from sdsearch.errors import InputError
from sdsearch.ranker.features import REMOVAL_ERROR, FeatureLayout, encode_all
from sdsearch.ranker.file import load_ranker, save_ranker
from sdsearch.ranker.fit import FittedRanker, errors_of, fit_ranker, rank_by_probe
from sdsearch.ranker.scoring import score_space, score_units
from sdsearch.ranker.training import RankerConfig
from sdsearch.space.space import search_space
from sdsearch.stats import spearman
from tests.planted import SMALL, PlantedTruth, planted_probe

SPACE = search_space("sd14-blocks", search_space("tiny").backbone)
PROBE = planted_probe(SPACE)
KINDS = ("gnn-probe", "ridge-probe", "one-shot")


@cache
def fit(kind="auto", labels=16) -> FittedRanker:
    rng = np.random.default_rng(3)
    archs = SPACE.sample(labels, rng)
    truth = -errors_of(archs, SPACE, PROBE.option_errors(SPACE))
    y = list(truth + 0.1 * rng.normal(size=labels))
    config = SMALL.model_copy(update={"kind": kind})
    return fit_ranker(SPACE, archs, y, config, np.random.default_rng(1), probe=PROBE)


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_space_is_scored_as_its_members_are_predicted(kind):
    fitted = fit(kind)
    assert fitted.kind == kind
    numbers = np.random.default_rng(1).choice(len(SPACE), 64, replace=False)
    dense = fitted.predict([SPACE.arch(int(i)) for i in numbers], SPACE)
    scored = score_space(fitted, SPACE)
    np.testing.assert_allclose(scored.predicted[numbers], dense.mean(1), atol=1e-5)
    cube = scored.predicted.reshape(SPACE.radices).astype(np.float64)
    for axis, marginal in enumerate(scored.marginals):
        others = tuple(i for i in range(4) if i != axis)
        np.testing.assert_allclose(marginal.mean(1), cube.mean(axis=others), atol=1e-5)
    assert score_units(fitted, SPACE, scored).kind == kind


@pytest.mark.parametrize("kind", ["auto", *KINDS])
def test_a_fit_with_a_probe_is_saved_and_read_bit_for_bit(kind, tmp_path):
    fitted = fit(kind)
    save_ranker(fitted, tmp_path)
    loaded = load_ranker(tmp_path)
    np.testing.assert_array_equal(
        score_space(loaded, SPACE).predicted, score_space(fitted, SPACE).predicted
    )
    assert loaded.report == fitted.report


def test_the_report_rates_every_predictor_with_the_probe_beside_those_without():
    found = fit().report.predictors
    assert {*KINDS, "gnn", "ridge", "macs", "params"} <= found.keys()
    assert found["ridge-probe"].srcc > found["ridge"].srcc
    assert found["one-shot"].srcc > 0.9


def test_labels_give_one_shot_its_scale_and_never_its_order():
    errors = PROBE.option_errors(SPACE)
    archs = SPACE.sample(12, np.random.default_rng(0))
    config = SMALL.model_copy(update={"kind": "one-shot"})
    for y in (np.arange(12.0), -np.arange(12.0)):
        fitted = fit_ranker(SPACE, archs, list(y), config, np.random.default_rng(1), probe=PROBE)
        guess = fitted.predict(archs, SPACE)[:, 0]
        assert spearman(guess, -errors_of(archs, SPACE, errors)) == 1.0
        assert (guess.mean(), guess.std()) == pytest.approx((y.mean(), y.std()))


@pytest.mark.parametrize("kind", ["auto", "ridge-probe"])
@pytest.mark.parametrize("y", [[1.0], [1.0, 2.0], [2.0] * 4])
def test_labels_that_have_no_order_leave_the_probes_order(kind, y):
    archs = SPACE.sample(len(y), np.random.default_rng(0))
    config = SMALL.model_copy(update={"kind": kind, "steps": 3})
    fitted = fit_ranker(SPACE, archs, y, config, np.random.default_rng(1), probe=PROBE)
    some = SPACE.sample(40, np.random.default_rng(2))
    truth = -errors_of(some, SPACE, PROBE.option_errors(SPACE))
    assert spearman(fitted.predict(some, SPACE)[:, 0], truth) == 1.0


def test_few_labels_are_no_reason_to_leave_the_probes_order():
    assert (fit(labels=7).kind, fit(labels=8).kind) == ("one-shot", "ridge-probe")
    assert "too few" in fit(labels=7).report.reason


def test_without_labels_the_probe_ranks_alone():
    fitted = rank_by_probe(SPACE, PROBE, RankerConfig())
    assert (fitted.kind, fitted.report.labels) == ("one-shot", 0)
    scored = score_space(fitted, SPACE)
    whole = -errors_of([SPACE.arch(i) for i in range(50)], SPACE, PROBE.option_errors(SPACE))
    np.testing.assert_allclose(scored.predicted[:50], whole, rtol=1e-5)
    with pytest.raises(InputError, match="learns from labels"):
        rank_by_probe(SPACE, PROBE, RankerConfig(kind="ridge"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_needs_a_probe_is_refused_without_one(kind):
    rng = np.random.default_rng(0)
    archs, config = SPACE.sample(6, rng), SMALL.model_copy(update={"kind": kind})
    with pytest.raises(InputError, match="sdsearch probe"):
        fit_ranker(SPACE, archs, PlantedTruth.draw(rng).labels(archs, rng), config, rng)


def test_a_net_that_is_fitted_alone_is_the_one_among_all_predictors() -> None:
    rng = np.random.default_rng(0)
    archs = SPACE.sample(12, rng)
    y = PlantedTruth.draw(rng).labels(archs, rng)
    config = SMALL.model_copy(update={"kind": "gnn-probe"})
    among = fit_ranker(SPACE, archs, y, config, np.random.default_rng(1), probe=PROBE)
    config = config.model_copy(update={"baselines": False})
    alone = fit_ranker(SPACE, archs, y, config, np.random.default_rng(1), probe=PROBE)
    assert (set(alone.nets), alone.baselines) == ({"gnn-probe"}, {})
    np.testing.assert_array_equal(alone.predict(archs, SPACE), among.predict(archs, SPACE))
    assert [hop.srcc for hop in alone.report.hops] == [hop.srcc for hop in among.report.hops]
    with pytest.raises(InputError, match="sdsearch probe"):
        fit_ranker(SPACE, archs, y, config, np.random.default_rng(1))


def test_only_a_net_is_fitted_without_baselines() -> None:
    with pytest.raises(ValueError, match="kind must be one of gnn, gnn-probe, but is 'ridge'"):
        RankerConfig(kind="ridge", baselines=False)


def test_a_fit_with_a_probe_is_not_scored_in_another_space():
    with pytest.raises(InputError, match="space of the probe"):
        score_space(fit(), search_space("tiny"))


def test_a_layout_without_a_probe_has_the_columns_that_it_had():
    archs = SPACE.sample(3, np.random.default_rng(0))
    plain = FeatureLayout.for_space(SPACE)
    probed = FeatureLayout.for_space(SPACE, PROBE.slot_errors(SPACE))
    assert probed.columns == (*plain.columns, REMOVAL_ERROR)
    one, other = (encode_all(archs, SPACE.backbone, layout) for layout in (plain, probed))
    np.testing.assert_array_equal(one.continuous, other.continuous[..., :-1])
    gone = other.categorical[..., 3] == 0
    errors = other.continuous[..., -1]
    assert (errors[~gone] == 0).all()
    assert (errors[gone] > 0).any()
