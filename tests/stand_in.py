"""A study of four members whose harness is a stand-in (fake_harness.py) that does as it is told."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdsearch.stages.label import read_statuses
from sdsearch.workers import process as harness_process
from sdsearch.workers.claims import Worker, read_attempts
from sdsearch.workers.job import open_claims
from tests.fakes import list_members, make_study, tiny_member

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from sdsearch.study.folder import StudyFolder
    from sdsearch.workers.status import LabelStatus

MEMBERS = ("teacher", "bk-base", "bk-small", "bk-tiny")
KEYS = [tiny_member(name).key for name in MEMBERS]
TOML = "[label]\ntime_limit = 30\nlease = 2\n"
ELSEWHERE = Worker(host="node-7", place="another boot", pid=7)
FAKE = str(Path(__file__).with_name("fake_harness.py"))


def listed_study(folder: Path, toml: str, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    """A study of four members whose harness is the stand-in."""
    made = make_study(folder / "study", toml)
    list_members(made, map(tiny_member, MEMBERS))
    plan(made)
    line = [sys.executable, FAKE, str(made.root / "plan.json")]
    monkeypatch.setattr(harness_process, "harness_line", lambda request, _: [*line, str(request)])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    return made


def plan(study: StudyFolder, **behaviours: Any) -> None:
    """What becomes of members ("bk_tiny") and of the start."""
    keys = {name.replace("-", "_"): tiny_member(name).key for name in MEMBERS}
    named = {keys.get(name, name): what for name, what in behaviours.items()}
    (study.root / "plan.json").write_text(json.dumps(named))


def attempts_at(study: StudyFolder, name: str) -> list[Any]:
    return read_attempts(open_claims(study).folder / tiny_member(name).key)


def status_of(study: StudyFolder) -> LabelStatus:
    (status,) = read_statuses(study)
    return status


def statuses(study: StudyFolder) -> dict[str, str]:
    return {label.arch_key: label.status for label in study.labels.read_all()}


def wait_until(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something that another thread or process does."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
