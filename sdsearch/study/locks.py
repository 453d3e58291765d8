"""Locks: what one process at a time may do in a study."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sdsearch.console import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdsearch.study.folder import StudyFolder

_PATIENCE = 5.0
"""Seconds of waiting before it is said."""
_PAUSE = 0.05
"""Seconds between two tries."""


@contextmanager
def one_at_a_time(study: StudyFolder, what: str) -> Iterator[None]:
    """Wait until no other process does `what` in the study, and keep others waiting inside.

    The system frees the lock when the process ends, however it does. `what` names a file.

    Raises:
        FolderGoneError: the study was moved or deleted.
    """
    from filelock import FileLock, Timeout

    lock, begun, is_told = FileLock(study.root / ".locks" / f"{what}.lock"), time.monotonic(), False
    while not lock.is_locked:
        study.make(study.root / ".locks")  # the lock would make the whole study anew
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not is_told and time.monotonic() - begun > _PATIENCE:
                say(f"another process is at {what} in {study.root}; waiting for it")
                is_told = True
            time.sleep(_PAUSE)
    try:
        yield
    finally:
        lock.release()
