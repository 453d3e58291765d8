"""The whole journey of a study; every stage skips what is current, so it resumes anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.console import say
from sdsearch.planning import check_study
from sdsearch.report import describe_probe, report_study
from sdsearch.stages.build import build_study
from sdsearch.stages.compare import compare_study
from sdsearch.stages.export import export_designs
from sdsearch.stages.fit import fit_study
from sdsearch.stages.label import import_own_table, label_study
from sdsearch.stages.probe import probe_study
from sdsearch.stages.sample import sample_study
from sdsearch.stages.score import score_study
from sdsearch.stages.tune import tune_teacher
from sdsearch.study import load_space

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.study import StudyFolder


def run_study(study: StudyFolder) -> Path:
    """Do all stages and print the table, the report's path and the pipelines' paths.

    Large weights of designs that are not exported are removed in the end.
    """
    from sdsearch.export import release_weights

    check_study(study)
    if study.config.teacher.inpaint:
        tune_teacher(study)
    for line in describe_probe(probe_study(study), load_space(study)):
        say(line)
    sample_study(study)
    if study.config.teacher.pipeline == "tiny":
        import_own_table(study)
    label_study(study)
    say(f"predictor: {fit_study(study).reason}")
    score_study(study)
    build_study(study)
    label_study(study)
    compare_study(study)
    folders = export_designs(study)
    page = report_study(study)
    release_weights(study)
    say(f"report: {page}")
    for folder in folders:
        say(f"pipeline: {folder}")
    return page
