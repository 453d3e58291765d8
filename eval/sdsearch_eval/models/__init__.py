"""The teacher and the components around a UNet.

They import single modules only. Start at `components`.
"""

from sdsearch_eval.models.components import (
    CAPTIONS_AT_ONCE,
    PIXELS_AT_ONCE,
    Components,
    describe_cut,
    load_components,
    own_weights,
)
from sdsearch_eval.models.schedulers import make_scheduler, set_steps
from sdsearch_eval.models.teacher import Teacher, load_teacher, widen_teacher

__all__ = [
    "CAPTIONS_AT_ONCE",
    "PIXELS_AT_ONCE",
    "Components",
    "Teacher",
    "describe_cut",
    "load_components",
    "load_teacher",
    "make_scheduler",
    "own_weights",
    "set_steps",
    "widen_teacher",
]
