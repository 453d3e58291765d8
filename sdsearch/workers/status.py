"""How far labelling is: what is done, failed, running where, waiting, and how long it may take."""

from __future__ import annotations

import time
from collections import Counter
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sdsearch.labels import Failure, find_difference, former_keys
from sdsearch.model import FrozenModel
from sdsearch.workers.claims import attempt_path, read_attempts
from sdsearch.workers.headway import say_span
from sdsearch.workers.job import open_claims

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sdsearch.study import StudyFolder
    from sdsearch.workers.claims import Attempt


_BY_PATHS = "they are named by paths, as labels once were; adopt them, or they are measured again"


class FailedLabel(FrozenModel):
    """An architecture that could not be measured, and why."""

    arch_key: str
    failure: Failure


class RunningLabel(FrozenModel):
    """An architecture at work: where, in which attempt, for how long.

    `silent_seconds` is how long ago its worker renewed its claim, by the clocks of this machine and
    of the file system; a worker that is known to be dead has `gone`.
    """

    arch_key: str
    worker: str
    attempt: int
    began: str
    silent_seconds: float
    gone: bool


class OtherLabels(FrozenModel):
    """Labels of the same study under another key, and the one thing that makes it another."""

    protocol_key: str
    count: int
    difference: str


class LabelStatus(FrozenModel):
    """The state of labels under one protocol and seed; `lost` counts attempts that died.

    `others` are labels that differ in one setting only.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    protocol_key: str
    seed: int
    wanted: int
    ok: int
    failed: tuple[FailedLabel, ...]
    running: tuple[RunningLabel, ...]
    waiting: int
    lost: int
    seconds_per_label: float | None
    eta_seconds: float | None
    others: tuple[OtherLabels, ...] = ()

    def __str__(self) -> str:
        return "\n".join(self.describe())

    def describe(self) -> list[str]:
        """The same in words, a line each."""
        lines = [
            f"{self.ok} of {self.wanted} models measured, {len(self.failed)} failed, "
            f"{len(self.running)} running, {self.waiting} waiting, {self.lost} attempts lost "
            f"(protocol {self.protocol_key}, seed {self.seed})"
        ]
        lines += [
            f"  {x.arch_key} at {x.worker} since {x.began}, attempt {x.attempt}, "
            + ("dead" if x.gone else f"last seen {x.silent_seconds:.0f} s ago")
            for x in self.running
        ]
        lines += [f"  {x.arch_key} failed: {x.failure}" for x in self.failed]
        if self.eta_seconds is not None and self.seconds_per_label is not None:
            each, at_once = say_span(self.seconds_per_label), max(1, len(self.running))
            left = say_span(self.eta_seconds)
            lines.append(f"about {left} left: {each} each, {at_once} at a time")
        lines += [
            f"  {x.count} measurements of protocol {x.protocol_key} differ in one thing: "
            f"{x.difference}"
            for x in self.others
        ]
        return lines


def read_label_status(
    study: StudyFolder, keys: Iterable[str], now: float | None = None
) -> LabelStatus:
    """Read the state of the labels of `keys`; `now` is the time of day in seconds."""
    now = time.time() if now is None else now
    claims, labels = open_claims(study), study.labels.read_series(study.series)
    keys = list(dict.fromkeys(keys))
    failed, running, seconds, lost = [], [], [], 0
    for key in keys:
        attempts = read_attempts(claims.folder / key)
        label, last = labels.get(key), attempts[-1] if attempts else None
        lost += sum(x.state == "lost" for x in attempts)
        lost += sum(x.state == "running" for x in attempts[:-1])
        if label is None:
            if last and last.state == "running":
                silent = now - _last_change(claims.folder / key, len(attempts), now)
                running.append(_running(key, last, len(attempts), silent))
        elif label.failure:
            failed.append(FailedLabel(arch_key=key, failure=label.failure))
        elif last and last.state == "done" and last.seconds:
            seconds.append(last.seconds)
    left = sum(key not in labels for key in keys)
    each = median(seconds) if seconds else None
    return LabelStatus(
        protocol_key=study.series.protocol_key,
        seed=study.series.seed,
        wanted=len(keys),
        ok=len(keys) - left - len(failed),
        failed=tuple(failed),
        running=tuple(running),
        waiting=left - len(running),
        lost=lost,
        seconds_per_label=each,
        eta_seconds=None if each is None or not left else each * left / max(1, len(running)),
        others=_find_others(study),
    )


def _find_others(study: StudyFolder) -> tuple[OtherLabels, ...]:
    """Labels under other keys that differ from the study's in one thing, or in their name alone."""
    settings: dict[str, dict[str, Any]] = {}
    counts: Counter[str] = Counter()
    for label in study.labels.read_all():
        counts[label.protocol_key] += 1
        settings[label.protocol_key] = label.provenance.get("protocol", {})
    here, former = study.resolved.settings, former_keys(study.config.protocol)
    found = []
    for key in sorted(counts.keys() - {study.protocol_key}):
        difference = _BY_PATHS if key in former else find_difference(settings[key], here)
        if difference is not None:
            found.append(OtherLabels(protocol_key=key, count=counts[key], difference=difference))
    return tuple(found)


def _running(key: str, attempt: Attempt, number: int, silent: float) -> RunningLabel:
    return RunningLabel(
        arch_key=key,
        worker=attempt.worker.name,
        attempt=number,
        began=attempt.began,
        silent_seconds=round(max(0.0, silent), 1),
        gone=attempt.worker.is_gone(),
    )


def _last_change(folder: Path, number: int, now: float) -> float:
    try:
        return attempt_path(folder, number).stat().st_mtime
    except FileNotFoundError:  # its file system is slow to tell
        return now
