from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdsearch.errors import InputError, WorkError
from sdsearch.labels.content import ResolvedProtocol
from sdsearch.labels.label import Failure
from sdsearch.labels.protocol import Protocol, Rung
from sdsearch.space.space import search_space
from sdsearch.study.folder import read_study
from sdsearch.workers.halving import keep_best, label_by_halving
from tests.fakes import make_label, make_study

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.study.folder import StudyFolder

TOML = """
[label]
rungs = [
    { samples = 0.25, recovery = 0.2, keep = 0.5 },
    { samples = 0.5, recovery = 0.5, keep = 0.25 },
]
"""
SPACE = search_space("tiny")
ARCHS = SPACE.sample(16, np.random.default_rng(0))
TRUTH = {arch.key: 100.0 + i for i, arch in enumerate(ARCHS)}


class Labels:
    """A `label` whose values are the truth plus an error of the rung."""

    def __init__(self, study: StudyFolder, failing: tuple[str, ...] = ()) -> None:
        self.study, self.failing, self.asked = study, failing, list[tuple[int | None, int]]()

    def __call__(self, rung: int | None, keys: list[str]) -> None:
        self.asked.append((rung, len(keys)))
        at = self.study.at_rung(rung)
        for arch in ARCHS:
            if arch.key in keys:
                bad = arch.key in self.failing and rung == 0
                label = make_label(
                    arch,
                    protocol_key=at.protocol_key,
                    failure=Failure(kind="architecture", message="no luck") if bad else None,
                    **({} if bad else {"fd_efflite0": TRUTH[arch.key]}),
                )
                at.labels.write(label)


@pytest.fixture
def study(tmp_path: Path) -> StudyFolder:
    return make_study(tmp_path / "study", TOML)


def test_each_rung_measures_the_best_of_the_one_before_and_the_last_is_the_studys_own(
    study: StudyFolder,
) -> None:
    label = Labels(study)
    reports = label_by_halving(study, list(TRUTH), label)
    assert label.asked == [(0, 16), (1, 8), (None, 2)]
    best = sorted(TRUTH, key=TRUTH.__getitem__)[:2]
    assert sorted(
        x.arch_key for x in study.labels.read_all(ResolvedProtocol(protocol=Protocol()).key)
    ) == sorted(best)
    assert [(x.samples, x.recovery_steps) for x in reports] == [(48, 6), (96, 15), (192, 30)]
    assert [x.kept for x in reports] == [8, 2, 2]
    assert reports[1].srcc == pytest.approx(1)
    assert "SRCC with the rung before 1.00" in reports[1].describe()
    assert len({x.protocol_key for x in reports}) == 3


def test_what_failed_on_a_rung_does_not_go_on(study: StudyFolder) -> None:
    best = min(TRUTH, key=TRUTH.__getitem__)
    label = Labels(study, failing=(best,))
    reports = label_by_halving(study, list(TRUTH), label)
    assert (reports[0].measured, reports[0].failed) == (15, 1)
    assert best not in {
        x.arch_key for x in study.labels.read_all(ResolvedProtocol(protocol=Protocol()).key)
    }


def test_a_rung_on_which_all_fail_ends_it(study: StudyFolder) -> None:
    with pytest.raises(WorkError, match="every architecture of a rung failed"):
        label_by_halving(study, list(TRUTH), Labels(study, failing=tuple(TRUTH)))


@given(st.dictionaries(st.text(min_size=1), st.integers(-5, 5), min_size=1), st.floats(0.01, 1))
def test_those_kept_are_none_worse_than_those_left(values: dict[str, int], share: float) -> None:
    kept = keep_best(values, share)
    assert len(kept) == len(set(kept)) >= share * len(values)
    assert len(kept) - 1 < share * len(values)
    left = [value for key, value in values.items() if key not in kept]
    assert not left or min(values[key] for key in kept) >= max(left)


def test_equal_values_are_kept_by_key_whatever_their_order() -> None:
    assert keep_best({"b": 1.0, "a": 1.0, "c": 1.0}, 0.5) == ["a", "b"]
    assert keep_best({"c": 1.0, "a": 1.0, "b": 1.0}, 0.5) == ["a", "b"]


def test_a_rung_changes_the_protocol_key_and_nothing_but_its_shares() -> None:
    protocol = Protocol()
    cheap = Rung(samples=0.001, recovery=0.01).cheapen(protocol)
    assert (cheap.samples, cheap.recovery.steps) == (2, 1)
    same = Rung(samples=1, recovery=1).cheapen(protocol)
    assert same == protocol
    assert cheap != protocol


def test_a_wrong_key_of_a_rung_is_said_with_the_nearest(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "study.toml").write_text("[label]\nrungs = [{ sampels = 0.5 }]\n")
    with pytest.raises(InputError, match="did you mean 'samples'"):
        read_study(folder)
