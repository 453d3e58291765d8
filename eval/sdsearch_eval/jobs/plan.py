"""Planning: what a study's tasks will take on this machine, written as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.console import show_status
from sdsearch.files import write_atomic
from sdsearch.study import read_study
from sdsearch_eval.devices import set_arithmetic
from sdsearch_eval.jobs.workspace import open_console
from sdsearch_eval.planning import plan_study
from sdsearch_eval.world import open_world

if TYPE_CHECKING:
    from sdsearch.study import PlanRequest


def write_plan(request: PlanRequest) -> None:
    """Count and time the tasks of a study; nothing in it changes."""
    study, world = read_study(request.study), open_world(1)
    set_arithmetic(tf32=study.config.protocol.tf32)
    with show_status(open_console(world), "counting memory, trying every kind of work"):
        plan = plan_study(study, request.tasks, world.device)
    write_atomic(request.out, plan.model_dump_json())
