"""Labelling by any number of workers: claims, the harness process of a worker, halving, status.

It imports `study` and `labels`. Start at `worker`; `local` and `ray` say where.
"""

from sdsearch.workers.claims import Claims
from sdsearch.workers.halving import RungReport, halve, keep_best, label_by_halving, read_values
from sdsearch.workers.headway import Watch, say_span
from sdsearch.workers.job import LabelJob, open_claims
from sdsearch.workers.local import label_here
from sdsearch.workers.messages import (
    Answer,
    Begun,
    FailOrder,
    Finished,
    FinishOrder,
    Labelled,
    LabelOrder,
    Lost,
    Order,
    Ready,
    Stopped,
    read_order,
    write_answer,
)
from sdsearch.workers.process import HarnessProcess
from sdsearch.workers.ray import label_on_ray
from sdsearch.workers.status import LabelStatus, read_label_status
from sdsearch.workers.worker import News, redo_finish

__all__ = [
    "Answer",
    "Begun",
    "Claims",
    "FailOrder",
    "FinishOrder",
    "Finished",
    "HarnessProcess",
    "LabelJob",
    "LabelOrder",
    "LabelStatus",
    "Labelled",
    "Lost",
    "News",
    "Order",
    "Ready",
    "RungReport",
    "Stopped",
    "Watch",
    "halve",
    "keep_best",
    "label_by_halving",
    "label_here",
    "label_on_ray",
    "open_claims",
    "read_label_status",
    "read_order",
    "read_values",
    "redo_finish",
    "say_span",
    "write_answer",
]
