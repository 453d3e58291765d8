"""A worker: takes what has no label yet, one architecture after another, until all have one.

Any number of workers may be at one study; the claims in its folder deal out the work.
"""

from __future__ import annotations

import zlib
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from sdsearch.claims import Claim, Claims
from sdsearch.labels import label_path, publish_label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sdsearch.labels import Label
    from sdsearch.study import Study

_LONGEST_PAUSE = 5.0


class AttemptLostError(RuntimeError):
    """What was at work on a label ended without one; another attempt may bring it."""


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
        Exception: whatever concerns all labels, such as wrong input or a full disk; the
            architecture at hand is given back and all labels before it are kept.
    """
    protocol = study.config.protocol.key
    paths = {key: label_path(study, key, protocol, seed) for key in keys}
    while todo := [key for key in keys if not paths[key].exists()]:
        taken = _take_any(claims, todo)
        if taken is None:
            labeller.pause(min(claims.lease / 4, _LONGEST_PAUSE))
            continue
        key, claim = taken
        if paths[key].exists():  # published between the listing and the claim
            claim.end("done")
            continue
        said = _label_one(study, key, claim, labeller)
        tell(sum(path.exists() for path in paths.values()), said)


def finish_labels(labeller: Labeller, claims: Claims) -> None:
    """Do what comes after the last label, unless another worker is doing it."""
    if claim := claims.take("finish"):
        with _given_back_on_trouble(claim), claim.renewing():
            labeller.finish()
        claim.end("done")


def _take_any(claims: Claims, todo: Sequence[str]) -> tuple[str, Claim] | None:
    """The first that is free; where others are at work, each worker begins its search elsewhere."""
    start = zlib.crc32(claims.me.name.encode()) % len(todo)
    for key in dict.fromkeys([todo[0], *todo[start:], *todo[:start]]):
        if claim := claims.take(key):
            return key, claim
    return None


def _label_one(study: Study, key: str, claim: Claim, labeller: Labeller) -> str:
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
        return f"{key} attempt {claim.number} lost: {error}"
    claim.end("done")
    if label.status == "failed":
        return f"{key} failed: {label.reason}"
    return f"{key} ok"


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
