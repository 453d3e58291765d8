"""Tuning: a teacher that paints from words learns to inpaint, and is a pipeline of its own then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.console import say, working
from sdsearch.errors import InputError, check_at_least
from sdsearch.files import noticing_moves
from sdsearch.harness import run_harness
from sdsearch.planning import check_study
from sdsearch.study import TuneRequest, is_tuned, read_tuning
from sdsearch.unet import teacher_identity

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.study import StudyFolder


def tune_teacher(study: StudyFolder, processes: int = 1) -> Path:
    """Make the study's teacher of 9 channels, unless it is there and whole; returns its folder.

    One that is damaged is written again from the weights that were learned.

    Raises:
        InputError: [teacher] asks for none, its pipeline cannot learn it, there are labels of a
            teacher that was tuned otherwise, or something in the study would be refused later.
        HarnessError: the harness failed, and has said why; what was learned is kept.
    """
    from sdsearch.export import export_teacher, find_changed

    check_at_least("processes", processes, 1)
    if not study.config.teacher.inpaint:
        raise InputError(
            f"only a teacher with inpaint = true is tuned, but {study.root / 'study.toml'} says "
            f"nothing of it in [teacher]; next: sdsearch run {study.root}"
        )
    check_study(study)
    damaged = find_changed(study.teacher_dir, study.hashes.of)
    if damaged:
        say(f"{study.teacher_dir} is written again: {', '.join(damaged[:3])} changed")
    elif is_tuned(study) and _origin(study) == teacher_identity(study.config.teacher.pipeline):
        return study.teacher_dir
    elif study.teacher_dir.is_dir() and study.labels.read_all():
        raise InputError(
            f"all labels of a study must be of one teacher, but {study.labels.folder} holds some "
            "of the teacher as it was tuned before; tune another in a new study, or remove labels/"
        )
    run_harness(TuneRequest(study=study.root, processes=processes), processes)
    with working("exporting the teacher"), noticing_moves(study.root):
        return export_teacher(study)


def _origin(study: StudyFolder) -> str | None:
    """The identity of the pipeline that the study's teacher was tuned from."""
    tuning = read_tuning(study.teacher_dir)
    return tuning.origin if tuning else None
