from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from sdsearch import endings
from sdsearch.endings import advise, describe_exit, name_signal, shell_code
from sdsearch.errors import HarnessError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("ended_by", "cause", "step"),
    [
        (signal.SIGKILL, "host memory ran out", "choose a smaller batch"),
        (signal.SIGTERM, "a job's time is over", "give the job more time"),
        (signal.SIGSEGV, "a fault in a driver", "the GPU's driver and torch"),
        (signal.SIGBUS, "/dev/shm is full", "free space there"),
        (signal.SIGABRT, "gave up", "the GPU's driver and torch"),
        (signal.SIGUSR1, "SIGUSR1", "run again"),
    ],
)
@pytest.mark.parametrize("said", [lambda number: -number, lambda number: 128 + number])
def test_a_signal_is_named_with_its_likely_cause_and_a_next_step(said, ended_by, cause, step):
    code = said(ended_by.value)
    assert name_signal(code) == ended_by.name
    assert describe_exit(code).startswith(f"was ended by {ended_by.name}")
    assert cause in describe_exit(code)
    assert step in advise(code, "choose a smaller batch")


@pytest.mark.parametrize("code", [0, 1, 2, 3, 127, 128, 130, 255, None])
def test_what_ended_by_itself_blames_no_signal(code):
    assert "SIG" not in describe_exit(code)
    assert advise(code, "choose a smaller batch") == "what it printed says more"


def test_a_signal_without_a_name_is_said_by_its_number():
    assert describe_exit(-64) in ("was ended by signal 64", "was ended by SIGRTMAX")


def test_codes_of_shells_and_of_the_system_mean_the_same():
    for each in (signal.SIGKILL, signal.SIGSEGV):
        assert name_signal(shell_code(-each.value)) == name_signal(-each.value)
    assert shell_code(3) == 3


@pytest.mark.parametrize(
    ("code", "told"), [(-9, False), (3, False), (1, True), (2, True), (130, True), (137, True)]
)
def test_a_harness_error_says_stage_ending_and_what_to_change(code, told):
    error = HarnessError("recover", code, "lower micro_batch")
    assert error.has_been_told == told
    assert str(error).startswith("recover: its process ")
    assert ("lower micro_batch" in str(error)) == (code == -9)


def test_of_processes_killed_for_memory_those_of_ones_own_control_group_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "memory.events"
    monkeypatch.setattr(endings, "_own_events", lambda: (file,))
    of_the_machine = endings.count_memory_kills()
    file.write_text(f"low 0\noom 3\noom_kill {of_the_machine + 2}\noom_group_kill 0\n")
    assert endings.count_memory_kills() == of_the_machine + 2
