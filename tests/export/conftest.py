"""A study whose one design is recovered, with its teacher, for tests of exports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.export.exports import save_weights
from tests.fakes import (
    checked_teacher,
    fake_teacher,
    make_design,
    make_study,
    measured,
    tiny_member,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sdsearch.design.designs import Design
    from sdsearch.study.folder import StudyFolder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_teacher(tmp_path_factory.mktemp("teacher") / "pipeline")


@pytest.fixture
def study(tmp_path: Path, teacher: Path) -> Iterator[StudyFolder]:
    made = make_study(tmp_path / "study", f"[teacher]\npipeline = {str(teacher)!r}\n")
    made.labels.write(measured(tiny_member("bk-tiny"), 212.5, 3.0))
    save_weights(made, teacher)
    return made


@pytest.fixture
def design() -> Design:
    return make_design(tiny_member("bk-tiny"), "autobuild", 1, "level0: d1; 1 of 40 by effect")


@pytest.fixture
def own_study(tmp_path: Path) -> StudyFolder:
    """Of a teacher with every part, to be changed."""
    teacher = checked_teacher(tmp_path / "own" / "teacher")
    made = make_study(tmp_path / "study", f"[teacher]\npipeline = {str(teacher)!r}\n")
    made.labels.write(measured(tiny_member("bk-tiny"), 212.5, 3.0))
    save_weights(made, teacher)
    return made
