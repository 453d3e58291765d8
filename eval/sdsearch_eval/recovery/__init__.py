"""Training a student towards its teacher: shortly for a label, long for an export.

It imports `sampling`, `data` and `models`. Start at `short`.
"""

from sdsearch_eval.recovery.distillation import Taps, relative_error
from sdsearch_eval.recovery.long import finetune_student
from sdsearch_eval.recovery.short import Lessons, pool_size, recover_student
from sdsearch_eval.recovery.step import Cut

__all__ = [
    "Cut",
    "Lessons",
    "Taps",
    "finetune_student",
    "pool_size",
    "recover_student",
    "relative_error",
]
