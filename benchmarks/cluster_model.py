"""A discrete-event model of many workers that label together, some of them preempted.

What it knows: how long each label takes, what a start costs (its own work and what it reads from a
shared file system of bounded bandwidth), how often a GPU is taken away and when another comes, and
that a lost label is free again once somebody without work has seen its lease run out. What it does
not know: the network, a scheduler's own queue, that a label may be lost too often, anything that
makes one GPU slower than another.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import count
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import simpy

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    Steps = Generator[simpy.Event, Any, None]

_PART = 256e6
"""Bytes that are read at once before another reader has its turn."""
_STEP = 0.5
"""Seconds of work between two looks at who else is at work."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Workers and what they share; seconds and bytes.

    Attributes:
        workers: as many labels at a time; a worker may have several GPUs.
        start: what a start takes beside reading.
        start_per_label: whether every label starts a process of its own, as a Ray task does.
        read: bytes that a start reads from the shared file system.
        read_per_label: bytes that every label reads from it.
        client_rate: bytes a second that one reader gets at most.
        total_rate: bytes a second that all readers together get at most.
        lease: how long a silent worker keeps its label, once somebody watches.
        preempted_every: mean seconds between two losses of a worker (exponential); None: never.
        replaced_after: seconds until another worker comes in its place.
        beside: factor on a label's seconds while another worker of the same machine measures.
        kills: (second, worker) of losses that are known; nobody comes in place of those.
    """

    workers: int
    start: float = 0.0
    start_per_label: bool = False
    read: float = 0.0
    read_per_label: float = 0.0
    client_rate: float = 1e9
    total_rate: float = 1e9
    lease: float = 60.0
    preempted_every: float | None = None
    replaced_after: float = 300.0
    beside: float = 1.0
    kills: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """What came of it, in seconds: until the last label, in labels that were kept, and in vain."""

    makespan: float
    useful: float
    lost: float
    starts: int
    longest_start: float
    workers: int

    @property
    def utilisation(self) -> float:
        """The share of all workers' time until the end that went into labels that were kept."""
        return self.useful / (self.workers * self.makespan)


def simulate_run(cluster: Cluster, labels: Sequence[float], seed: int = 0) -> Run:
    """Label all once; the same seed gives the same run."""
    return _Simulation(cluster, labels, np.random.default_rng(seed)).run()


@dataclass(slots=True)
class _Simulation:
    cluster: Cluster
    labels: Sequence[float]
    rng: np.random.Generator
    env: simpy.Environment = field(default_factory=simpy.Environment)
    todo: deque[int] = field(default_factory=deque)
    orphans: deque[int] = field(default_factory=deque)
    left: int = 0
    working: int = 0
    useful: float = 0.0
    lost: float = 0.0
    starts: list[float] = field(default_factory=list)
    readers: simpy.Resource = field(init=False)
    ended: simpy.Event = field(init=False)

    def __post_init__(self) -> None:
        streams = max(1, int(self.cluster.total_rate / self.cluster.client_rate))
        self.readers = simpy.Resource(self.env, streams)
        self.ended = self.env.event()

    def run(self) -> Run:
        self.todo.extend(range(len(self.labels)))
        self.left = len(self.labels)
        numbers = count()
        for _ in range(self.cluster.workers):
            self._add_worker(next(numbers))
        self.env.run(self.ended)
        longest = max(self.starts, default=0.0)
        return Run(
            self.env.now, self.useful, self.lost, len(self.starts), longest, self.cluster.workers
        )

    def _add_worker(self, number: int) -> None:
        worker = self.env.process(self._work(number))
        self.env.process(self._take_away(worker, number))

    def _take_away(self, worker: simpy.Process, number: int) -> Steps:
        known = [second for second, who in self.cluster.kills if who == number]
        if known:
            yield self.env.timeout(known[0])
        elif self.cluster.preempted_every is not None:
            yield self.env.timeout(self.rng.exponential(self.cluster.preempted_every))
        else:
            return
        if worker.is_alive:
            worker.interrupt()
        if not known:
            yield self.env.timeout(self.cluster.replaced_after)
            if self.left:
                self._add_worker(number)

    def _work(self, number: int) -> Steps:
        label: int | None = None
        began = self.env.now
        try:
            if not self.cluster.start_per_label:
                yield from self._start()
            while self.left:
                label = yield from self._take()
                if label is None:
                    return
                began = self.env.now
                self.working += 1
                if self.cluster.start_per_label:
                    yield from self._start()
                yield from self._read(self.cluster.read_per_label)
                seconds = self.labels[label]
                yield from self._measure(seconds)
                self.working -= 1
                self.useful += seconds
                self._end(label)
                label = None
        except simpy.Interrupt:
            if label is not None:
                self.working -= 1
                self.lost += self.env.now - began
                self.orphans.append(label)

    def _measure(self, seconds: float) -> Steps:
        """A label's time: in small steps where another worker may slow it down."""
        step = seconds if self.cluster.beside == 1 else _STEP
        while seconds > 0:
            slow = self.cluster.beside if self.working > 1 else 1.0
            yield self.env.timeout(min(step, seconds) * slow)
            seconds -= step

    def _take(self) -> Generator[simpy.Event, Any, int | None]:
        """A free label; where there is none, one whose lease runs out under one's eyes."""
        while self.left:
            if self.todo:
                return self.todo.popleft()
            watched = self.orphans[0] if self.orphans else None
            yield self.env.timeout(max(self.cluster.lease, 1e-3))
            if watched is not None and watched in self.orphans:
                self.orphans.remove(watched)
                return watched
        return None

    def _start(self) -> Steps:
        began = self.env.now
        yield from self._read(self.cluster.read)
        yield self.env.timeout(self.cluster.start)
        self.starts.append(self.env.now - began)

    def _read(self, size: float) -> Steps:
        """Read in parts, so that a small read does not wait for all large ones before it."""
        parts = max(1, ceil(size / _PART)) if size else 0
        for _ in range(parts):
            with self.readers.request() as stream:
                yield stream
                rate = min(self.cluster.client_rate, self.cluster.total_rate)
                yield self.env.timeout(size / parts / rate)

    def _end(self, label: int) -> None:
        self.left -= 1
        if not self.left:
            self.ended.succeed()
