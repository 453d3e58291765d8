"""An attempt counts against an architecture only if it began and ended by itself, as is proven."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import psutil
import pytest

from sdsearch.errors import WorkError
from sdsearch.labels.label import Failure
from sdsearch.stages.label import label_study
from sdsearch.study.listing import read_listing
from sdsearch.study.requests import ServeRequest
from sdsearch.workers import process as harness_process
from sdsearch.workers.claims import AttemptState, Claim, Claims, this_process
from sdsearch.workers.job import LabelJob, open_claims
from sdsearch.workers.local import label_here
from sdsearch.workers.messages import LabelOrder
from sdsearch.workers.worker import AttemptLostError
from sdsearch_eval.jobs import serve
from sdsearch_eval.world import OthersGoneError, World
from tests.hostile.in_process import Desk
from tests.stand_in import (
    ELSEWHERE,
    FAKE,
    KEYS,
    MEMBERS,
    TOML,
    attempts_at,
    listed_study,
    plan,
    status_of,
    statuses,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdsearch.study.folder import StudyFolder

ALL_OK = dict.fromkeys(KEYS, "ok")
RUN = """
import sys
from sdsearch.workers import process
line = [sys.executable, {fake!r}, {plan!r}]
process.harness_line = lambda request, processes: [*line, str(request)]
from sdsearch.stages.label import label_study
from sdsearch.study.folder import read_study
label_study(read_study(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def nothing_goes_on() -> Iterator[None]:
    """End the runs that a test which fails would leave behind."""
    yield
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if FAKE in " ".join(process.cmdline()):
                process.kill()


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    return listed_study(tmp_path, TOML, monkeypatch)


def a_desk(study: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """What measures in this process."""
    desk = Desk(study.series, read_listing(study).architectures)
    monkeypatch.setattr(LabelJob, "open_labeller", lambda job: desk)
    return desk


def start_run(study: StudyFolder) -> subprocess.Popen[bytes]:
    """A run in a process of its own, which can be killed."""
    code = RUN.format(fake=FAKE, plan=str(study.root / "plan.json"))
    return subprocess.Popen([sys.executable, "-c", code, str(study.root)])


def measuring(parent: int | None = None) -> list[psutil.Process]:
    return [x for x in psutil.Process(parent).children() if FAKE in x.cmdline()]


@pytest.mark.slow
@pytest.mark.parametrize("when", ["start", "teacher"])
def test_a_run_that_is_killed_again_and_again_blames_no_architecture(
    when: str, study: StudyFolder
) -> None:
    for number in range(1, 5):  # one more than an architecture may be lost
        plan(study, **{when: "hang"})
        run = start_run(study)
        wait_until(lambda n=number: len(attempts_at(study, "teacher")) == n, 120)
        if when == "teacher":
            wait_until(lambda: attempts_at(study, "teacher")[-1].begun, 120)
        left = measuring(run.pid)
        run.kill()
        run.wait()
        for child in left:  # the stand-in does not end with its parent, as the harness does
            child.kill()
    plan(study)
    label_study(study)
    assert statuses(study) == ALL_OK
    assert status_of(study).failed == ()
    assert [x.begun for x in attempts_at(study, "teacher")] == [when == "teacher"] * 4 + [True]


@pytest.mark.slow
def test_a_measurement_that_others_end_counts_for_nothing_and_stops_the_worker(
    study: StudyFolder,
) -> None:
    plan(study, bk_small="killed")
    with pytest.raises(WorkError, match=r"SIGKILL.*at what ends processes there"):
        label_study(study)
    assert {x.state for x in attempts_at(study, "bk-small")} == {"released"}
    plan(study)
    label_study(study)
    assert statuses(study) == ALL_OK


@pytest.mark.slow
def test_a_kill_while_memory_ran_out_counts(
    study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness_process, "count_memory_kills", itertools.count().__next__)
    plan(study, bk_small="killed")
    label_study(study)
    (failed,) = status_of(study).failed
    assert "all 3 attempts were lost" in failed.failure.message
    assert failed.failure.message.count("host memory ran out") == 1, "a reason is said once"


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("is_own_end", [False, True])
def test_what_had_not_begun_or_was_ended_by_others_is_given_back(
    begun: bool, is_own_end: bool, study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = a_desk(study, monkeypatch)

    def die(arch_key: str, claim: Claim) -> NoReturn:
        if begun:
            claim.begin()
        raise AttemptLostError(Failure(kind="lost", message="gone"), is_own_end=is_own_end)

    with monkeypatch.context() as patched:
        patched.setattr(desk, "label", die)
        with pytest.raises(WorkError, match="3 architectures in a row"):
            label_study(study)
    attempts = [x for name in MEMBERS for x in attempts_at(study, name)]
    assert {x.state for x in attempts} == {"lost" if begun and is_own_end else "released"}
    label_study(study)
    assert statuses(study) == ALL_OK


@pytest.mark.parametrize("begun", [False, True])
def test_workers_that_fall_silent_again_and_again_blame_no_architecture(
    begun: bool, study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_desk(study, monkeypatch)
    dead = this_process().model_copy(update={"pid": 2**22 + 1})
    for _ in range(5):
        claim = Claims(open_claims(study).folder, 60, dead).take(KEYS[0])
        assert claim is not None
        if begun:
            claim.begin()
    label_study(study)
    assert statuses(study) == ALL_OK


@pytest.mark.slow
def test_a_measurement_that_is_stopped_for_longer_than_its_limit_is_not_too_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = listed_study(tmp_path, "[label]\ntime_limit = 4\n", monkeypatch)
    plan(study, teacher="slow")
    worker = threading.Thread(target=label_study, args=(study,))
    worker.start()
    wait_until(lambda: any(x.begun for x in attempts_at(study, "teacher")), 120)
    (child,) = measuring()
    child.suspend()
    time.sleep(5)
    child.resume()
    worker.join(120)
    assert statuses(study) == ALL_OK


@pytest.mark.slow
def test_a_run_that_is_stopped_as_a_whole_for_longer_than_its_limit_is_not_too_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = listed_study(tmp_path, "[label]\ntime_limit = 4\n", monkeypatch)
    plan(study, teacher="slow")
    run = start_run(study)
    wait_until(lambda: any(x.begun for x in attempts_at(study, "teacher")), 120)
    (child,) = measuring(run.pid)
    for pid in (run.pid, child.pid):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(5)
    os.kill(run.pid, signal.SIGCONT)
    time.sleep(0.7)  # it looks before the other has gone on
    child.resume()
    assert run.wait(120) == 0
    assert statuses(study) == ALL_OK


def test_what_a_superseded_process_says_of_its_lost_files_stops_no_run(study: StudyFolder) -> None:
    plan(study, teacher=["missing"])
    ended: list[str] = []

    def run() -> None:
        label_study(study, only=KEYS[:1])
        ended.append("well")

    worker = threading.Thread(target=run)
    worker.start()
    wait_until(lambda: any(x.begun for x in attempts_at(study, "teacher")), 120)
    hasty = Claims(open_claims(study).folder, 2, ELSEWHERE, itertools.count(0, 0.9).__next__)
    wait_until(lambda: hasty.take(KEYS[0]) is not None)
    (study.root / "go").touch()
    worker.join(120)
    assert ended == ["well"]
    assert [x.state for x in attempts_at(study, "teacher")] == ["released", "running", "done"]


def test_what_comes_after_the_last_label_is_done_once_however_many_workers_there_are(
    study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, job = a_desk(study, monkeypatch), LabelJob(study, tuple(KEYS))
    real = Claim.end

    def end(claim: Claim, state: AttemptState, reason: str | None = None) -> None:
        time.sleep(0.05)  # the label is there, and others see it; its attempt is not ended yet
        real(claim, state, reason)

    monkeypatch.setattr(Claim, "end", end)
    with ThreadPoolExecutor(12) as pool:
        runs = [pool.submit(label_here, job, lambda count, news: None) for _ in range(12)]
        for run in runs:
            run.result()
    assert desk.finished == 1
    assert statuses(study) == ALL_OK


def test_a_process_whose_others_are_gone_leaves_it_to_the_launcher_to_say_how_they_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> NoReturn:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr("accelerate.utils.gather_object", fail)
    monkeypatch.setattr("accelerate.utils.broadcast_object_list", fail)
    desk: Any = SimpleNamespace(label=lambda _: World(0, 2).agree())
    with pytest.raises(OthersGoneError, match="has ended: Connection closed by peer"):
        serve._answer(desk, LabelOrder(arch_key="teacher"))
    with pytest.raises(OthersGoneError):
        World(1, 2).share(None)
    given, slept = list[object](), list[float]()
    monkeypatch.setattr(serve, "open_world", lambda _: World(0, 2))
    monkeypatch.setattr(serve, "open_desk", lambda *_: World(0, 2).share(None))
    monkeypatch.setattr(serve, "_keep_answers_apart", lambda: None)
    monkeypatch.setattr(serve, "_give", lambda _, answer: given.append(answer))
    monkeypatch.setattr("time.sleep", slept.append)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(OthersGoneError):
            serve.serve_labels(ServeRequest(study=Path(), seed=0, processes=2))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (given, slept) == ([], [5.0])
