"""What is said of speed and results while labels are measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sdsearch.labels.label import Failure
from sdsearch.stages.label import label_study
from sdsearch.workers.headway import Headway, Watch
from sdsearch.workers.job import LabelJob
from tests.fakes import list_members, make_label, make_study, tiny_member
from tests.stand_in import KEYS, MEMBERS, TOML, listed_study, plan

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.study.folder import StudyFolder

FAILED = Failure(kind="memory", message="too large")


class Clock:
    """A clock that tests set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def study(tmp_path: Path) -> StudyFolder:
    made = make_study(tmp_path / "study")
    list_members(made, map(tiny_member, MEMBERS))
    return made


def measure(study: StudyFolder, name: str, fd: float, seconds: float) -> str:
    """A label that took so many seconds, as its own stopwatch says; its architecture key."""
    arch = tiny_member(name)
    spent = {"seconds": {"recover": seconds / 2, "paint": seconds / 2}}
    study.labels.write(make_label(arch, provenance=spent, fd_efflite0={"value": fd}))
    return arch.key


def test_time_left_is_said_from_the_first_label_on_and_preparation_does_not_count(
    study: StudyFolder,
) -> None:
    clock = Clock()
    watch = Watch(LabelJob(study, tuple(KEYS)), clock)
    assert watch.hear(KEYS[0]) == Headway(0, 4), "an attempt was lost before any label"
    clock.now += 500  # of preparation
    first = watch.hear(measure(study, "teacher", 90.0, 10.0))
    assert first == Headway(1, 4, 10.0, 30.0, 90.0, 90.0)
    clock.now += 20
    second = watch.hear(measure(study, "bk-base", 80.0, 20.0))
    assert second == Headway(2, 4, 15.0, 30.0, 80.0, 80.0)
    assert second.describe() == "15 s each, 30 s left; last 80, best 80"


def test_labels_of_other_workers_count_for_the_time_left_and_the_best(study: StudyFolder) -> None:
    clock = Clock()
    watch = Watch(LabelJob(study, tuple(KEYS)), clock)
    watch.hear(measure(study, "teacher", 90.0, 10.0))
    clock.now += 10
    measure(study, "bk-base", 70.0, 10.0)  # elsewhere
    found = watch.hear(measure(study, "bk-small", 95.0, 10.0))
    assert (found.done, found.best, found.last) == (3, 70.0, 95.0)
    assert found.left_seconds == pytest.approx(20 / 3), "three labels in 20 seconds"
    assert found.seconds == 10.0


def test_labels_that_were_there_count_for_the_best_alone(study: StudyFolder) -> None:
    measure(study, "teacher", 60.0, 99.0)
    watch = Watch(LabelJob(study, tuple(KEYS)), Clock())
    found = watch.hear(measure(study, "bk-base", 80.0, 10.0))
    assert found == Headway(2, 4, 10.0, 20.0, 80.0, 60.0)


def test_a_failed_label_is_never_the_best(study: StudyFolder) -> None:
    watch = Watch(LabelJob(study, tuple(KEYS)), Clock())
    arch = tiny_member("teacher")
    study.labels.write(make_label(arch, failure=FAILED))
    assert watch.hear(arch.key) == Headway(1, 4, 0.0, 0.0)
    assert watch.hear(measure(study, "bk-base", 80.0, 10.0)).best == 80.0


def test_a_target_that_is_no_logarithm_is_shown_itself_higher_being_better(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", "[ranker]\ntarget = '100 - fd_efflite0'\n")
    list_members(study, map(tiny_member, MEMBERS))
    watch = Watch(LabelJob(study, tuple(KEYS)), Clock())
    measure(study, "teacher", 60.0, 1.0)
    found = watch.hear(measure(study, "bk-base", 80.0, 1.0))
    assert (found.last, found.best) == (20.0, 40.0)
    assert watch.measure == "100 - fd_efflite0, higher is better"


def test_a_damaged_label_does_not_end_the_work(study: StudyFolder) -> None:
    watch = Watch(LabelJob(study, tuple(KEYS)), Clock())
    key = measure(study, "teacher", 60.0, 1.0)
    next(study.labels.folder.rglob("*.json")).write_text("{")
    assert watch.hear(key).best is None


def test_every_label_is_a_line_where_no_bar_can_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = listed_study(tmp_path, TOML, monkeypatch)
    plan(study, bk_small="fail")
    label_study(study)
    shown = capsys.readouterr().err.splitlines()
    assert "models: 0 of 4 measured (fd_efflite0, lower is better)" in shown
    lines = [line for line in shown if line.startswith("models ") and " of " in line]
    assert [line.split(":")[0] for line in lines] == [f"models {n} of 4" for n in (1, 2, 3, 4)]
    assert sum(" ok" in line for line in lines) == 3
    assert sum(" failed: " in line for line in lines) == 1
    assert all(" each, " in line for line in lines)
