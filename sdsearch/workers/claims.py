"""Claims: who works on what, as files that any number of workers on any machines share.

Every attempt at an item is one numbered file. Whoever creates the next number owns the item until
the attempt ends or its lease runs out; only the owner changes the file. A lease is renewed by
raising a counter and judged by watching that counter with one's own monotonic clock, so that the
clocks of different machines are never compared. A number is given once, so two workers that see the
same lease run out cannot both have the item; nothing is deleted, so the files are the record of
what was tried.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from sdsearch.files import write_atomic, write_once
from sdsearch.model import FrozenModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BEATS_PER_LEASE = 4

AttemptState = Literal["running", "done", "lost", "released"]
"""An attempt is running, done (the item too), lost (the work itself ended it: this counts against
the item) or released (given back: it does not count). One that falls silent proves nothing."""


class Worker(FrozenModel):
    """A process: its host, a mark of that host's process table, and its number there."""

    host: str
    place: str
    pid: int

    @property
    def name(self) -> str:
        """Host and process, for people."""
        return f"{self.host}:{self.pid}"

    def is_gone(self) -> bool:
        """Whether it surely no longer runs, which only its own process table can tell."""
        if self.place != _place():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


class Attempt(FrozenModel):
    """One try at an item. `began` is for people; that `beat` rises within `lease` says it lives.

    `begun` says that the work itself had begun, and not only what prepares it.
    """

    worker: Worker
    began: str
    lease: float = Field(60, gt=0)
    beat: int = Field(0, ge=0)
    begun: bool = False
    state: AttemptState = "running"
    reason: str | None = None
    seconds: float | None = None


@dataclass(slots=True)
class Claim:
    """An item that is ours, as attempt `number` at it.

    Attributes:
        path: the attempt's file.
        troubles: why each of the attempts lost since the item was last done ended, oldest first;
            a lost attempt began, and ended by itself.
    """

    path: Path
    number: int
    attempt: Attempt
    lease: float
    troubles: list[str]
    clock: Callable[[], float]
    began: float
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def begun(self) -> bool:
        """Whether the work itself has begun."""
        return self.attempt.begun

    def begin(self) -> None:
        """Note that the work itself begins: what prepares it is done."""
        self._write(begun=True)

    def is_superseded(self) -> bool:
        """Whether another worker has found our lease run out and has the item, as far as we see."""
        with suppress(OSError):
            return attempt_path(self.path.parent, self.number + 1).exists()
        return False

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Renew the lease in the background; a renewal that cannot be written is tried again."""
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(self.lease / _BEATS_PER_LEASE):
                with suppress(OSError):
                    self._write()

        thread = threading.Thread(target=renew, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def end(self, state: AttemptState, reason: str | None = None) -> None:
        """End the attempt."""
        self._write(state=state, reason=reason, seconds=round(self.clock() - self.began, 3))

    def _write(self, **changes: object) -> None:
        with self._lock:  # it is renewed by another thread
            changes = {"beat": self.attempt.beat + 1, **changes}
            self.attempt = self.attempt.model_copy(update=changes)
            write_atomic(self.path, self.attempt.model_dump_json() + "\n")


@dataclass(slots=True)
class Claims:
    """The claims in `folder`, as the worker `me` sees them; `lease` and `clock` in seconds.

    Of a running attempt `me` remembers how it was, since when, and when it last looked: a watcher
    that did not look for long, busy or asleep, begins to watch anew.
    """

    folder: Path
    lease: float
    me: Worker = field(default_factory=lambda: this_process())
    clock: Callable[[], float] = time.monotonic
    _seen: dict[Path, tuple[Attempt, float, float]] = field(default_factory=dict)

    def take(self, item: str) -> Claim | None:
        """Claim an item (a relative path without suffix), or None while another worker has it."""
        folder = self.folder / item
        attempts = read_attempts(folder)
        if attempts and attempts[-1].state == "running" and not self._ran_out(folder, attempts):
            return None
        number = len(attempts) + 1
        path = attempt_path(folder, number)
        began = datetime.now(UTC).isoformat(timespec="seconds")
        attempt = Attempt(worker=self.me, began=began, lease=self.lease)
        if not write_once(path, attempt.model_dump_json() + "\n", self.folder.parents[1]):
            return None
        troubles = _troubles(attempts)
        return Claim(path, number, attempt, self.lease, troubles, self.clock, self.clock())

    def _ran_out(self, folder: Path, attempts: list[Attempt]) -> bool:
        last, path = attempts[-1], attempt_path(folder, len(attempts))
        if last.worker.is_gone():
            return True
        now = self.clock()
        before, since, looked = self._seen.get(path, (last, now, now))
        if before != last or now - looked > last.lease / 2:
            since = now
        self._seen[path] = last, since, now
        return now - since > last.lease


def read_attempts(folder: Path) -> list[Attempt]:
    """All attempts at an item, oldest first; a damaged file counts as one that still runs."""
    found: list[Attempt] = []
    while (path := attempt_path(folder, len(found) + 1)).exists():
        try:
            found.append(Attempt.model_validate_json(path.read_bytes()))
        except (ValidationError, OSError):
            nobody = Worker(host="unknown", place="unknown", pid=0)
            found.append(Attempt(worker=nobody, began="unknown"))
    return found


def last_done(folder: Path) -> int:
    """The number of the last attempt that is done; 0 where none is."""
    attempts = read_attempts(folder)
    return max((i for i, x in enumerate(attempts, start=1) if x.state == "done"), default=0)


def last_begun(folder: Path) -> int:
    """The number of the last attempt whose work began, whatever came of it; 0 where none did."""
    attempts = enumerate(read_attempts(folder), start=1)
    return max((i for i, x in attempts if x.begun or x.state == "done"), default=0)


def this_process() -> Worker:
    """The worker that this process is."""
    return Worker(host=socket.gethostname(), place=_place(), pid=os.getpid())


def _troubles(attempts: list[Attempt]) -> list[str]:
    """Why the attempts since the item was last done were lost; no others count against it.

    One that fell silent tells of its worker: whoever killed or paused that may do so again.
    """
    found: list[str] = []
    for attempt in attempts:
        if attempt.state == "done":
            found = []
        elif attempt.state == "lost":
            found.append(f"{attempt.worker.name}: {attempt.reason}")
    return found


def attempt_path(folder: Path, number: int) -> Path:
    """The file of an attempt."""
    return folder / f"attempt-{number:04d}.json"


@cache
def _place() -> str:
    """What tells one process table from another: the boot and, in a container, its namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        import psutil

        return f"{socket.gethostname()} {psutil.boot_time():.0f}"
