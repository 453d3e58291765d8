"""Latency: time the members that a survey asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.console import progress_bar
from sdsearch_eval.jobs.workspace import open_console
from sdsearch_eval.sampling import fill_survey
from sdsearch_eval.world import World

if TYPE_CHECKING:
    from sdsearch.study import LatencyRequest


def time_members(request: LatencyRequest) -> None:
    """Fill in a latency survey with a progress bar; what is measured already stays."""
    with progress_bar(open_console(World())) as progress:
        task = progress.add_task(f"latency ({request.survey.name})", total=None)
        fill_survey(
            request.survey,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
