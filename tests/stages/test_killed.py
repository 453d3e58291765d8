"""A harness that the system kills: what the command says, and with which exit code it ends."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.fakes import list_members, make_design, make_study, tiny_member, write_designs

if TYPE_CHECKING:
    from pathlib import Path

KILLED = "its process was ended by SIGKILL, usually because host memory ran out; see what it needs"


def run_while_killing_the_harness(*line: str) -> subprocess.CompletedProcess[str]:
    """A command whose harness is killed whenever there is one, as the system does it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sdsearch", *line],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children():
                if "sdsearch_eval" in child.cmdline():
                    child.kill()
        time.sleep(0.02)
    _, said = process.communicate()
    return subprocess.CompletedProcess(line, process.returncode, "", said)


@pytest.mark.parametrize(
    ("command", "stage"),
    [("label", "the harness could not prepare the labels"), ("recover", "recover")],
)
def test_a_killed_harness_is_told_with_stage_signal_cause_and_next_step(
    command: str, stage: str, tmp_path: Path
) -> None:
    study = make_study(tmp_path / "study")
    list_members(study, [tiny_member("bk-tiny")])
    write_designs(study, [make_design(tiny_member("bk-small"), "autobuild", 1)])
    done = run_while_killing_the_harness(command, str(study.root))
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"failed: {stage}: ")
    assert KILLED in last
    assert f"sdsearch plan {study.root}" in last
    assert done.returncode == 1
