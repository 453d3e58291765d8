"""Recovering: a design learns by the study's long recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.errors import check_at_least
from sdsearch.harness import run_harness
from sdsearch.planning import check_study
from sdsearch.study import FinetuneRequest, find_design

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.study import StudyFolder


def recover_design(study: StudyFolder, name: str, processes: int = 1) -> Path:
    """Recover a built design by the study's long recipe; returns the folder of what came of it.

    Raises:
        InputError: there is no design of this name, fewer processes than one, or something in the
            study that would be refused later.
        HarnessError: the harness failed, and has said why.
    """
    check_at_least("processes", processes, 1)
    check_study(study)
    key = find_design(study, name).arch_key
    run_harness(FinetuneRequest(study=study.root, arch_key=key, processes=processes), processes)
    return study.finetuned_dir(key)
