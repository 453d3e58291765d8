"""What work will need before it is begun: memory counted on meta tensors.

It imports all rooms below. Start at `counts`.
"""

from sdsearch_eval.planning.counts import (
    Counted,
    Training,
    count_call,
    count_pass,
    count_training,
)
from sdsearch_eval.planning.live import LiveMemory
from sdsearch_eval.planning.workspaces import bound_workspace

__all__ = [
    "Counted",
    "LiveMemory",
    "Training",
    "bound_workspace",
    "count_call",
    "count_pass",
    "count_training",
]
