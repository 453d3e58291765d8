"""Locks: what one process at a time may do in a study."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sdsearch.console import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdsearch.study.folder import StudyFolder

_PATIENCE = 5.0
"""Seconds of waiting before it is said."""


@contextmanager
def one_at_a_time(study: StudyFolder, what: str) -> Iterator[None]:
    """Wait until no other process does `what` in the study, and keep others waiting inside.

    The system frees the lock when the process ends, however it does. `what` names a file.
    """
    from filelock import FileLock, Timeout

    folder = study.root / ".locks"
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / f"{what}.lock")
    try:
        lock.acquire(timeout=_PATIENCE)
    except Timeout:
        say(f"another process is at {what} in {study.root}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
