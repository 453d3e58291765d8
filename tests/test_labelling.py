"""Workers, the process that measures for them, and what they survive; a stand-in is the harness."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from sdsearch import harness_process
from sdsearch.claims import Claims, Worker, read_attempts
from sdsearch.errors import InputError, WorkError
from sdsearch.executors import LabelJob, label_architectures
from sdsearch.harness_process import HarnessProcess
from sdsearch.labelling import forget_failed, measure, prepare, read_statuses
from sdsearch.labels import label_path, read_labels, write_label
from sdsearch.worker import open_claims
from tests.fakes import make_label, make_study, tiny_member

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdsearch.label_status import LabelStatus
    from sdsearch.study import Study

MEMBERS = ("teacher", "bk-base", "bk-small", "bk-tiny")
KEYS = [tiny_member(name).key for name in MEMBERS]
TOML = "[label]\ntime_limit = 30\nlease = 2\n"
ELSEWHERE = Worker(host="node-7", place="another boot", pid=7)
FAKE = str(Path(__file__).with_name("fake_harness.py"))


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    return listed_study(tmp_path, TOML, monkeypatch)


def listed_study(folder: Path, toml: str, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study of four members whose harness is the stand-in."""
    made = make_study(folder / "study", toml)
    rows = [
        {"arch_key": arch.key, "architecture": arch.model_dump(mode="json"), "origin": "uniform"}
        for arch in map(tiny_member, MEMBERS)
    ]
    made.architectures_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan(made)
    line = [sys.executable, FAKE, str(made.root / "plan.json"), str(made.root)]
    monkeypatch.setattr(harness_process, "harness_line", lambda *options, **_: [*line, options[3]])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    return made


def plan(study: Study, **behaviours: Any) -> None:
    """What becomes of members ("bk_tiny") and of the start."""
    keys = {name.replace("-", "_"): tiny_member(name).key for name in MEMBERS}
    named = {keys.get(name, name): what for name, what in behaviours.items()}
    (study.root / "plan.json").write_text(json.dumps(named))


def attempts_at(study: Study, name: str) -> list[Any]:
    return read_attempts(open_claims(study, 0).folder / tiny_member(name).key)


def status_of(study: Study) -> LabelStatus:
    (status,) = read_statuses(study)
    return status


def statuses(study: Study) -> dict[str, str]:
    return {label.arch_key: label.status for label in read_labels(study)}


def test_all_listed_are_labelled_in_one_process_and_what_follows_is_done_once(
    study: Study,
) -> None:
    measure(study)
    assert statuses(study) == dict.fromkeys(KEYS, "ok")
    assert (study.root / "finished").exists()
    assert [x.state for name in MEMBERS for x in attempts_at(study, name)] == ["done"] * 4
    before = {path: path.stat().st_mtime_ns for path in study.root.rglob("*.json")}
    measure(study)
    assert {path: path.stat().st_mtime_ns for path in study.root.rglob("*.json")} == before


def test_a_failed_architecture_is_a_label_and_can_be_tried_again(study: Study) -> None:
    plan(study, bk_tiny=["fail"])
    measure(study)
    assert statuses(study)[tiny_member("bk-tiny").key] == "failed"
    assert [x.reason for x in status_of(study).failed] == ["WorkError: no luck"]
    assert forget_failed(study) == 1
    measure(study)
    assert statuses(study) == dict.fromkeys(KEYS, "ok")


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("killed", "was ended by SIGKILL, as the system does where memory runs out"),
        ("exit", "ended with exit code 3"),
        ("memory", "OutOfMemoryError: CUDA out of memory"),
        ("cpu memory", "can't allocate memory"),
        ("device", "an illegal memory access"),
    ],
)
def test_what_kills_a_process_is_tried_again_in_a_fresh_one_and_recorded(
    trouble: str, said: str, study: Study
) -> None:
    plan(study, bk_small=[trouble, trouble])
    measure(study)
    assert statuses(study) == dict.fromkeys(KEYS, "ok")
    attempts = attempts_at(study, "bk-small")
    assert [x.state for x in attempts] == ["lost", "lost", "done"]
    assert said in attempts[0].reason
    assert status_of(study).lost == 2


def test_an_architecture_that_always_kills_its_process_fails_after_as_many_attempts(
    study: Study,
) -> None:
    plan(study, bk_small="killed")
    measure(study)
    (failed,) = status_of(study).failed
    assert "all 3 attempts were lost" in failed.reason
    assert failed.reason.count("SIGKILL") == 3
    assert sorted(statuses(study).values()) == ["failed", "ok", "ok", "ok"]


@pytest.mark.parametrize("what", ["hang", "stuck", "babble"])
def test_a_hung_model_is_ended_at_its_limit_and_recorded(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = listed_study(tmp_path, "[label]\ntime_limit = 2\n", monkeypatch)
    plan(study, bk_base=what)
    measure(study)
    (failed,) = status_of(study).failed
    assert failed.reason == "it took longer than the time limit of 2 s"
    assert sorted(statuses(study).values()) == ["failed", "ok", "ok", "ok"]
    assert not [x for x in psutil.Process().children(recursive=True) if FAKE in x.cmdline()]


@pytest.mark.parametrize(("what", "error"), [("full", WorkError), ("input", InputError)])
def test_what_concerns_all_labels_stops_the_worker_and_gives_its_claim_back(
    what: str, error: type[Exception], study: Study
) -> None:
    plan(study, bk_small=[what])
    with pytest.raises(error, match=r"No space left|bad photo"):
        measure(study)
    assert statuses(study) == dict.fromkeys(KEYS[:2], "ok")
    assert [x.state for x in attempts_at(study, "bk-small")] == ["released"]
    stamps = [path.stat().st_mtime_ns for path in sorted(study.labels_dir.rglob("*.json"))]
    measure(study)
    assert statuses(study) == dict.fromkeys(KEYS, "ok")
    kept = [label_path(study, key, study.config.protocol.key, 0) for key in KEYS[:2]]
    assert {path.stat().st_mtime_ns for path in kept} == set(stamps)


def test_a_machine_on_which_nothing_starts_fails_no_architecture(study: Study) -> None:
    plan(study, start="killed")
    for _ in range(4):
        with pytest.raises(WorkError, match=r"could not prepare or finish.*run again"):
            measure(study)
    assert {x.state for x in attempts_at(study, "teacher")} == {"released"}
    plan(study)
    measure(study)
    assert statuses(study) == dict.fromkeys(KEYS, "ok")


def test_a_machine_that_loses_one_architecture_after_another_stops(study: Study) -> None:
    plan(study, **dict.fromkeys(("teacher", "bk_base", "bk_small", "bk_tiny"), "device"))
    with pytest.raises(WorkError, match=r"3 architectures in a row .* seems to be the machine"):
        measure(study)
    assert [len(attempts_at(study, name)) for name in MEMBERS] == [1, 1, 1, 0]
    assert statuses(study) == {}


def test_what_was_lost_here_is_tried_again_after_the_others(study: Study) -> None:
    plan(study, teacher=["killed"])
    measure(study)
    ends = {name: attempts_at(study, name)[-1].began for name in MEMBERS}
    assert ends["teacher"] == max(ends.values())
    assert [x.state for x in attempts_at(study, "teacher")] == ["lost", "done"]


def test_a_study_that_was_changed_meanwhile_stops_the_worker(study: Study) -> None:
    plan(study, bk_base="other protocol")
    with pytest.raises(InputError, match=r"study.toml must stay as it is .* run again"):
        measure(study)
    assert statuses(study) == {KEYS[0]: "ok"}


def test_what_comes_after_the_last_label_is_made_up_for(study: Study) -> None:
    plan(study, finish=["killed"])
    with pytest.raises(WorkError, match="could not prepare or finish"):
        measure(study)
    assert statuses(study) == dict.fromkeys(KEYS, "ok")
    assert not (study.root / "finished").exists()
    measure(study)
    assert (study.root / "finished").exists()


def test_what_comes_after_the_last_label_depends_on_no_clock(study: Study) -> None:
    measure(study)
    (study.root / "finished").unlink()
    folder = open_claims(study, 0).folder
    for file in folder.rglob("attempt-*.json"):
        os.utime(file, (2e9, 2e9))  # as a copy, or another machine's clock, may have it
    measure(study)
    assert not (study.root / "finished").exists()
    late = Claims(folder, 2, ELSEWHERE).take(KEYS[0])  # it found the label there
    assert late is not None
    late.end("released", "it has a label")
    measure(study)
    assert not (study.root / "finished").exists()
    label_path(study, KEYS[0], study.config.protocol.key, 0).unlink()
    measure(study)
    assert (study.root / "finished").exists()


def test_some_architectures_under_another_seed_are_labelled_alone(study: Study) -> None:
    measure(study, seed=3, only=KEYS[:1])
    assert [(x.arch_key, x.seed) for x in read_labels(study)] == [(KEYS[0], 3)]
    with pytest.raises(InputError, match=f"did you mean '{KEYS[0]}'"):
        measure(study, only=[KEYS[0][:-1]])


def test_the_status_of_halving_counts_what_a_rung_has_left(study: Study) -> None:
    first = study.at_rung(0)
    for arch in map(tiny_member, MEMBERS[:3]):
        claim = open_claims(first, 0).take(arch.key)
        assert claim is not None
        write_label(first, make_label(arch, protocol_key=first.config.protocol.key, fd_efflite0=2))
        claim.end("done")
    rung, own = read_statuses(study)
    assert (rung.wanted, rung.ok, rung.waiting) == (4, 3, 1)
    assert (own.wanted, own.waiting) == (0, 0)
    last = tiny_member(MEMBERS[3])
    write_label(first, make_label(last, protocol_key=first.config.protocol.key, fd_efflite0=1))
    rung, own = read_statuses(study)
    assert (rung.ok, rung.waiting) == (4, 0)
    assert (own.wanted, own.waiting) == (1, 1)  # a quarter goes on


def test_imported_labels_ask_for_nothing_after_them(study: Study) -> None:
    measure(study)
    for file in (
        *study.claims_dir.rglob("*.json"),
        study.root / "finished",
        study.root / "started",
    ):
        file.unlink()
    measure(study)
    assert not (study.root / "started").exists()


def test_a_worker_takes_over_what_a_silent_one_elsewhere_held(study: Study) -> None:
    folder = open_claims(study, 0).folder
    assert Claims(folder, 2, ELSEWHERE).take(KEYS[2])
    status = status_of(study)
    assert [(x.arch_key, x.worker, x.gone) for x in status.running] == [
        (KEYS[2], "node-7:7", False)
    ]
    assert status.waiting == 3
    measure(study)
    assert statuses(study) == dict.fromkeys(KEYS, "ok")
    attempts = attempts_at(study, "bk-small")
    assert [x.state for x in attempts] == ["running", "done"]


def test_what_another_worker_holds_is_waited_for(study: Study) -> None:
    claim = Claims(open_claims(study, 0).folder, 2, ELSEWHERE).take(KEYS[1])
    assert claim is not None
    job = LabelJob(study, 0, tuple(KEYS))
    worker = threading.Thread(target=label_architectures, args=(job, "local"))
    with claim.renewing():
        worker.start()
        wait_until(lambda: len(read_labels(study)) == 3)
        time.sleep(1)
        assert worker.is_alive()
        assert [x.state for x in attempts_at(study, "bk-base")] == ["running"]
    worker.join(timeout=30)
    assert statuses(study) == dict.fromkeys(KEYS, "ok")


def test_a_worker_whose_lease_ran_out_drops_the_work_and_the_label_is_written_once(
    study: Study,
) -> None:
    plan(study, teacher=["hang"])
    ours = LabelJob(study, 0, (KEYS[0],))
    worker = threading.Thread(target=label_architectures, args=(ours, "local"))
    worker.start()
    folder = open_claims(study, 0).folder
    wait_until(lambda: '"ok"' in (study.root / "plan.json").read_text())  # it hangs now
    hasty = Claims(folder, 2, ELSEWHERE, clock=itertools.count(0, 0.9).__next__)
    wait_until(lambda: hasty.take(KEYS[0]) is not None)  # and falls silent in its turn
    worker.join(timeout=30)
    assert not worker.is_alive()
    attempts = attempts_at(study, "teacher")
    assert [x.state for x in attempts] == ["lost", "running", "done"]
    assert "another worker found the lease run out" in attempts[0].reason
    assert statuses(study) == {KEYS[0]: "ok"}


def test_sigterm_gives_the_claim_back(study: Study) -> None:
    plan(study, teacher="hang")
    code = (
        "import sys; from sdsearch import harness_process\n"
        f"line = {[sys.executable, FAKE, str(study.root / 'plan.json'), str(study.root), '0']!r}\n"
        "harness_process.harness_line = lambda *_, **__: line\n"
        "from sdsearch.labelling import measure; from sdsearch.study import load_study\n"
        "measure(load_study(sys.argv[1]))\n"
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


def test_the_status_counts_what_is_left_and_how_long_it_takes(study: Study) -> None:
    plan(study, bk_small=["input"])
    with pytest.raises(InputError):
        measure(study)
    status = status_of(study)
    assert (status.ok, status.waiting, len(status.running), status.wanted) == (2, 2, 0, 4)
    assert status.seconds_per_label is not None
    assert status.eta_seconds == pytest.approx(2 * status.seconds_per_label)
    assert "2 of 4 labels are there" in status.describe()[0]
    assert "min left" in status.describe()[-1]


def test_preparing_starts_no_label(study: Study) -> None:
    prepare(study)
    assert read_labels(study) == []
    assert not study.claims_dir.exists()
    assert (study.root / "started").exists()


def test_an_executor_that_is_not_installed_is_said(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"sdsearch\[ray\]"):
        measure(study, executor="ray")


def test_the_process_ends_with_its_user(study: Study) -> None:
    with HarnessProcess(study, 0) as labeller:
        labeller.prepare()
        (child,) = [x for x in psutil.Process().children() if FAKE in x.cmdline()]
    assert not child.is_running()


def wait_until(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something that another thread or process does."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
