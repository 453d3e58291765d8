"""Training a student towards its teacher, for a label or an export; or a teacher to inpaint.

It imports `sampling`, `data` and `models`. Start at `short`, or at `long` and `stream`.
"""

from sdsearch_eval.recovery.distillation import Taps, relative_error
from sdsearch_eval.recovery.latents import LatentFile, fill_latents
from sdsearch_eval.recovery.long import CHECKPOINT, Course, Watch, finetune_student
from sdsearch_eval.recovery.progress import begin_recovery
from sdsearch_eval.recovery.short import Lessons, pool_size, recover_student
from sdsearch_eval.recovery.sources import Photos, Source, open_source
from sdsearch_eval.recovery.step import Cut, Lesson, learn_lesson, make_optimizer

__all__ = [
    "CHECKPOINT",
    "Course",
    "Cut",
    "LatentFile",
    "Lesson",
    "Lessons",
    "Photos",
    "Source",
    "Taps",
    "Watch",
    "begin_recovery",
    "fill_latents",
    "finetune_student",
    "learn_lesson",
    "make_optimizer",
    "open_source",
    "pool_size",
    "recover_student",
    "relative_error",
]
