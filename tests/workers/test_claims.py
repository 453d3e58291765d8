from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from sdsearch.workers.claims import Claim, Claims, Worker, attempt_path, read_attempts, this_process

if TYPE_CHECKING:
    from pathlib import Path

ELSEWHERE = Worker(host="node-7", place="another boot", pid=7)


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def claims_of(folder: Path, worker: Worker = ELSEWHERE, clock: Clock | None = None) -> Claims:
    return Claims(folder, 60, worker, clock or Clock())


def test_of_many_workers_that_want_an_item_one_gets_it(tmp_path: Path) -> None:
    workers = [claims_of(tmp_path, Worker(host="n", place="p", pid=i)) for i in range(24)]
    with ThreadPoolExecutor(24) as pool:
        taken = list(pool.map(lambda claims: claims.take("a"), workers))
    assert sum(claim is not None for claim in taken) == 1
    assert len(read_attempts(tmp_path / "a")) == 1


def watch(claims: Claims, clock: Clock, until: float) -> Claim | None:
    """Look every 20 seconds, as a worker without work does."""
    while clock.now < until:
        clock.now += 20
        if claim := claims.take("a"):
            return claim
    return None


def test_a_lease_runs_out_only_after_it_was_seen_unchanged_for_its_whole_time(
    tmp_path: Path,
) -> None:
    clock = Clock()
    first = claims_of(tmp_path).take("a")
    assert first is not None
    other = claims_of(tmp_path, clock=clock)
    assert watch(other, clock, 60) is None
    first._write(beat=1)
    assert watch(other, clock, 140) is None
    again = watch(other, clock, 160)
    assert again is not None
    assert again.number == 2
    assert again.troubles == [], "silence tells of the worker alone"
    assert first.is_superseded()
    assert not again.is_superseded()


def test_a_watcher_that_was_asleep_itself_begins_to_watch_anew(tmp_path: Path) -> None:
    claims_of(tmp_path).take("a")
    clock = Clock()
    other = claims_of(tmp_path, clock=clock)
    assert other.take("a") is None
    clock.now = 1000  # both were suspended: the owner had no chance to renew
    assert other.take("a") is None
    assert watch(other, clock, 1060) is None
    assert watch(other, clock, 1080) is not None


def test_a_lease_is_judged_by_what_its_owner_promised(tmp_path: Path) -> None:
    claims_of(tmp_path).take("a")
    clock = Clock()
    hasty = Claims(tmp_path, 1, ELSEWHERE, clock)
    assert watch(hasty, clock, 60) is None


@pytest.mark.parametrize("skew", [-1e9, 1e9])
def test_clocks_of_machines_are_never_compared(tmp_path: Path, skew: float) -> None:
    assert claims_of(tmp_path, clock=Clock(skew)).take("a")
    assert claims_of(tmp_path, clock=Clock(0)).take("a") is None


def test_two_workers_that_see_one_lease_run_out_do_not_both_get_the_item(tmp_path: Path) -> None:
    claims_of(tmp_path).take("a")
    clocks = [Clock() for _ in range(16)]
    workers = [claims_of(tmp_path, clock=clock) for clock in clocks]
    for now in (0, 20, 40, 60):
        for clock in clocks:
            clock.now = now
        assert not any(claims.take("a") for claims in workers)
    for clock in clocks:
        clock.now = 80
    with ThreadPoolExecutor(16) as pool:
        taken = list(pool.map(lambda claims: claims.take("a"), workers))
    assert sum(claim is not None for claim in taken) == 1


def test_a_process_known_to_be_dead_is_not_waited_for(tmp_path: Path) -> None:
    code = "from sdsearch.workers.claims import Claims; import sys, pathlib\n"
    code += "assert Claims(pathlib.Path(sys.argv[1]), 60).take('a')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment)
    claim = Claims(tmp_path, 60).take("a")
    assert claim is not None
    assert claim.number == 2


def test_the_number_of_a_dead_process_says_nothing_about_another_machine() -> None:
    assert not ELSEWHERE.is_gone()
    assert not this_process().is_gone()
    assert this_process().model_copy(update={"pid": 2**22 + 1}).is_gone()


def test_a_claim_is_renewed_while_its_work_goes_on(tmp_path: Path) -> None:
    claim = Claims(tmp_path, 0.08).take("a")
    assert claim is not None
    with claim.renewing():
        deadline = time.monotonic() + 10
        while read_attempts(tmp_path / "a")[0].beat < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert not any(thread.name == "lease" for thread in threading.enumerate())
    claim.end("done")
    (attempt,) = read_attempts(tmp_path / "a")
    assert attempt.state == "done"
    assert attempt.seconds is not None


def test_a_renewal_that_cannot_be_written_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sdsearch.workers import claims

    claim = Claims(tmp_path, 0.04).take("a")
    assert claim is not None
    real, tried = claims.write_atomic, []

    def full(path: Path, data: str) -> None:
        tried.append(path)
        if len(tried) < 3:
            raise OSError("No space left on device")
        real(path, data)

    monkeypatch.setattr(claims, "write_atomic", full)
    with claim.renewing():
        deadline = time.monotonic() + 10
        while len(tried) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    claim.end("done")


def test_lost_attempts_count_in_a_row_and_those_given_back_do_not(tmp_path: Path) -> None:
    claims = claims_of(tmp_path)
    for state, reason in (
        ("lost", "before"),
        ("done", None),
        ("lost", "killed"),
        ("released", "Ctrl-C"),
        ("lost", "again"),
    ):
        claim = claims.take("a")
        assert claim is not None
        claim.end(state, reason)  # type: ignore[arg-type]
    claim = claims.take("a")
    assert claim is not None
    assert claim.troubles == ["node-7:7: killed", "node-7:7: again"]


def test_a_damaged_attempt_keeps_the_item_until_its_lease_runs_out(tmp_path: Path) -> None:
    attempt_path(tmp_path / "a", 1).parent.mkdir()
    attempt_path(tmp_path / "a", 1).write_text("{")
    clock = Clock()
    claims = claims_of(tmp_path, clock=clock)
    assert watch(claims, clock, 60) is None
    assert watch(claims, clock, 100) is not None


def test_an_attempt_is_one_line_that_people_can_read(tmp_path: Path) -> None:
    claims_of(tmp_path).take("a")
    written = json.loads(attempt_path(tmp_path / "a", 1).read_text())
    assert written["worker"] == {"host": "node-7", "place": "another boot", "pid": 7}
    assert written["state"] == "running"
    assert written["began"].endswith("+00:00")
