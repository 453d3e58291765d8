"""Who is labelled, who may be picked, and what a budget admits."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sdsearch.assets import TINY_PROBE, TINY_TABLE, asset_path
from sdsearch.design.probe import read_probe
from sdsearch.errors import InputError
from sdsearch.labels.label import Failure, Latency
from sdsearch.labels.store import read_label_table
from sdsearch.replay.pool import BudgetShare, check_replay, mean_overlap
from sdsearch.replay.replay import Method, ReplayTask, replay_once
from sdsearch.space.meter import Meter
from sdsearch.unet.architecture import UNPRUNED
from sdsearch.unet.cost import unet_cost
from tests.fakes import make_label, measured
from tests.replay.tables import ORACLE, SPACE, TRUTH, planted_labels, pool_of

if TYPE_CHECKING:
    from sdsearch.labels.label import Label
    from sdsearch.replay.pool import Limited

OTHER = Latency(median=1.0, iqr=0.1, device="another")
LABELS = [label for label in read_label_table(asset_path(TINY_TABLE)) if label.seed == 0]
TINY = pool_of(LABELS)
UNIFORM = {arch.key for arch in SPACE.sample(256, np.random.default_rng(0))}


def timed() -> list[Label]:
    """The world's labels as if one device had timed them: a millisecond for each million MACs."""
    return [
        label.model_copy(
            update={
                "values": label.values
                | {"latency_ms": OTHER.model_copy(update={"median": label.scalar("macs") / 1e6})}
            }
        )
        for label in LABELS
    ]


def test_a_worlds_labels_are_drawn_from_its_uniform_members_alone() -> None:
    drawn = {TINY.architectures[i].key for i in np.flatnonzero(TINY.drawn)}
    assert drawn == UNIFORM
    draws = [TINY.draw(32, (0, number)) for number in range(80)]
    for draw in draws:
        assert len({TINY.architectures[i].key for i in draw} & UNIFORM) == 32
    assert {TINY.architectures[i].key for draw in draws for i in draw} == UNIFORM


def test_a_table_without_the_default_sample_is_drawn_from_whole_but_for_the_teacher() -> None:
    pool = pool_of([*planted_labels(), measured(UNPRUNED, 20.0)])
    assert pool.source == "all rows but the teacher's"
    np.testing.assert_array_equal(pool.drawn, [True] * 60 + [False])
    missing_one = [label for label in LABELS if label.arch_key != min(UNIFORM)]
    less = pool_of(missing_one)
    assert less.drawn.sum() == len(less.y) - 1 == len(TINY.y) - 2


def test_fewer_labels_of_a_seed_are_the_first_of_more() -> None:
    np.testing.assert_array_equal(TINY.draw(8, (3, 1)), TINY.draw(32, (3, 1))[:8])
    assert set(TINY.draw(32, (3, 1))) != set(TINY.draw(32, (3, 2)))


def test_the_teacher_is_neither_labelled_nor_a_candidate_but_all_others_are() -> None:
    tasks: list[ReplayTask] = []

    def look(task: ReplayTask, rng: np.random.Generator) -> np.ndarray:
        tasks.append(task)
        return np.zeros(len(task.candidates))

    for number in range(5):
        list(replay_once(TINY, {"look": Method(look)}, [None], 32, (0, number)))
    for task in tasks:
        labelled = {arch.key for arch in task.labelled}
        candidates = {arch.key for arch in task.candidates}
        assert UNPRUNED.key not in labelled | candidates
        assert labelled | candidates == {label.arch_key for label in LABELS} - {UNPRUNED.key}
        assert not labelled & candidates


def test_nobody_gets_the_teachers_quality_for_a_pick() -> None:
    labels = [*planted_labels(), measured(UNPRUNED, 1.0)]
    (trial,) = replay_once(pool_of(labels), {"oracle": ORACLE}, [None], 20, (0, 0))
    assert trial.best > 1.0
    assert trial.regret == 0.0


@pytest.mark.parametrize(("resource", "share"), [("macs", 0.7), ("macs", 0.6), ("params", 0.6)])
def test_a_budget_admits_what_a_study_with_it_admits(resource: Limited, share: float) -> None:
    costs = Meter(SPACE).whole(resource)  # of all members, as sums over units
    limit = share * costs[SPACE.index(UNPRUNED)]
    within = {x.arch_key for x in LABELS if costs[SPACE.index(x.architecture)] <= limit}
    allowed = TINY.allowed(BudgetShare(resource, share))
    found = {arch.key for arch, fits in zip(TINY.architectures, allowed, strict=True) if fits}
    assert found == within
    assert 30 < len(found) < len(LABELS) - 30


def test_under_a_budget_of_macs_the_best_four_are_those_of_brute_force() -> None:
    labels, budget = planted_labels(), BudgetShare("macs", 0.75)
    pool = pool_of(labels)
    (trial,) = replay_once(pool, {"oracle": ORACLE}, [budget], 20, (0, 0))
    labelled = {pool.architectures[i].key for i in pool.draw(20, (0, 0))}
    limit = 0.75 * unet_cost(UNPRUNED, SPACE.backbone).macs.total
    values = sorted(
        label.scalar("fd_efflite0")
        for label in labels
        if label.arch_key not in labelled and label.scalar("macs") <= limit
    )
    assert trial.mean == pytest.approx(np.mean(values[:4]))
    assert trial.mean > np.mean(sorted(TRUTH.fid(pool.architectures))[:4])


def test_a_budget_of_latency_is_of_the_labels_own_times() -> None:
    labels = timed()
    teacher = next(label for label in labels if label.arch_key == UNPRUNED.key)
    limit = 0.7 * teacher.scalar("latency_ms")
    within = {label.arch_key for label in labels if label.scalar("latency_ms") <= limit}
    pool = pool_of(labels)
    allowed = pool.allowed(BudgetShare("latency_ms", 0.7))
    found = {arch.key for arch, fits in zip(pool.architectures, allowed, strict=True) if fits}
    assert found == within
    assert 30 < len(found) < len(LABELS) - 30


def test_a_failed_label_has_no_time_and_fits_no_budget_of_latency() -> None:
    failed = make_label(
        SPACE.arch(7),
        protocol_key=LABELS[0].protocol_key,
        failure=Failure(kind="architecture", message="NaN"),
    )
    allowed = pool_of([*timed(), failed]).allowed(BudgetShare("latency_ms", 1.0))
    assert not allowed[-1]
    assert allowed[:-1].any()


def test_latency_is_no_budget_where_devices_differ_or_nothing_was_timed() -> None:
    first, *rest = timed()
    elsewhere = OTHER.model_copy(update={"device": "a third"})
    moved = first.model_copy(update={"values": {**first.values, "latency_ms": elsewhere}})
    for labels in ([moved, *rest], planted_labels()):
        with pytest.raises(InputError, match="timed alike"):
            check_replay(pool_of(labels), (BudgetShare("latency_ms", 0.7),), 20)


@pytest.mark.parametrize("share", [0.0, -0.1, 60.0, float("nan")])
def test_a_budget_is_a_share(share: float) -> None:
    with pytest.raises(InputError, match=r"0 < share <= 1"):
        BudgetShare("macs", share)


def test_a_budget_that_leaves_no_candidates_is_refused() -> None:
    pool = pool_of(planted_labels())
    with pytest.raises(InputError, match=r"take fewer labels or a larger share"):
        check_replay(pool, (BudgetShare("params", 0.3),), 20)
    with pytest.raises(InputError, match="needs 8 candidates"):
        check_replay(pool, (None,), 57)


def test_no_more_labels_are_drawn_than_there_are_uniform_members() -> None:
    check_replay(TINY, (None,), 256)
    with pytest.raises(InputError, match="the uniform members of a world, 256 architectures"):
        check_replay(TINY, (None,), 257)


def test_a_table_of_few_labels_is_refused() -> None:
    with pytest.raises(InputError, match="needs 20 measured architectures"):
        pool_of(planted_labels(19))


def test_other_seeds_and_protocols_are_left_out() -> None:
    labels = planted_labels()
    other = labels[0].model_copy(update={"protocol_key": "0" * 12})
    reseeded = labels[1].model_copy(update={"seed": 1})
    assert len(pool_of([*labels, other, reseeded]).y) == 60


def test_a_failed_label_counts_as_the_worst() -> None:
    labels = planted_labels()
    failed = make_label(
        SPACE.arch(7),
        protocol_key=labels[0].protocol_key,
        failure=Failure(kind="architecture", message="NaN"),
    )
    pool = pool_of([*labels, failed])
    assert pool.y[-1] == pool.y[:-1].min()
    assert pool.quality[-1] == pool.quality[:-1].max()


def test_a_probe_of_another_space_is_refused() -> None:
    probe = read_probe(asset_path(TINY_PROBE))
    assert probe is not None
    with pytest.raises(InputError, match="a probe must be of space 'tiny'"):
        pool_of(LABELS, probe.model_copy(update={"space": "sd14"}))
    assert pool_of(LABELS, probe).probe == probe


def test_the_overlap_is_the_share_of_labels_that_pairs_of_draws_have_in_common() -> None:
    draws = [TINY.draw(32, (0, number)) for number in range(20)]
    common = [len({*one} & {*other}) / 32 for one, other in combinations(map(set, draws), 2)]
    assert mean_overlap(draws) == pytest.approx(np.mean(common))
    assert mean_overlap(draws) == pytest.approx(32 / 256, abs=0.03)  # what chance gives
    assert mean_overlap(draws[:1]) == 1.0
