"""What workers and the process that measures for them survive; a stand-in is the harness."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from sdsearch.errors import InputError, WorkError
from sdsearch.labels.label import LabelKey
from sdsearch.stages.label import label_study
from sdsearch.workers.claims import Claims
from sdsearch.workers.job import LabelJob, open_claims
from sdsearch.workers.local import label_here
from sdsearch.workers.process import HarnessProcess

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.study.folder import StudyFolder
    from sdsearch.workers.worker import News

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


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    return listed_study(tmp_path, TOML, monkeypatch)


def tell(count: int, news: News) -> None:
    """Nobody listens."""


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (
            "crash",
            "was ended by SIGSEGV, usually by a fault in a driver or a compiled library; let",
        ),
        ("exit", "ended with exit code 3"),
        ("memory", "OutOfMemoryError: CUDA out of memory"),
        ("device", "an illegal memory access"),
    ],
)
def test_what_kills_a_process_is_tried_again_in_a_fresh_one_and_recorded(
    trouble: str, said: str, study: StudyFolder
) -> None:
    plan(study, bk_small=[trouble, trouble])
    label_study(study)
    assert statuses(study) == dict.fromkeys(KEYS, "ok")
    attempts = attempts_at(study, "bk-small")
    assert [x.state for x in attempts] == ["lost", "lost", "done"]
    assert said in attempts[0].reason
    assert status_of(study).lost == 2


def test_an_architecture_that_always_kills_its_process_fails_after_as_many_attempts(
    study: StudyFolder,
) -> None:
    plan(study, bk_small="crash")
    label_study(study)
    (failed,) = status_of(study).failed
    assert "all 3 attempts were lost" in failed.failure.message
    assert failed.failure.message.count("SIGSEGV") == 1, "the same reason is said once"
    assert sorted(statuses(study).values()) == ["failed", "ok", "ok", "ok"]


@pytest.mark.parametrize("what", ["hang", "stuck", "babble"])
def test_a_hung_model_is_ended_at_its_limit_and_recorded(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = listed_study(tmp_path, "[label]\ntime_limit = 2\n", monkeypatch)
    plan(study, bk_base=what)
    label_study(study)
    (failed,) = status_of(study).failed
    assert failed.failure.message == "it took longer than the time limit of 2 s"
    assert sorted(statuses(study).values()) == ["failed", "ok", "ok", "ok"]
    assert not [x for x in psutil.Process().children(recursive=True) if FAKE in x.cmdline()]


@pytest.mark.parametrize(("what", "error"), [("full", WorkError), ("input", InputError)])
def test_what_concerns_all_labels_stops_the_worker_and_gives_its_claim_back(
    what: str, error: type[Exception], study: StudyFolder
) -> None:
    plan(study, bk_small=[what])
    with pytest.raises(error, match=r"No space left|bad photo"):
        label_study(study)
    assert statuses(study) == dict.fromkeys(KEYS[:2], "ok")
    assert [x.state for x in attempts_at(study, "bk-small")] == ["released"]
    stamps = [path.stat().st_mtime_ns for path in sorted(study.labels.folder.rglob("*.json"))]
    label_study(study)
    assert statuses(study) == dict.fromkeys(KEYS, "ok")
    kept = [study.labels.path(LabelKey(key, study.series)) for key in KEYS[:2]]
    assert {path.stat().st_mtime_ns for path in kept} == set(stamps)


def test_a_machine_on_which_nothing_starts_fails_no_architecture(study: StudyFolder) -> None:
    plan(study, start="killed")
    for _ in range(4):
        with pytest.raises(WorkError, match=r"could not prepare the labels.*SIGKILL.*is kept"):
            label_study(study)
    assert {x.state for x in attempts_at(study, "teacher")} == {"released"}
    plan(study)
    label_study(study)
    assert statuses(study) == dict.fromkeys(KEYS, "ok")


def test_a_machine_that_loses_one_architecture_after_another_stops(study: StudyFolder) -> None:
    plan(study, **dict.fromkeys(("teacher", "bk_base", "bk_small", "bk_tiny"), "device"))
    with pytest.raises(WorkError, match=r"3 architectures in a row .* seems to be the machine"):
        label_study(study)
    assert sorted(len(attempts_at(study, name)) for name in MEMBERS) == [0, 1, 1, 1]
    assert statuses(study) == {}


def test_what_was_lost_here_is_tried_again_after_the_others(study: StudyFolder) -> None:
    plan(study, teacher=["crash"])
    label_study(study)
    files = [study.labels.path(LabelKey(key, study.series)) for key in KEYS]
    written = {path.stat().st_mtime_ns: key for path, key in zip(files, KEYS, strict=True)}
    assert written[max(written)] == KEYS[0]
    assert [x.state for x in attempts_at(study, "teacher")] == ["lost", "done"]


def test_a_study_that_was_changed_meanwhile_stops_the_worker(study: StudyFolder) -> None:
    plan(study, bk_base="other protocol")
    with pytest.raises(InputError, match=r"study.toml must stay as it is .* run again"):
        label_study(study)
    assert statuses(study) == {KEYS[0]: "ok"}


def test_a_worker_takes_over_what_a_silent_one_elsewhere_held(study: StudyFolder) -> None:
    folder = open_claims(study).folder
    assert Claims(folder, 2, ELSEWHERE).take(KEYS[2])
    status = status_of(study)
    assert [(x.arch_key, x.worker, x.gone) for x in status.running] == [
        (KEYS[2], "node-7:7", False)
    ]
    assert status.waiting == 3
    label_study(study)
    assert statuses(study) == dict.fromkeys(KEYS, "ok")
    attempts = attempts_at(study, "bk-small")
    assert [x.state for x in attempts] == ["running", "done"]


def test_what_another_worker_holds_is_waited_for(study: StudyFolder) -> None:
    claim = Claims(open_claims(study).folder, 2, ELSEWHERE).take(KEYS[1])
    assert claim is not None
    job = LabelJob(study, tuple(KEYS))
    worker = threading.Thread(target=label_here, args=(job, tell))
    with claim.renewing():
        worker.start()
        wait_until(lambda: len(study.labels.read_all()) == 3)
        time.sleep(1)
        assert worker.is_alive()
        assert [x.state for x in attempts_at(study, "bk-base")] == ["running"]
    worker.join(timeout=30)
    assert statuses(study) == dict.fromkeys(KEYS, "ok")


def test_a_worker_whose_lease_ran_out_drops_the_work_and_the_label_is_written_once(
    study: StudyFolder,
) -> None:
    plan(study, teacher=["hang"])
    ours = LabelJob(study, (KEYS[0],))
    worker = threading.Thread(target=label_here, args=(ours, tell))
    worker.start()
    folder = open_claims(study).folder
    wait_until(lambda: '"ok"' in (study.root / "plan.json").read_text())  # it hangs now
    hasty = Claims(folder, 2, ELSEWHERE, clock=itertools.count(0, 0.9).__next__)
    wait_until(lambda: hasty.take(KEYS[0]) is not None)  # and falls silent in its turn
    worker.join(timeout=30)
    assert not worker.is_alive()
    attempts = attempts_at(study, "teacher")
    assert [x.state for x in attempts] == ["released", "running", "done"]
    assert "another worker found the lease run out" in attempts[0].reason
    assert statuses(study) == {KEYS[0]: "ok"}


def test_sigterm_gives_the_claim_back(study: StudyFolder) -> None:
    plan(study, teacher="hang")
    code = (
        "import sys; from sdsearch.workers import process\n"
        f"line = {[sys.executable, FAKE, str(study.root / 'plan.json')]!r}\n"
        "process.harness_line = lambda request, processes: [*line, str(request)]\n"
        "from sdsearch.stages.label import label_study\n"
        "from sdsearch.study.folder import read_study\n"
        "label_study(read_study(sys.argv[1]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(study.root)], stderr=subprocess.DEVNULL
    )
    wait_until(lambda: bool(attempts_at(study, "teacher")))
    time.sleep(0.5)
    for _ in range(3):  # as a scheduler may do it, to all processes of a job
        process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) != 0
    (attempt,) = attempts_at(study, "teacher")
    assert attempt.state == "released"


def test_the_process_ends_with_its_user(study: StudyFolder) -> None:
    with HarnessProcess(study) as labeller:
        labeller.prepare()
        (child,) = [x for x in psutil.Process().children() if FAKE in x.cmdline()]
    assert not child.is_running()
