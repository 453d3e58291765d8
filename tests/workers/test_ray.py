"""What is asked of a Ray cluster; a stand-in of the package answers."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from sdsearch.errors import WorkError
from sdsearch.workers.job import LabelJob
from sdsearch.workers.ray import TaskReport, label_on_ray
from sdsearch.workers.worker import News
from tests.fakes import make_study, measured, tiny_member

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sdsearch.study.folder import StudyFolder

ARCHS = {arch.key: arch for arch in map(tiny_member, ("teacher", "bk-base", "bk-small"))}
KEYS = tuple(ARCHS)


class RayError(Exception):
    """As the package has one."""


@dataclass
class StandIn:
    """The package as far as it is used: a task ends when somebody waits for it.

    It is as strict as the real one, which aborts the process at the cancellation of what has ended.
    """

    run: Callable[[str, LabelJob], TaskReport]
    ended: set[int] = field(default_factory=set)
    asked: list[tuple[str, LabelJob]] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    exceptions: Any = field(default_factory=lambda: SimpleNamespace(RayError=RayError))

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 8.0}

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 8.0}}]

    def remote(self, function: object) -> Any:
        def start(task: str, job: LabelJob, place: Path) -> int:
            self.asked.append((task, job))
            return len(self.asked) - 1

        return SimpleNamespace(options=lambda **said: SimpleNamespace(remote=start))

    def wait(
        self, tasks: list[int], num_returns: int = 1, timeout: float | None = None
    ) -> tuple[list[int], list[int]]:
        done = tasks[:num_returns]
        self.ended |= set(done)
        return done, tasks[num_returns:]

    def get(self, task: int) -> TaskReport:
        self.ended.add(task)
        return self.run(*self.asked[task])

    def cancel(self, task: int) -> None:
        assert task not in self.ended, "Check failed: it != submissible_tasks_.end()"
        self.cancelled.append(task)


@pytest.fixture
def study(tmp_path: Path) -> StudyFolder:
    return make_study(tmp_path / "study")


def label(
    study: StudyFolder, run: Callable[[str, LabelJob], TaskReport], monkeypatch: pytest.MonkeyPatch
) -> tuple[StandIn, WorkError | None]:
    """What was asked of the cluster, and how it ended."""
    ray = StandIn(run)
    monkeypatch.setitem(sys.modules, "ray", ray)
    try:
        label_on_ray(LabelJob(study, KEYS), lambda count, news: None)
    except WorkError as error:
        return ray, error
    return ray, None


def test_all_is_prepared_labelled_and_finished_and_nothing_that_has_ended_is_cancelled(
    study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(task: str, job: LabelJob) -> TaskReport:
        for key in job.keys if task == "label" else ():
            study.labels.publish(measured(ARCHS[key], 100.0))
        return TaskReport("here", News("", "ok"))

    monkeypatch.setattr(LabelJob, "todo", lambda job: [k for k in job.keys if k not in done(study)])
    ray, error = label(study, run, monkeypatch)
    assert error is None
    assert [task for task, _ in ray.asked] == ["prepare", "label", "label", "label", "finish"]
    assert ray.cancelled == []


@pytest.mark.parametrize("wrong", ["prepare", "finish"])
def test_what_ended_in_trouble_is_not_cancelled_either(
    wrong: str, study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(task: str, job: LabelJob) -> TaskReport:
        return TaskReport("here", News("", "no space"), trouble=task == wrong)

    monkeypatch.setattr(LabelJob, "todo", lambda job: [])
    ray, error = label(study, run, monkeypatch)
    assert "on node here: no space" in str(error)
    assert ray.cancelled == []


def test_what_failed_on_the_cluster_is_not_cancelled_but_what_is_at_work_is(
    study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(task: str, job: LabelJob) -> TaskReport:
        if task == "label":
            raise RayError("the node died")
        return TaskReport("here", News("", "ok"))

    monkeypatch.setattr(LabelJob, "todo", lambda job: list(job.keys))
    ray, error = label(study, run, monkeypatch)
    assert "on the Ray cluster: the node died" in str(error)
    assert [ray.asked[task][1].keys for task in ray.cancelled] == [(KEYS[1],), (KEYS[2],)]


def done(study: StudyFolder) -> set[str]:
    return {label.arch_key for label in study.labels.read_all()}
