"""What a study will take on this machine, and how its work is cut to fit the memory at hand.

It imports `counting`, `recovery`, `sampling`, `metrics`, `nets` and `models`. Start at `study`.
"""

from sdsearch_eval.planning.settling import (
    describe_work,
    settle_labels,
    settle_recovery,
    settle_tuning,
)
from sdsearch_eval.planning.study import plan_study

__all__ = ["describe_work", "plan_study", "settle_labels", "settle_recovery", "settle_tuning"]
