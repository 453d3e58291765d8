"""The stages of a study, in order; each reads and writes files, skips what is current, resumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.console import say
from sdsearch.stages.compare import compare
from sdsearch.stages.export import export
from sdsearch.stages.label import _import_own_table, measure
from sdsearch.stages.report import report
from sdsearch.stages.sample import sample
from sdsearch.stages.search import build, fit, score

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.study.folder import StudyFolder


def run(study: StudyFolder) -> Path:
    """Do the whole journey and print the table, the report's path and the pipelines' paths."""
    sample(study)
    if study.config.teacher.pipeline == "tiny":
        _import_own_table(study)
    measure(study)
    say(f"predictor: {fit(study).reason}")
    score(study)
    build(study)
    measure(study)
    compare(study)
    folders = export(study)
    page = report(study)
    say(f"report: {page}")
    for folder in folders:
        say(f"pipeline: {folder}")
    return page
