"""The whole way of a study; every stage skips what is current, so it resumes anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.console import say, speaking
from sdsearch.errors import InputError
from sdsearch.planning import RunPlan, Step, check_study, estimate_steps, list_tasks
from sdsearch.report import describe_probe, report_study
from sdsearch.stages.build import build_study, is_built
from sdsearch.stages.compare import compare_study, is_compared
from sdsearch.stages.export import export_designs
from sdsearch.stages.fit import fit_study, is_fitted
from sdsearch.stages.label import import_own_table, label_study, read_statuses
from sdsearch.stages.probe import find_probe, probe_study
from sdsearch.stages.sample import sample_study
from sdsearch.stages.score import is_scored, score_study
from sdsearch.stages.tune import tune_teacher
from sdsearch.study import (
    draw_sample,
    find_best,
    is_tuned,
    load_space,
    read_designs,
    read_sample,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sdsearch.planning import StepName
    from sdsearch.study import StudyFolder


def run_study(study: StudyFolder) -> Path:
    """Do all stages and print the table, the report's path and the pipelines' paths.

    What is done and what is left is said first. Large weights of designs that are not exported are
    removed in the end.
    """
    from sdsearch.export import release_weights

    check_study(study)
    try:
        say(str(outline_study(study)))
    except InputError as error:  # something is damaged, which the stages make again
        say(f"what is left cannot be said: {error}")
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


def outline_study(study: StudyFolder) -> RunPlan:
    """What `run_study` would do now: its steps, what of them is done, and how long the rest takes.

    Nothing of the study changes. A step counts as done only if all before it are: what comes after
    new measurements is looked at again. The report is written each time.

    Raises:
        InputError: something in the study would be refused later.
    """
    check_study(study)
    with speaking("quiet"):  # the stages themselves say what is damaged
        steps = _Steps()
        tasks = {task.stage: len(task.architectures) for task in list_tasks(study)}
        if study.config.teacher.inpaint:
            steps.add("tune", lambda: is_tuned(study))
        steps.add("probe", lambda: find_probe(study) is not None)
        is_listed = study.architectures_file.is_file()
        steps.add("sample", lambda: is_listed)
        wanted = _count_sample(study, is_listed=is_listed)
        steps.count("label", wanted - tasks["label"], wanted)
        steps.add("fit", lambda: is_fitted(study))
        steps.add("score", lambda: is_scored(study))
        steps.add("build", lambda: is_built(study))
        designs = {design.arch_key for design in read_designs(study)}
        todo = tasks["measure"]
        steps.count("designs", len(designs) - todo if designs else 0, len(designs) or todo)
        steps.add("compare", lambda: is_compared(study))
        steps.add("export", lambda: _is_exported(study))
        steps.add("report", lambda: False)
        seconds = read_statuses(study)[-1].seconds_per_label if is_listed else None
        return RunPlan(
            study=str(study.root), steps=estimate_steps(study, tuple(steps.found), seconds)
        )


def _count_sample(study: StudyFolder, *, is_listed: bool) -> int:
    """How many architectures are picked to be measured, or will be."""
    if is_listed:
        return len(read_sample(study))
    strategy = study.config.space.strategy
    return len(draw_sample(study, "uniform" if strategy == "probe" else strategy))


class _Steps:
    """The steps so far; none is done after one that is not, and then it is not even asked."""

    def __init__(self) -> None:
        self.found: list[Step] = []

    def add(self, name: StepName, is_done: Callable[[], bool]) -> None:
        """A step without parts."""
        self.found.append(Step(name=name, is_done=self._goes_on and is_done()))

    def count(self, name: StepName, done: int, total: int) -> None:
        """A step of so many parts."""
        is_done = self._goes_on and done == total
        self.found.append(Step(name=name, is_done=is_done, done=done, total=total))

    @property
    def _goes_on(self) -> bool:
        return all(step.is_done for step in self.found)


def _is_exported(study: StudyFolder) -> bool:
    """Whether there is a folder for each design to export; what is in it is checked later."""
    best = find_best(study)
    return bool(best) and all((study.pipelines_dir / one.name).is_dir() for one in best)
