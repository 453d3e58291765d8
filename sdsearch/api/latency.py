"""Latency: measure what a survey wants and fit a table to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.errors import InputError
from sdsearch.files import write_atomic
from sdsearch.harness import run_harness
from sdsearch.model import FrozenModel
from sdsearch.space import (
    CrossValidation,
    LatencySurvey,
    LatencyTable,
    fit_latency_table,
    read_survey,
)
from sdsearch.study import LatencyRequest

if TYPE_CHECKING:
    from pathlib import Path


class LatencyReport(FrozenModel):
    """A latency table, how well it predicts and, where one was asked for, a member's latency."""

    table: str
    hardware: str
    error: CrossValidation
    member: str | None = None
    milliseconds: float | None = None


def tabulate_latency(path: Path, wanted: LatencySurvey) -> LatencyTable:
    """Measure what a survey wants, beside `path`, and write the table fitted to it there.

    A survey that was begun for the same members and conditions is continued.

    Raises:
        InputError: the survey beside `path` is of other members or conditions.
    """
    file = path.with_suffix(".survey.json")
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, wanted.to_json())
    begun = read_survey(file)
    same = [m.architecture for m in begun.members] == [m.architecture for m in wanted.members]
    if not same or begun.conditions != wanted.conditions or begun.backbone != wanted.backbone:
        raise InputError(
            f"{file} must be a survey of these members and conditions, but is another; remove it "
            "to begin a new one, or give another table's path"
        )
    if not begun.is_complete:
        run_harness(LatencyRequest(survey=file))
    table = fit_latency_table(read_survey(file))
    write_atomic(path, table.to_json(1) + "\n")
    return table
