"""The demo's search ends where it did before the modules moved into rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from scripts.check_demo import find_differences
from sdsearch import create_study

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def _two_threads() -> Iterator[None]:
    """As the demo's designs were made: sums by other threads move the fit by 1e-3."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("_two_threads")
def test_the_demo_builds_the_designs_it_did_from_the_same_labels_and_scores(tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", budget=0.6)
    study.sample()
    study.import_labels()
    for stage in (study.fit, study.score, study.build):
        stage()
    assert find_differences(study.folder) == []
