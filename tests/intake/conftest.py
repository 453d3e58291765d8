"""The tiny pipeline, to be saved in other ways, and what it computes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from sdsearch.pipelines.folder import open_pipeline
from sdsearch_eval.models.teacher import load_teacher
from tests.intake.layouts import CPU, TINY_SD, outputs

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the tiny pipeline, to be saved in other ways."""
    return shutil.copytree(TINY_SD, tmp_path / "pipeline")


@pytest.fixture(scope="module")
def expected() -> list[Tensor]:
    return outputs(load_teacher(open_pipeline("tiny"), CPU))
