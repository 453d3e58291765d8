"""Checks: what would be refused hours later, refused now, by the code that would refuse it then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.design import find_allowed
from sdsearch.errors import InputError
from sdsearch.labels import check_target
from sdsearch.study import draw_sample, load_meter, read_preset

if TYPE_CHECKING:
    from sdsearch.study import StudyFolder


def check_study(study: StudyFolder) -> None:
    """Refuse a study that could not be ended.

    Raises:
        InputError: everything that is wrong with it.
    """
    if problems := find_problems(study):
        raise InputError("; ".join(problems))


def find_problems(study: StudyFolder) -> list[str]:
    """What is wrong with a study, in words: target, sample, budget, latency table, preset.

    What its photos lack is found where they are read, when work on them is opened.
    """
    found = []
    for check in (_check_target, _check_sample, _check_budget, _check_preset):
        try:
            check(study)
        except InputError as error:
            found.append(str(error))
    return list(dict.fromkeys(found))  # a teacher that cannot be read is found by several


def _check_target(study: StudyFolder) -> None:
    check_target(study.config.ranker.target, study.config.protocol)


def _check_sample(study: StudyFolder) -> None:
    """Its members are there; a probe that draws them may be made later, or again."""
    if study.config.space.strategy == "probe":
        meter = load_meter(study)
        limits = meter.limits(study.config.build.budget)
        find_allowed(meter, limits, study.config.space.labels)
    else:
        draw_sample(study)


def _check_budget(study: StudyFolder) -> None:
    settings, meter = study.config.build, load_meter(study)
    find_allowed(meter, meter.limits(settings.budget), settings.top)


def _check_preset(study: StudyFolder) -> None:
    if study.config.report.preset is not None:
        read_preset(study.config.report.preset)
