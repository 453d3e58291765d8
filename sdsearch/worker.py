"""A worker: takes what has no label yet, one architecture after another, until all have one.

Any number of workers may be at one study; the claims in its folder deal out the work.
"""

from __future__ import annotations

import random
import zlib
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from sdsearch.claims import Claim, Claims, attempt_path, read_attempts
from sdsearch.errors import WorkError
from sdsearch.labels import label_path, publish_label

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence
    from pathlib import Path

    from sdsearch.labels import Label
    from sdsearch.study import Study

_LONGEST_PAUSE = 5.0
_GLANCE = 32
_FINISH = "finish"


class AttemptLostError(RuntimeError):
    """What was at work on a label ended without one; another attempt may bring it."""


class AbandonedError(AttemptLostError):
    """Another worker has the item now: the fault lies with nobody's process."""


class Labeller(Protocol):
    """What turns an architecture key into a label: a process of the harness, or this one."""

    def label(self, arch_key: str, is_abandoned: Callable[[], bool]) -> Label:
        """Measure; raises `AttemptLostError` where another attempt may go better."""

    def fail(self, arch_key: str, reason: str) -> Label:
        """The failed label of an architecture that could not be measured."""

    def pause(self, seconds: float) -> None:
        """Wait while others work on all that is left."""

    def finish(self) -> None:
        """Do what is done once all labels are there."""


def open_claims(study: Study, seed: int) -> Claims:
    """The claims of a study's labels under its protocol and a label seed."""
    place = study.claims_dir / f"{study.config.protocol.key}-s{seed}"
    return Claims(place, study.config.label.lease)


def work_off(
    study: Study,
    seed: int,
    keys: Sequence[str],
    labeller: Labeller,
    claims: Claims,
    tell: Callable[[int, str], None],
) -> None:
    """Label `keys` together with whoever else is at them; returns when each has a label.

    Args:
        study: where labels and claims are.
        seed: the label seed.
        keys: architecture keys; those with a label are done.
        labeller: what measures.
        claims: as `open_claims` gives them.
        tell: told after every label how many of `keys` have one, and about this one in words.

    Raises:
        WorkError: as many architectures in a row were lost here as one may be.
        Exception: whatever concerns all labels, such as wrong input or a full disk; the
            architecture at hand is given back and all labels before it are kept.
    """
    protocol = study.config.protocol.key
    paths = {key: label_path(study, key, protocol, seed) for key in keys}
    lost_here: dict[str, str] = {}  # in a row: a label between them empties it
    rng = random.Random(claims.me.name)
    while todo := [key for key in keys if not paths[key].exists()]:
        taken = _take_any(claims, todo, lost_here, rng)
        if taken is None:
            labeller.pause(min(claims.lease / 4, _LONGEST_PAUSE) * rng.uniform(0.5, 1.5))
            continue
        key, claim = taken
        if paths[key].exists():  # published between the listing and the claim
            claim.end("released", "it has a label")
            continue
        trouble, said = _label_one(study, key, claim, labeller)
        lost_here = {**lost_here, key: said} if trouble else {}
        tell(sum(path.exists() for path in paths.values()), said)
        if len(lost_here) >= study.config.label.attempts:
            raise WorkError(
                f"{len(lost_here)} architectures in a row were lost on this machine, so that it "
                f"seems to be the machine: {'; '.join(lost_here.values())}; look at its memory and "
                "devices, then run again to go on"
            )


def finish_labels(keys: Sequence[str], labeller: Labeller, claims: Claims) -> None:
    """Do what comes after the last label, once, by one worker; the others wait for it."""
    while needs_finish(claims, keys):
        claim = claims.take(_FINISH)
        if claim is None:
            labeller.pause(min(claims.lease / 4, _LONGEST_PAUSE))
            continue
        with _given_back_on_trouble(claim), claim.renewing():
            labeller.finish()
        claim.end("done")


def needs_finish(claims: Claims, keys: Sequence[str]) -> bool:
    """Whether a label was measured here after what comes after the last label was done."""
    measured = [_done_at(claims.folder / key) for key in keys]
    return max(measured, default=0.0) > _done_at(claims.folder / _FINISH)


def _done_at(folder: Path) -> float:
    """When an item was done, by the clock of its file system; 0 if it was not."""
    attempts = read_attempts(folder)
    if not attempts or attempts[-1].state != "done":
        return 0.0
    return attempt_path(folder, len(attempts)).stat().st_mtime


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


def _label_one(study: Study, key: str, claim: Claim, labeller: Labeller) -> tuple[bool, str]:
    """Whether the attempt was lost through this machine, and what came of it in words."""
    most = study.config.label.attempts
    try:
        with _given_back_on_trouble(claim), claim.renewing():
            if len(claim.troubles) >= most:
                troubles = "; ".join(claim.troubles[-most:])
                label = labeller.fail(key, f"all {most} attempts were lost: {troubles}")
            else:
                label = labeller.label(key, claim.is_superseded)
            publish_label(study, label)
    except AttemptLostError as error:
        claim.end("lost", str(error))
        ours = not isinstance(error, AbandonedError)
        return ours, f"{key} attempt {claim.number} lost: {error}"
    if not claim.is_superseded():  # or its new owner may be about to load them
        for weights in study.rows_path(key, label.seed).glob("*/weights.safetensors"):
            weights.unlink(missing_ok=True)
    claim.end("done")
    return False, f"{key} failed: {label.reason}" if label.status == "failed" else f"{key} ok"


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
