"""Labels on this machine: a worker that joins all others at the study.

Started again on other machines, or by Slurm, with the study on a shared file system, it shares the
work with them: the study's claims are the queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.shell import interrupted_by_signals
from sdsearch.workers.worker import finish_labels, work_off

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdsearch.workers.job import LabelJob
    from sdsearch.workers.worker import News


def label_here(job: LabelJob, tell: Callable[[int, News], None]) -> None:
    """Label all of a job in a process of this machine; other workers may be at the same labels.

    `tell` is told after every attempt how many labels there are, and what became of it.

    Raises:
        InputError, WorkError: something concerns all labels; those measured before are kept.
    """
    with interrupted_by_signals(), job.open_labeller() as labeller:
        shift = job.open_shift()
        work_off(shift, job.keys, labeller, tell)
        if job.rung is None:
            finish_labels(job.keys, labeller, shift.claims)
