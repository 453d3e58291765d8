"""Executors: where labels are measured. Whichever does it, the values are the same.

`local` is a worker on this machine. Started again on other machines, or by Slurm, with the study on
a shared file system, it joins the others: the study's claims are the queue. `ray` makes every
architecture a task of a Ray cluster whose nodes all see the study and the teacher.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from sdsearch.console import following_labels
from sdsearch.workers.ray import _label_on_ray
from sdsearch.workers.worker import finish_labels, work_off

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdsearch.workers.job import LabelJob


ExecutorName = Literal["local", "ray"]
_ENDING = [getattr(signal, x) for x in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, x)]


def label_architectures(job: LabelJob, executor: ExecutorName) -> None:
    """Label all of a job; with `local`, other workers may be at the same labels.

    Raises:
        InputError, WorkError: something concerns all labels; those measured before are kept.
    """
    todo = len(job.todo())
    if not todo and not job.needs_finish():
        return
    with following_labels(len(job.keys), len(job.keys) - todo) as tell:
        (_label_here if executor == "local" else _label_on_ray)(job, tell)


def prepare_labels(job: LabelJob) -> None:
    """Compute what all labels share, once, before many workers would each find it missing."""
    with job.open_labeller() as labeller:
        labeller.prepare()


def _label_here(job: LabelJob, tell: Callable[[int, str], None]) -> None:
    with _interrupted_by_signals(), job.open_labeller() as labeller:
        claims = job.open_claims()
        work_off(job.rung_study, job.seed, job.keys, labeller, claims, tell)
        if job.rung is None:
            finish_labels(job.keys, labeller, claims)


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP, by which schedulers and lost terminals end us, act as Ctrl-C.

    Only the first counts, so that nothing interrupts the giving back of the claim.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        for name in _ENDING:
            signal.signal(name, signal.SIG_IGN)
        raise KeyboardInterrupt

    heard = [name for name in _ENDING if signal.getsignal(name) is not signal.SIG_IGN]  # nohup
    before = {name: signal.signal(name, interrupt) for name in heard}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
