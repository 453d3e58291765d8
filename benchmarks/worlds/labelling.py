"""Labels of several studies at once, by many harness processes of one machine, until a deadline."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sdsearch.errors import InputError, WorkError
from sdsearch.labels import LabelKey
from sdsearch.workers import HarnessProcess
from sdsearch.workers.worker import AttemptLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sdsearch.study import StudyFolder

MOST_LOST = 2


@dataclass
class Group:
    """Labels of one study under one seed: what is left, and how often each was lost."""

    name: str
    study: StudyFolder
    keys: list[str]
    done: int = 0
    lost: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, study: StudyFolder, seed: int, keys: Sequence[str]) -> Group:
        """A group of what has no label yet."""
        seeded = study.at_seed(seed)
        left = [key for key in keys if LabelKey(key, seeded.series) not in seeded.labels]
        return cls(f"{name}, seed {seed}", seeded, left)


@dataclass
class Queue:
    """Groups in order of urgency; one may bring others when its last label is there."""

    groups: list[Group]
    deadline: float
    then: Callable[[Group], Sequence[Group]] = lambda group: ()
    lock: threading.Lock = field(default_factory=threading.Lock)
    busy: dict[str, int] = field(default_factory=dict)
    pending: int = 0

    def take(self, before: Group | None) -> tuple[Group, str] | None:
        """The next label: of the worker's own group where it has any, else of the first that does.

        None once the time is over or nothing is left.
        """
        with self.lock:
            if time.monotonic() > self.deadline:
                return None
            chosen = before if before is not None and before.keys else None
            # Few workers for each group that is left: a start costs as much as several labels.
            open_groups = [group for group in self.groups if group.keys]
            if chosen is None and open_groups:
                chosen = min(
                    open_groups[:2],
                    key=lambda group: self.busy.get(group.name, 0) / len(group.keys),
                )
            if chosen is None:
                return None
            self.busy[chosen.name] = self.busy.get(chosen.name, 0) + 1
            return chosen, chosen.keys.pop(0)

    def end(self, group: Group, key: str, *, lost: bool) -> None:
        """Say what became of a label; a lost one is tried again, twice at most."""
        with self.lock:
            self.busy[group.name] -= 1
            if lost and group.lost.get(key, 0) < MOST_LOST:
                group.lost[key] = group.lost.get(key, 0) + 1
                group.keys.append(key)
            elif not lost:
                group.done += 1
            is_over = not group.keys and not self.busy[group.name]
            is_over = is_over and time.monotonic() < self.deadline
            self.pending += is_over  # others wait for what it brings
        if is_over:
            try:
                more = self.then(group)
                with self.lock:
                    self.groups[:0] = more
            finally:
                with self.lock:
                    self.pending -= 1


def label_groups(
    groups: Sequence[Group],
    workers: int,
    seconds: float,
    then: Callable[[Group], Sequence[Group]] = lambda group: (),
) -> int:
    """Label by so many processes for so many seconds; how many labels there are more.

    An error of one of them, or an interrupt, ends all after the labels that they are at.
    """
    queue = Queue([group for group in groups if group.keys], time.monotonic() + seconds, then)
    for group in groups:
        if not group.keys:
            queue.groups[:0] = then(group)
    start = time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for done in as_completed([pool.submit(_work, queue, start) for _ in range(workers)]):
                done.result()
        finally:
            queue.deadline = 0.0
    left = sum(len(group.keys) for group in queue.groups)
    made = sum(group.done for group in queue.groups)
    print(f"{made} labels in {time.monotonic() - start:.0f} s, {left} left", flush=True)
    return made


def _work(queue: Queue, start: float) -> None:
    group: Group | None = None
    process: HarnessProcess | None = None
    try:
        while True:
            taken = queue.take(group)
            if taken is None:
                if queue.pending and time.monotonic() < queue.deadline:
                    time.sleep(1)
                    continue
                return
            if taken[0] is not group or process is None:
                if process is not None:
                    process.end()
                process = HarnessProcess(taken[0].study)
            group, key = taken
            queue.end(group, key, lost=not _label(process, group, key, start))
    finally:
        if process is not None:
            process.end()


def _label(process: HarnessProcess, group: Group, key: str, start: float) -> bool:
    """Whether there is a label now, a failed one too."""
    begun = time.monotonic()
    try:
        label = process.label(key)
    except AttemptLostError as error:
        print(f"{group.name}: {key} lost: {error}", flush=True)
        return False
    except (InputError, WorkError) as error:
        print(f"{group.name}: {key}: {error}", flush=True)
        return False
    group.study.labels.publish(label)
    if not group.done % 16:
        now = time.monotonic()
        said = label.failure or "ok"
        print(
            f"{now - start:6.1f} s  {group.name}: {group.done + 1} done, {len(group.keys)} left; "
            f"{key} {said} in {now - begun:.1f} s",
            flush=True,
        )
    return True
