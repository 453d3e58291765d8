"""Planning: what a study will take on this machine, and what is wrong with it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sdsearch.harness import run_harness
from sdsearch.planning.checks import find_problems
from sdsearch.planning.offers import offer_labels
from sdsearch.planning.tasks import list_tasks
from sdsearch.planning.values import StudyPlan
from sdsearch.study import PlanRequest

if TYPE_CHECKING:
    from sdsearch.study import StudyFolder


def plan_study(study: StudyFolder) -> StudyPlan:
    """Count the memory and disk of every stage, measure this machine's speed, and check the study.

    It also says what labels cost here, and what so many are worth as far as that is known. Nothing
    of the study changes. It takes a minute or two, most of it for the networks that are tried.

    Raises:
        InputError: the teacher's configs cannot be read.
        HarnessError: the harness failed, and has said why.
    """
    with tempfile.TemporaryDirectory(prefix="sdsearch-") as folder:
        out = Path(folder) / "plan.json"
        run_harness(PlanRequest(study=study.root, tasks=list_tasks(study), out=out))
        plan = StudyPlan.model_validate_json(out.read_bytes())
    found = {
        "problems": (*find_problems(study), *plan.problems),
        "offers": offer_labels(study, plan),
    }
    return plan.model_copy(update=found)
