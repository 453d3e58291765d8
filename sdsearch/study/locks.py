"""Locks: what one process at a time may do in a folder."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sdsearch.console import say
from sdsearch.files import make_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PATIENCE = 5.0
"""Seconds of waiting before it is said."""
_PAUSE = 0.05
"""Seconds between two tries."""


@contextmanager
def one_at_a_time(place: Path, what: str) -> Iterator[None]:
    """Wait until nobody else does `what` in a folder, and keep others waiting inside.

    Whoever holds it may enter again. The system frees the lock when the process ends, however it
    does. `what` names a file.

    Raises:
        FolderGoneError: `place` was moved or deleted.
    """
    from filelock import FileLock, Timeout

    folder, begun, is_told, is_held = place / ".locks", time.monotonic(), False, False
    lock = FileLock(folder / f"{what}.lock", is_singleton=True)
    while not is_held:
        make_folder(folder, place)  # the lock would make all of `place` anew
        try:
            lock.acquire(timeout=0)
            is_held = True
        except Timeout:
            if not is_told and time.monotonic() - begun > _PATIENCE:
                say(f"another process is at {what} in {place}; waiting for it")
                is_told = True
            time.sleep(_PAUSE)
    try:
        yield
    finally:
        lock.release()
