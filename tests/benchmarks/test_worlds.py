"""The comparison's verdicts and the gate's dead weight, on planted values."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.worlds.campaign import Campaign
from benchmarks.worlds.choose import Chosen
from benchmarks.worlds.compare import compare
from benchmarks.worlds.gate import count_near, count_near_first, find_dead_weight
from benchmarks.worlds.poster import poster_table, world_rows
from benchmarks.worlds.replays import count_draws, pool_of_members
from benchmarks.worlds.results import Results, group_designs
from benchmarks.worlds.studies import SEEDS, WORLDS, draw_members
from sdsearch.labels.label import Failure
from sdsearch.labels.store import read_label_table, write_label_table
from sdsearch.replay.world import DRAW
from sdsearch.space.meter import Meter
from sdsearch.space.space import search_space
from sdsearch.unet.architecture import UNPRUNED
from tests.fakes import make_label
from tests.planted import planted_probe
from tests.unets import random_members

BUDGET, COLUMN, DRAWS = "macs 60 %", "fd_efflite0", 8
ARCHS = random_members(2 * DRAWS, seed=5, space="tiny")


def results(own: list[float], other: list[float]) -> Results:
    """One design a draw of each method, with these distances; the teacher has 100."""
    values = {arch.key: value for arch, value in zip(ARCHS, [*own, *other], strict=True)}
    labels = {
        (arch.key, seed): make_label(arch, seed=seed, fd_efflite0={"value": value, "n": 96})
        for arch, value in [(UNPRUNED, 100.0), *((arch, values[arch.key]) for arch in ARCHS)]
        for seed in SEEDS
    }
    chosen = {
        (BUDGET, "autobuild"): {draw: [ARCHS[draw].key] for draw in range(DRAWS)},
        (BUDGET, "exhaustive"): {draw: [ARCHS[DRAWS + draw].key] for draw in range(DRAWS)},
        (BUDGET, "one-shot"): {0: [ARCHS[DRAWS].key]},
    }
    return Results(WORLDS["words-16"], chosen, labels)


@pytest.mark.parametrize(
    ("shift", "spread", "word"),
    [
        (-10.0, 0.1, "better"),
        (10.0, 0.1, "worse"),
        (0.0, 0.1, "as good as"),
        (-0.5, 0.1, "better, as good as"),
        (0.0, 20.0, "undecided"),
    ],
)
def test_a_word_of_the_comparison_follows_from_its_interval(shift, spread, word):
    noise = np.random.default_rng(0).normal(0, spread, DRAWS)
    noise -= noise.mean()
    found = compare(
        results(list(150 + shift + noise), [150.0] * DRAWS), BUDGET, "exhaustive", COLUMN
    )
    assert found.mean == pytest.approx(shift / 100)
    assert found.word == word
    # Student's quantile of 7 degrees of freedom at 98.75 %, from a table.
    half = 3.335 * noise.std(ddof=1) / 100 / np.sqrt(DRAWS)
    assert found.high - found.mean == pytest.approx(half, rel=2e-3)


def test_a_rival_without_labels_is_the_same_in_every_draw():
    found = results([150.0] * DRAWS, [140.0] * DRAWS)
    assert compare(found, BUDGET, "one-shot", COLUMN).mean == pytest.approx(0.1)


def test_what_was_not_measured_has_no_verdict():
    found = results([150.0] * DRAWS, [140.0] * DRAWS)
    (key, *_), labels = (arch.key for arch in ARCHS), dict(found.labels)
    del labels[key, SEEDS[-1]]
    gone = Results(found.world, found.chosen, labels)
    assert compare(gone, BUDGET, "exhaustive", COLUMN).word == "not measured"


def test_dead_weight_is_all_that_changes_nothing_whole_levels_included():
    space = search_space("tiny")
    probe = planted_probe(space)
    inner = ("down.2", "down.3", "mid", "up.0", "up.1")
    dead = {slot for slot in UNPRUNED.kept_slots if slot.startswith(inner)}

    def change(arch):
        return float(not UNPRUNED.kept_slots - arch.kept_slots <= dead)

    removals = tuple(
        one.model_copy(update={"errors": (float(not set(one.lost) <= dead),) * len(one.errors)})
        for one in probe.removals
    )
    times = dict.fromkeys(probe.milliseconds, 1.0)
    planted = probe.model_copy(update={"removals": removals, "milliseconds": times})
    found = find_dead_weight(Meter(space), planted, change)
    least = min(
        (arch for arch in all_but_levels_0_and_1(space) if change(arch) == 0.0),
        key=lambda arch: Meter(space).member(arch)["params"],
    )
    whole = Meter(space).member(UNPRUNED)["params"]
    assert found["params"] == pytest.approx(1 - Meter(space).member(least)["params"] / whole)


def all_but_levels_0_and_1(space):
    """Every member that is whole at levels 0 and 1."""
    home = np.array(space.option_indices(UNPRUNED))
    for level2 in range(space.radices[2]):
        for bottom in range(space.radices[3]):
            digits = np.array([[home[0], home[1], level2, bottom]])
            yield space.arch(int(space.indices(digits)[0]))


def test_draws_of_members_are_disjoint():
    members = [arch.key for arch in draw_members()]
    assert len(set(members)) == len(members) == 256


def blocked(arch, value, blocks, column="lpips_like_efflite0"):
    """A label with a value and what it is without each block of scenes."""
    measured = {"value": value, "n": 96, "se": 5.0, "blocks": list(blocks)}
    return make_label(arch, **{column: measured, "fd_efflite0": measured})


def test_the_gates_noise_is_that_of_a_difference_not_of_the_scenes():
    scenes = np.array([3.0, -3.0, 2.0, -2.0, 1.0, -1.0, 0.5, -0.5])
    steady, shaky = ARCHS[0], ARCHS[1]
    labels = {
        UNPRUNED.key: blocked(UNPRUNED, 100.0, 100 + scenes),
        steady.key: blocked(steady, 102.0, 102 + scenes),  # worse by 2 in every block
        shaky.key: blocked(shaky, 102.0, 102 - scenes),
    }
    assert count_near(labels, [steady, shaky], "lpips_like_efflite0") == 1
    assert count_near_first(labels, [steady, shaky]) == 2
    assert count_near(labels, [steady, ARCHS[2]], "lpips_like_efflite0") is None


def test_the_posters_table_has_means_and_bests_over_draws():
    members = draw_members()
    drawn = {arch.key: 500.0 + at % DRAW + at // DRAW for at, arch in enumerate(members)}
    found = results([150.0 + draw for draw in range(DRAWS)], [160.0] * DRAWS)
    labels = {
        (arch.key, 0): make_label(arch, fd_efflite0={"value": drawn[arch.key], "n": 96})
        for arch in members
    }
    rows = world_rows(Results(found.world, found.chosen, {**labels, **found.labels}), BUDGET, 1.0)
    np.testing.assert_allclose(rows["drawn, best"], 500.0 + np.arange(8))
    np.testing.assert_allclose(rows["drawn, mean"], 515.5 + np.arange(8))
    np.testing.assert_allclose(rows["autobuild, mean of 4"], 150.0 + np.arange(8))
    np.testing.assert_allclose(rows["exhaustive, best"], 160.0)
    assert rows["one-shot, best"].shape == (1,)
    np.testing.assert_allclose(rows["teacher"], 100.0)
    text = poster_table([Results(found.world, found.chosen, labels | found.labels)], BUDGET, 1.0)
    # Student's quantile of 7 degrees of freedom at 97.5 %, from a table; sd of 0 to 7.
    half = 2.3646 * np.std(np.arange(8), ddof=1) / np.sqrt(8)
    assert f"| autobuild, mean of 4 | 153.5 ± {half:.2g} | 10.13 |" in text
    assert "| teacher | 100 |" in text


def test_a_replay_of_a_world_knows_only_what_was_drawn_and_measured():
    assert (count_draws("words-16"), count_draws("fill-16")) == (8, 8)
    pool = pool_of_members("words-16")
    keys = {arch.key for arch in draw_members()}
    assert {arch.key for arch in pool.architectures} == keys | {UNPRUNED.key}


def chosen(method, draw, rank, arch):
    return Chosen(
        world="words-16",
        budget=BUDGET,
        method=method,
        draw=draw,
        rank=rank,
        arch_key=arch.key,
        architecture=arch,
    )


def all_chosen():
    """Four designs of two draws of a method that learns, and of one that does not."""
    designs = [
        chosen("autobuild", d, r, ARCHS[4 * d + r - 1]) for d in (0, 1) for r in (4, 2, 1, 3)
    ]
    return designs + [chosen("one-shot", 0, r, ARCHS[8 + r - 1]) for r in (1, 2, 3, 4)]


def test_designs_are_grouped_by_draw_best_first():
    found = group_designs(all_chosen())
    assert found[BUDGET, "autobuild"][1] == [arch.key for arch in ARCHS[4:8]]
    assert found[BUDGET, "one-shot"] == {0: [arch.key for arch in ARCHS[8:12]]}


@pytest.mark.parametrize("missing", [0, 4, 8])
def test_a_method_that_lacks_a_design_is_compared_by_nothing(missing):
    designs = all_chosen()
    with pytest.raises(ValueError, match="must have 4 designs"):
        group_designs(designs[:missing] + designs[missing + 1 :])


def test_a_method_that_lacks_a_draw_is_compared_by_nothing():
    more = [chosen("exhaustive", 0, rank, ARCHS[rank]) for rank in (1, 2, 3, 4)]
    with pytest.raises(
        ValueError, match="exhaustive within macs 60 % must have 4 designs for each"
    ):
        group_designs([*all_chosen(), *more])


def test_a_design_that_failed_is_as_bad_as_the_worst_that_was_measured():
    found = results([150.0] * DRAWS, [140.0 + draw for draw in range(DRAWS)])
    failed = make_label(ARCHS[0], failure=Failure(kind="architecture", message="NaN"))
    labels = {**found.labels, (ARCHS[0].key, 0): failed}
    assert Results(found.world, found.chosen, labels).value(ARCHS[0].key, 0, COLUMN) == 150.0


def test_the_error_over_scenes_is_of_the_mean_difference_relative_to_the_teacher():
    scenes = np.linspace(-4, 4, 8)
    found = results([150.0] * DRAWS, [140.0] * DRAWS)
    labels = {}
    for (key, seed), label in found.labels.items():
        own = key in {arch.key for arch in ARCHS[:DRAWS]}
        value = label.values[COLUMN]
        blocks = value.value + (2 * scenes if own else scenes)
        if key == UNPRUNED.key:
            blocks = np.full(8, 100.0)
        kept = value.model_copy(update={"blocks": tuple(blocks)})
        labels[key, seed] = label.model_copy(update={"values": {**label.values, COLUMN: kept}})
    verdict = compare(Results(found.world, found.chosen, labels), BUDGET, "exhaustive", COLUMN)
    # A delete-a-block jackknife of eight values that differ by `scenes` of the teacher's 100.
    expected = np.sqrt(7 / 8 * np.sum((scenes / 100) ** 2))
    assert verdict.scenes == pytest.approx(expected)
    assert verdict.mean == pytest.approx(0.1)
    assert verdict.word == ("worse" if 2 * expected <= 0.1 else "worse *")


def campaign_of(folder, labels):
    study = SimpleNamespace(
        labels=SimpleNamespace(read_all=lambda: labels),
        probe_file=folder / "own-probe.json",
        root=folder,
    )
    world = SimpleNamespace(name="words-16", study=lambda *_: study)
    return Campaign(world, folder, [], 1)


def test_a_campaign_adds_rows_and_leaves_committed_ones_as_they_are(tmp_path, monkeypatch):
    committed, out = tmp_path / "committed", tmp_path / "out"
    committed.mkdir()
    out.mkdir()
    monkeypatch.setattr("benchmarks.worlds.campaign.TABLES", committed)
    first, other, new = (make_label(arch, fd_efflite0={"value": 1.0, "n": 9}) for arch in ARCHS[:3])
    again = make_label(ARCHS[0], fd_efflite0={"value": 2.0, "n": 9})
    long = other.model_copy(update={"protocol_key": "0" * 12})
    write_label_table(committed / "words-16.jsonl", [first, long])
    (committed / "words-16-chosen.jsonl").write_text("chosen once\n")
    (tmp_path / "chosen.jsonl").write_text("chosen again\n")
    (tmp_path / "own-probe.json").write_text("{}")
    campaign_of(tmp_path, [again, new]).write(out)
    found = {one.key: one.scalar("fd_efflite0") for one in read_label_table(out / "words-16.jsonl")}
    assert found == {first.key: 1.0, long.key: 1.0, new.key: 1.0}
    assert (out / "words-16-chosen.jsonl").read_text() == "chosen once\n"
    assert (out / "words-16-probe.json").read_text() == "{}"
