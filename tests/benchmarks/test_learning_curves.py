"""A small run of the learning curves, and what their table says."""

from __future__ import annotations

import re
from itertools import combinations
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks import learning_curves
from benchmarks.learning_curves import (
    NETS,
    WITH_LABELS,
    WITHOUT_LABELS,
    describe,
    main,
    measure_draw,
    member_sets,
    read_lines,
    read_tiny,
    teacher_quality,
)
from sdsearch.stats import mean_and_se, spearman
from sdsearch.unet.architecture import UNPRUNED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.learning_curves import Line
    from sdsearch.replay.pool import Pool

POOL = read_tiny()
SMALL = ["--sizes", "0", "8", "--draws", "2", "--steps", "2", "--processes", "1"]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What was measured; in this process, since starting another takes seconds."""
    seen: list[tuple[int, int]] = []

    def measure(pool: Pool, wanted: Sequence[tuple[int, int]], *_: object) -> Iterator[Line]:
        for one in wanted:
            seen.append(one)
            yield measure_draw(pool, one, 0, 2)

    monkeypatch.setattr(learning_curves, "measure_all", measure)
    return seen


@pytest.mark.slow
def test_a_small_run_has_every_method_and_measure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*SMALL, "--out", str(tmp_path / "curves.jsonl")])
    lines = read_lines(tmp_path / "curves.jsonl")
    assert [(line.labels, line.draw) for line in lines] == [(0, 0), (8, 0), (8, 1)]
    assert set(lines[0].found) == set(WITHOUT_LABELS)
    for line in lines[1:]:
        assert set(line.found) == {*WITH_LABELS, *NETS}
        assert line == measure_draw(POOL, (8, line.draw), 0, 2), "the same in another process"
    for values in (values for line in lines for values in line.found.values()):
        assert len(values) == 3 + 4
        assert np.isfinite(list(values.values())).all()
    text = (tmp_path / "curves.md").read_text()
    assert text in capsys.readouterr().out
    assert text.count("| method |") == 7


def test_a_run_that_was_killed_measures_only_what_is_missing(
    tmp_path: Path, measured: list[tuple[int, int]]
) -> None:
    file = tmp_path / "curves.jsonl"
    main([*SMALL, "--out", str(file)])
    whole, text = file.read_text(), (tmp_path / "curves.md").read_text()
    file.write_text(whole[:-20])  # killed in the middle of its last line
    measured.clear()
    main([*SMALL, "--out", str(file)])
    assert measured == [(8, 1)]
    assert file.read_text() == whole
    assert (tmp_path / "curves.md").read_text() == text


@pytest.mark.usefixtures("measured")
def test_lines_of_other_steps_or_another_seed_are_not_mixed_in(tmp_path: Path) -> None:
    file = tmp_path / "curves.jsonl"
    main([*SMALL, "--sizes", "0", "--out", str(file)])
    for other in (["--steps", "3"], ["--seed", "1"]):
        with pytest.raises(SystemExit):
            main([*SMALL, *other, "--out", str(file)])


def test_the_measures_are_those_of_brute_force() -> None:
    line = measure_draw(POOL, (8, 1), 0, 1)
    labelled = {POOL.architectures[i].key for i in POOL.draw(8, (0, 1))}
    limit = 0.7
    errors = POOL.probe.option_errors(POOL.space)  # type: ignore[union-attr]
    rows = []
    for arch, fd, macs in zip(POOL.architectures, POOL.quality, POOL.shares["macs"], strict=True):
        if arch.key not in labelled and arch != UNPRUNED:
            digits = POOL.space.option_indices(arch)
            error = sum(options[digit] for options, digit in zip(errors, digits, strict=True))
            rows.append((error, fd, macs <= limit))
    first = sorted(row for row in rows if row[2])[:4]
    found = line.found["one-shot"]
    assert found["<= 70% of the multiply-accumulates"] == pytest.approx(
        np.mean([fd for _, fd, _ in first])
    )
    near = [(error, fd) for error, fd, _ in rows if fd <= 1.1 * teacher_quality(POOL)]
    assert found["SRCC, within 10 % of the teacher"] == pytest.approx(spearman(*zip(*near)))  # noqa: B905


def test_the_sets_are_fixed_by_true_distance_and_hold_no_teacher() -> None:
    sets = member_sets(POOL)
    teacher = [arch == UNPRUNED for arch in POOL.architectures].index(True)
    assert not any(members[teacher] for members in sets.values())
    counts = [int(members.sum()) for members in sets.values()]
    others = len(POOL.y) - 1
    assert counts[:2] == [others, ceil(others / 4)]
    for members in list(sets.values())[1:]:
        rest = sets["all"] & ~members
        assert POOL.quality[members].max() < POOL.quality[rest].min()


def test_the_table_says_means_errors_and_what_draws_have_in_common() -> None:
    lines = [measure_draw(POOL, which, 0, 1) for which in ((0, 0), (8, 0), (8, 1), (8, 2))]
    text = describe(lines, POOL)
    draws = [{*POOL.draw(8, (0, number))} for number in range(3)]
    common = np.mean([len(one & other) / 8 for one, other in combinations(draws, 2)])
    assert f"of 3 draws of 8 labels, two share {common:.0%} on average" in text
    (row,) = re.findall(r"SRCC, all\*\*(?:\n.*)*?\n\| ridge \|(.*)\|\n", text)
    mean, se = mean_and_se([line.found["ridge"]["SRCC, all"] for line in lines[1:]])
    assert [cell.strip() for cell in row.split("|")] == ["", f"{mean:.3f} ± {se:.3f}"]
