"""Headway: how fast labels come while they are measured, when all will be there, and the best."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sdsearch.errors import InputError
from sdsearch.labels import LabelKey
from sdsearch.workers.claims import read_attempts
from sdsearch.workers.job import open_claims

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdsearch.labels import Label
    from sdsearch.workers.job import LabelJob

_UNITS = ((86400.0, "days"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


@dataclass(frozen=True, slots=True)
class Headway:
    """How far labelling is.

    Attributes:
        done: how many labels are there, by whichever worker.
        total: how many are wanted.
        seconds: what a label takes here, the mean since this worker began; None before the first.
        left_seconds: until all are there, at the speed of all workers since then.
        last: the newest value; None where there is none, as after a failure.
        best: the best value of all that are there.
    """

    done: int
    total: int
    seconds: float | None = None
    left_seconds: float | None = None
    last: float | None = None
    best: float | None = None

    def describe(self) -> str:
        """The same in words.

        >>> Headway(13, 72, 4.2, 247.8, 83.14, 79.62).describe()
        '4.2 s each, 4.1 min left; last 83.14, best 79.62'
        """
        said = []
        if self.seconds is not None and self.left_seconds is not None:
            left = "done" if self.done >= self.total else f"{say_span(self.left_seconds)} left"
            said.append(f"{say_span(self.seconds)} each, {left}")
        if self.best is not None:
            last = "" if self.last is None else f"last {self.last:.4g}, "
            said.append(f"{last}best {self.best:.4g}")
        return "; ".join(said)


@dataclass(slots=True)
class Watch:
    """Follows a job of labels and keeps count of them: its own, and those of other workers.

    Values are those of the column whose logarithm the target takes, lower being better, else of
    the target itself, higher being better.
    """

    job: LabelJob
    clock: Callable[[], float] = time.monotonic
    _unseen: set[str] = field(init=False)
    _best: float | None = field(init=False, default=None)
    _began: float | None = field(init=False, default=None)
    _first: int = field(init=False, default=0)
    _spent: list[float] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        """Take in the labels that are there."""
        self._unseen = set(self.job.keys)
        self._take_in()

    @property
    def measure(self) -> str:
        """What the values are of, in words."""
        target = self.job.measured.config.ranker.target
        if target.log_column is not None:
            return f"{target.log_column}, lower is better"
        return f"{target.expression}, higher is better"

    def hear(self, arch_key: str) -> Headway:
        """The headway once an attempt at an architecture has ended, with a label or without."""
        self._take_in()
        total, now = len(self.job.keys), self.clock()
        done = total - len(self._unseen)
        label = None if arch_key in self._unseen else self._read(arch_key)
        if label is None:
            return Headway(done, total, *self._speed(done, now), best=self._best)
        spent = self._seconds(label)
        if self._began is None:  # what prepares all labels does not count
            self._began, self._first = now - spent, done - 1
        self._spent.append(spent)
        return Headway(done, total, *self._speed(done, now), self._value(label), self._best)

    def _speed(self, done: int, now: float) -> tuple[float | None, float | None]:
        if self._began is None or not self._spent:
            return None, None
        pace = (now - self._began) / (done - self._first)
        return sum(self._spent) / len(self._spent), pace * len(self._unseen)

    def _take_in(self) -> None:
        """Read the labels that are new, whoever has measured them."""
        study = self.job.measured
        new = {key for key in self._unseen if LabelKey(key, study.series) in study.labels}
        self._unseen -= new
        is_lower = study.config.ranker.target.log_column is not None
        values = [self._value(label) for key in new if (label := self._read(key))]
        known = [value for value in (*values, self._best) if value is not None]
        self._best = (min if is_lower else max)(known, default=None)

    def _read(self, arch_key: str) -> Label | None:
        """A label; None where it is damaged or gone, which is told where it is learned from."""
        study = self.job.measured
        try:
            return study.labels.read(LabelKey(arch_key, study.series))
        except (InputError, OSError):
            return None

    def _value(self, label: Label) -> float | None:
        """The value of a label; None where it failed, or the target is undefined for it."""
        target = self.job.measured.config.ranker.target
        column = target.log_column
        if label.failure:
            return None
        try:
            return target.evaluate(label) if column is None else label.scalar(column)
        except InputError:
            return None

    def _seconds(self, label: Label) -> float:
        """What a label took: by its own stopwatch, or by its claim, which counts preparation."""
        spent = sum(label.provenance.get("seconds", {}).values())
        if spent:
            return float(spent)
        attempts = read_attempts(open_claims(self.job.measured).folder / label.arch_key)
        return next((one.seconds for one in reversed(attempts) if one.seconds), 0.0)


def say_span(seconds: float) -> str:
    """A span of time in two digits or more.

    >>> [say_span(spent) for spent in (0.4, 59, 90, 5400, 200_000)]
    ['0.4 s', '59 s', '1.5 min', '1.5 h', '2.3 days']
    """
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), _UNITS[-1])
    amount = seconds / size
    return f"{amount:.0f} {unit}" if amount >= 10 else f"{amount:.1f} {unit}"
