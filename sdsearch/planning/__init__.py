"""What a study will take, and what would be refused later, said before any hour is spent.

It imports `study`, `design`, `labels` and `unet`. Start at `plan`.
"""

from sdsearch.planning.checks import check_study, find_problems
from sdsearch.planning.machine import free_disk, host_memory
from sdsearch.planning.offers import offer_labels
from sdsearch.planning.plan import plan_study
from sdsearch.planning.steps import RunPlan, Step, StepName, estimate_steps, keep_plan
from sdsearch.planning.table import describe_plan
from sdsearch.planning.tasks import COMPARED, list_tasks
from sdsearch.planning.values import (
    BESIDE,
    EACH,
    Machine,
    Need,
    Offer,
    Offers,
    Peak,
    Proposal,
    StudyPlan,
)

__all__ = [
    "BESIDE",
    "COMPARED",
    "EACH",
    "Machine",
    "Need",
    "Offer",
    "Offers",
    "Peak",
    "Proposal",
    "RunPlan",
    "Step",
    "StepName",
    "StudyPlan",
    "check_study",
    "describe_plan",
    "estimate_steps",
    "find_problems",
    "free_disk",
    "host_memory",
    "keep_plan",
    "list_tasks",
    "offer_labels",
    "plan_study",
]
