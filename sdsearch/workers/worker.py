"""A worker: takes what has no label yet, one architecture after another, until all have one.

Any number of workers may be at one study; the claims in its folder deal out the work.
"""

from __future__ import annotations

import random
import zlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from sdsearch.errors import WorkError
from sdsearch.keys import content_key
from sdsearch.labels import Failure, LabelKey
from sdsearch.workers.claims import last_begun, last_done, read_attempts

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    from sdsearch.labels import Label, LabelStore, Series
    from sdsearch.workers.claims import Claim, Claims

_LONGEST_PAUSE = 5.0
_GLANCE = 32
"""Architectures that a worker always looks at, and as many others, when it wants one."""
_FINISH = "finish"
"""The item that is no architecture: what comes after the last label."""
PATIENCE = 3
"""Architectures in a row that may go wrong on a machine before its worker stops."""


class AttemptLostError(RuntimeError):
    """What was at work on a label ended without one; another attempt may bring it.

    `is_own_end` says that it is proven to have ended by itself, so that the attempt counts.
    """

    def __init__(self, failure: Failure, *, is_own_end: bool = True) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.is_own_end = is_own_end


class AbandonedError(AttemptLostError):
    """Another worker has the item now: the fault lies with nobody's process."""

    def __init__(self) -> None:
        message = "another worker found the lease run out"
        super().__init__(Failure(kind="lost", message=message), is_own_end=False)


class TimeLimitError(RuntimeError):
    """A label took longer than it may: the architecture's fault, unless the machine hangs."""

    def __init__(self, seconds: float) -> None:
        message = f"it took longer than the time limit of {seconds:g} s"
        super().__init__(message)
        self.failure = Failure(kind="time", message=message)


@dataclass(frozen=True, slots=True)
class News:
    """What became of an attempt at an architecture, in words.

    `is_routine` says that it was measured, and that there is nothing to worry about.
    """

    arch_key: str
    said: str
    is_routine: bool = False


class Labeller(Protocol):
    """What turns an architecture key into a label: a process of the harness, or this one."""

    def label(self, arch_key: str, claim: Claim) -> Label:
        """Measure, and say in the claim when that begins.

        Raises `AttemptLostError`, `TimeLimitError`, or what concerns all labels.
        """

    def fail(self, arch_key: str, failure: Failure) -> Label:
        """The failed label of an architecture that could not be measured."""

    def tidy(self, arch_key: str) -> None:
        """Remove what only the label was made from, now that it is published."""

    def pause(self, seconds: float) -> None:
        """Wait while others work on all that is left."""

    def finish(self) -> None:
        """Do what is done once all labels are there."""


@dataclass(frozen=True, slots=True)
class Shift:
    """What a worker has in hand.

    Attributes:
        series: which labels are measured.
        store: where labels are published.
        claims: who works on which of them.
        attempts: how many lost attempts make an architecture fail.
        patience: how many architectures in a row may be lost, or hang, here; and how many attempts
            in a row may be ended from outside.
    """

    series: Series
    store: LabelStore
    claims: Claims
    attempts: int
    patience: int = PATIENCE

    def has_label(self, arch_key: str) -> bool:
        """Whether an architecture has its label, a failed one included."""
        return LabelKey(arch_key, self.series) in self.store


def work_off(
    shift: Shift, keys: Sequence[str], labeller: Labeller, tell: Callable[[int, News], None]
) -> None:
    """Label `keys` together with whoever else is at them; returns when each has a label.

    Args:
        shift: where labels and claims are.
        keys: architecture keys; those with a label are done.
        labeller: what measures.
        tell: told after every attempt how many of `keys` have a label, and what became of it.

    Raises:
        WorkError: the patience is over: it seems to be this machine.
        Exception: whatever concerns all labels, such as wrong input or a full disk; the
            architecture at hand is given back and all labels before it are kept.
    """
    claims = shift.claims
    suspect: list[str] = []  # what happened in a row, to different ones if it was their own end
    in_a_row: set[str] = set()
    lost_here: set[str] = set()
    rng, todo = random.Random(claims.me.name), list(keys)
    while todo := [key for key in todo if not shift.has_label(key)]:
        taken = _take_any(claims, todo, lost_here, rng)
        if taken is None:
            labeller.pause(_pause(claims, rng))
            continue
        key, claim = taken
        if shift.has_label(key):  # published between the listing and the claim
            labeller.tidy(key)
            claim.end("released", "it has a label")
            continue
        outcome, news = _label_one(shift, key, claim, labeller)
        tell(len(keys) - len(todo) + shift.has_label(key), news)
        if outcome in ("trouble", "ended"):
            suspect += [] if outcome == "trouble" and key in in_a_row else [news.said]
            in_a_row.add(key)
            lost_here.add(key)
        elif outcome == "label":
            suspect, in_a_row = [], set()
        if len(suspect) >= shift.patience:
            raise WorkError(
                f"{len(suspect)} architectures in a row went wrong on {claims.me.host}, so that it "
                f"seems to be the machine: {'; '.join(suspect)}; look at its memory and devices, "
                "and at what ends processes there, then run again"
            )


def finish_labels(keys: Sequence[str], labeller: Labeller, claims: Claims) -> None:
    """Do what comes after the last label, once, by one worker; the others wait for it."""
    rng, wanted = random.Random(claims.me.name), _measured(claims, keys)
    while _finished(claims) != wanted:
        claim = claims.take(_FINISH)
        if claim is None:
            labeller.pause(_pause(claims, rng))
            continue
        if _finished(claims) == wanted:
            claim.end("released", "it is done")
            continue
        with _given_back_on_trouble(claim), claim.renewing():
            labeller.finish()
        claim.end("done", wanted)


def needs_finish(claims: Claims, keys: Sequence[str]) -> bool:
    """Whether labels were measured here since what comes after the last label was done."""
    return _finished(claims) != _measured(claims, keys)


def redo_finish(claims: Claims) -> None:
    """Have what comes after the last label done once more, unless somebody is at it."""
    if claim := claims.take(_FINISH):
        claim.end("done", "something that it made was damaged")


def _measured(claims: Claims, keys: Sequence[str]) -> str | None:
    """A name for what was measured here: by which attempt at which key; None for nothing.

    By attempts that began and not by those that are done: once all labels are there it stays, and
    workers that come to it at different times agree.
    """
    begun = {key: number for key in keys if (number := last_begun(claims.folder / key))}
    return content_key(begun) if begun else None


def _finished(claims: Claims) -> str | None:
    """After what, by its name, the last label's followers were done last."""
    number = last_done(claims.folder / _FINISH)
    return read_attempts(claims.folder / _FINISH)[number - 1].reason if number else None


def _pause(claims: Claims, rng: random.Random) -> float:
    return min(claims.lease / 4, _LONGEST_PAUSE) * rng.uniform(0.5, 1.5)


def _take_any(
    claims: Claims, todo: Sequence[str], lost_here: Container[str], rng: random.Random
) -> tuple[str, Claim] | None:
    """The first that is free, else another; what was lost here comes last.

    Of many architectures a worker looks at some, since a thousand that all look at all would keep a
    file system busy: at the same ones every time, to see their leases run out, and at others.
    """
    start = zlib.crc32(claims.me.name.encode()) % len(todo)
    watched = [*todo[start:], *todo[:start]][:_GLANCE]
    others = rng.sample(list(todo), min(len(todo), _GLANCE))
    order = dict.fromkeys([todo[0], *watched, *others])
    for key in sorted(order, key=lambda key: key in lost_here):
        if claim := claims.take(key):
            return key, claim
    return None


def _label_one(
    shift: Shift, key: str, claim: Claim, labeller: Labeller
) -> tuple[Literal["label", "trouble", "ended", "abandoned"], News]:
    """What became of an attempt, also in words.

    Trouble may be the machine's. What was ended from outside, or before it had begun, tells nothing
    of the architecture.
    """
    hung = False
    try:
        with _given_back_on_trouble(claim), claim.renewing():
            if len(claim.troubles) >= shift.attempts:
                troubles = "; ".join(dict.fromkeys(claim.troubles[-shift.attempts :]))
                message = f"all {shift.attempts} attempts were lost: {troubles}"
                label = labeller.fail(key, Failure(kind="lost", message=message))
            else:
                try:
                    label = labeller.label(key, claim)
                except TimeLimitError as error:
                    label, hung = labeller.fail(key, error.failure), True
            if not claim.begun:  # no attempt begins once there is a label: see `_measured`
                claim.begin()
            shift.store.publish(label)
    except AttemptLostError as error:
        counts = claim.begun and error.is_own_end
        claim.end("lost" if counts else "released", str(error))
        news = News(key, f"{key} attempt {claim.number} lost: {error}")
        if isinstance(error, AbandonedError):
            return "abandoned", news
        return ("trouble" if counts else "ended"), news
    if not claim.is_superseded():  # or its new owner may be about to load what we remove
        labeller.tidy(key)
    claim.end("done")
    said = f"{key} failed: {label.failure}" if label.failure else f"{key} ok"
    return ("trouble" if hung else "label"), News(key, said, is_routine=not label.failure)


@contextmanager
def _given_back_on_trouble(claim: Claim) -> Iterator[None]:
    try:
        yield
    except AttemptLostError:
        raise
    except BaseException as error:
        with suppress(OSError):  # on a full disk the lease runs out by itself
            claim.end("released", f"{type(error).__name__}: {error}")
        raise
