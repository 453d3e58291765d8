"""The built-in methods: what they learn, and what they know without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import sdsearch.ranker
from sdsearch.errors import InputError
from sdsearch.ranker.fit import fit_ranker
from sdsearch.ranker.published import PaperConfig, fit_paper, score_options
from sdsearch.ranker.training import RankerConfig
from sdsearch.replay import methods
from sdsearch.replay.methods import METHODS, default_methods, find_methods
from sdsearch.replay.replay import ReplayTask, find_method, fit_members, replay_once
from sdsearch.space.costs import add_up
from sdsearch.stats import spearman
from sdsearch.unet.cost import unet_cost
from tests.planted import planted_probe
from tests.replay.tables import ORACLE, SPACE, TRUTH, know, planted_labels, pool_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdsearch.unet.architecture import Architecture

PROBE = planted_probe(SPACE)
PROBED = {"autobuild-probe", "exhaustive-probe", "ridge-probe", "one-shot"}


def make_task(labelled: int = 20, count: int = 120, *, probed: bool = True) -> ReplayTask:
    archs = tuple(label.architecture for label in planted_labels(count))
    y = -np.log(TRUTH.fid(archs[:labelled]))
    return ReplayTask(SPACE, archs[:labelled], y, archs[labelled:], PROBE if probed else None)


def rank(name: str, task: ReplayTask, seed: int = 0) -> np.ndarray:
    return METHODS[name].rank(task, np.random.default_rng(seed))


def one_shot_of(arch: Architecture) -> float:
    """Minus the logarithm of the errors of its four options, each read off the probe."""
    errors = PROBE.option_errors(SPACE)
    digits = SPACE.option_indices(arch)
    return -np.log(sum(float(errors[unit][digits[unit]]) for unit in range(4)) + 1e-4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("one-shot", one_shot_of),
        ("most-macs", lambda arch: unet_cost(arch, SPACE.backbone).macs.total),
        ("most-params", lambda arch: unet_cost(arch, SPACE.backbone).params),
    ],
)
def test_a_method_without_labels_is_what_brute_force_says(
    name: str, value: Callable[[Architecture], float]
) -> None:
    task = make_task()
    np.testing.assert_allclose(rank(name, task), [value(arch) for arch in task.candidates])
    blind = ReplayTask(SPACE, (), np.zeros(0), task.candidates, PROBE)
    np.testing.assert_array_equal(rank(name, blind), rank(name, task))


def test_ridge_with_the_probe_is_that_of_a_fit() -> None:
    task = make_task(24)
    config = RankerConfig(kind="ridge-probe", width=4, steps=1, folds=3, repeats=1)
    rng = np.random.default_rng(0)
    fitted = fit_ranker(SPACE, task.labelled, list(task.y), config, rng, probe=PROBE)
    expected = fitted.predict(task.candidates, SPACE).mean(1)
    np.testing.assert_allclose(rank("ridge-probe", task), expected)
    assert not np.allclose(rank("ridge", task), expected)


def test_as_many_published_nets_are_averaged_as_ours_has(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []

    def count(*args: object) -> object:
        trained.append(fit_paper(*args))  # type: ignore[arg-type]
        return trained[-1]

    monkeypatch.setattr(methods, "PAPER_STEPS", 2)
    monkeypatch.setattr(sdsearch.ranker, "fit_paper", count)
    task = make_task(12)
    found = rank("autobuild-paper", task, seed=4)
    ours = fit_members(task, "gnn", steps=1).net
    assert ours is not None
    assert len(trained) == len(ours.centre) == 5
    rng, config = np.random.default_rng(4), PaperConfig(steps=2, learning_rate=methods.PAPER_RATE)
    nets = [fit_paper(task.labelled, task.y, rng, config) for _ in range(5)]
    sums = [add_up(score_options(net, SPACE))[task.indices] for net in nets]
    np.testing.assert_allclose(found, np.mean(sums, axis=0))
    assert np.std(sums, axis=0).max() > 0, "the nets have first weights of their own"


@pytest.mark.parametrize("kind", ["gnn", "gnn-probe"])
def test_one_kind_of_net_is_fitted_at_a_time(kind: str) -> None:
    fitted = fit_members(make_task(12), kind, steps=1)  # type: ignore[arg-type]
    assert (set(fitted.nets), fitted.kind, fitted.report.members) == ({kind}, kind, 5)


def test_methods_that_need_a_probe_are_left_out_without_one() -> None:
    assert set(default_methods(PROBE)) == set(METHODS)
    assert set(METHODS) - set(default_methods(None)) == PROBED


@pytest.mark.parametrize("name", sorted(PROBED))
def test_a_method_that_needs_a_probe_is_refused_by_name_without_one(name: str) -> None:
    assert list(find_methods(["ridge", name], PROBE)) == ["ridge", name]
    with pytest.raises(InputError, match=rf"^{name} must have a probe.* sdsearch probe STUDY"):
        find_methods(["ridge", name], None)
    with pytest.raises(InputError, match="sdsearch probe STUDY"):
        rank(name, make_task(probed=False))


def test_a_method_is_found_by_name_or_as_module_and_function() -> None:
    assert find_method("ridge", METHODS) is METHODS["ridge"]
    own = find_method("tests.replay.tables:know", METHODS)
    assert (own.rank.__name__, own.learns, own.probed) == (know.__name__, True, False)
    with pytest.raises(InputError, match="did you mean 'ridge'"):
        find_method("rigde", METHODS)
    with pytest.raises(InputError, match="must be importable"):
        find_method("tests.replay.tables:nobody", METHODS)
    with pytest.raises(InputError, match="is no function"):
        find_method("tests.replay.tables:SPACE", METHODS)


@pytest.mark.parametrize(("name", "lowest"), [("ridge", 0.6), ("forest", 0.35), ("evolution", 0.1)])
def test_a_quick_method_orders_the_candidates_by_what_it_has_seen(name: str, lowest: float) -> None:
    pool = pool_of(planted_labels(120))
    srcc = [
        next(replay_once(pool, {name: METHODS[name]}, [None], 68, (0, number))).srcc
        for number in range(6)
    ]
    assert np.mean(srcc) > lowest


def test_random_orders_by_nothing() -> None:
    task = make_task()
    sizes = rank("most-params", task)
    drawn = [rank("random", task, seed) for seed in range(20)]
    assert abs(np.mean([spearman(values, sizes) for values in drawn])) < 0.1


def test_only_methods_that_learn_have_paid_for_their_labels() -> None:
    pool = pool_of(planted_labels())
    learns = {name for name, method in METHODS.items() if method.learns}
    assert set(METHODS) - learns == {"one-shot", "most-macs", "most-params", "random"}
    blind = {"oracle": methods.Method(know, learns=False)}
    assert next(replay_once(pool, blind, [None], 20, (0, 0))).needed == 1
    assert next(replay_once(pool, {"oracle": ORACLE}, [None], 20, (0, 0))).needed == 21


@pytest.mark.slow
def test_the_gnn_methods_rank_planted_candidates_well() -> None:
    task = make_task(68)
    truth = -np.log(TRUTH.fid(task.candidates))
    least = {"autobuild": 0.7, "exhaustive": 0.7, "autobuild-paper": 0.0}
    least |= {"autobuild-probe": 0.6, "exhaustive-probe": 0.6}  # this probe knows nothing of it
    for name, lowest in least.items():
        assert spearman(rank(name, task), truth) > lowest, name
