"""Labels on this machine: a worker that joins all others at the study.

Started again on other machines, or by Slurm, with the study on a shared file system, it shares the
work with them: the study's claims are the queue.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sdsearch.workers.worker import finish_labels, work_off

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdsearch.workers.job import LabelJob

_ENDING = [getattr(signal, x) for x in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, x)]


def label_here(job: LabelJob, tell: Callable[[int, str], None]) -> None:
    """Label all of a job in a process of this machine; other workers may be at the same labels.

    `tell` is told after every label how many there are, and about this one in words.

    Raises:
        InputError, WorkError: something concerns all labels; those measured before are kept.
    """
    with _interrupted_by_signals(), job.open_labeller() as labeller:
        shift = job.open_shift()
        work_off(shift, job.keys, labeller, tell)
        if job.rung is None:
            finish_labels(job.keys, labeller, shift.claims)


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
