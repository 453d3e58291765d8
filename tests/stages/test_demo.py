"""A search as the demo was before there was a probe ends where it did."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from scripts.check_demo import find_differences
from sdsearch.study import read_study

if TYPE_CHECKING:
    from pathlib import Path

SEARCH = """
import sys
from sdsearch import create_study
from sdsearch.assets import asset_path

study = create_study(
    sys.argv[1],
    budget=0.6,
    ranker={"rule": "graph"},
    build={"methods": ["autobuild", "exhaustive", "random"]},
)
study.sample()
study.import_labels(asset_path("tiny-labels.jsonl"))
for stage in (study.fit, study.score, study.build):
    stage()
"""


@pytest.mark.slow
def test_a_search_without_a_probe_builds_the_designs_it_did_from_the_same_labels_and_scores(
    tmp_path: Path,
) -> None:
    # Two threads, as the demo's designs were made: sums by other threads move the fit by 1e-3.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    path = os.pathsep.join(part for part in sys.path if part)
    subprocess.run(
        [sys.executable, "-c", SEARCH, str(tmp_path / "study")],
        env={**os.environ, **threads, "PYTHONPATH": path},
        check=True,
    )
    assert find_differences(read_study(tmp_path / "study")) == []
