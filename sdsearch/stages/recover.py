"""Recovering a design by the study's long recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.errors import InputError, nearest
from sdsearch.harness import run_harness
from sdsearch.stages.search import read_designs

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.study.folder import StudyFolder


def recover(study: StudyFolder, name: str, processes: int = 1) -> Path:
    """Recover a design by the study's long recipe; returns the folder of what came of it."""
    designs = {design.name: design for design in read_designs(study)}
    if name not in designs:
        hint = f"did you mean {nearest(name, designs)!r}?" if designs else "build some first"
        raise InputError(f"a design must be one that was built, but {name!r} is none; {hint}")
    key = designs[name].arch_key
    run_harness("recover", study.root, "--arch", key, "--long", processes=processes)
    return study.finetuned_dir(key)
