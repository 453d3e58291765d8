"""How far labelling is: what is done, failed, running where, waiting, and how long it may take."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from sdsearch.labels.store import label_path, read_label
from sdsearch.workers.claims import attempt_path, read_attempts
from sdsearch.workers.worker import open_claims

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sdsearch.study.folder import StudyFolder


class Failed(BaseModel):
    """An architecture that could not be measured, and why."""

    model_config = ConfigDict(frozen=True)

    arch_key: str
    reason: str


class Running(BaseModel):
    """An architecture at work: where, in which attempt, for how long.

    `silent_seconds` is how long ago its worker renewed its claim, by the clocks of this machine and
    of the file system; a worker that is known to be dead has `gone`.
    """

    model_config = ConfigDict(frozen=True)

    arch_key: str
    worker: str
    attempt: int
    began: str
    silent_seconds: float
    gone: bool


class LabelStatus(BaseModel):
    """The state of labels under one protocol and seed; `lost` counts attempts that died."""

    model_config = ConfigDict(frozen=True, serialize_by_alias=True)

    schema_version: Literal[1] = Field(1, alias="schema")
    protocol_key: str
    seed: int
    wanted: int
    ok: int
    failed: tuple[Failed, ...]
    running: tuple[Running, ...]
    waiting: int
    lost: int
    seconds_per_label: float | None
    eta_seconds: float | None

    def describe(self) -> list[str]:
        """The same in words, a line each."""
        lines = [
            f"{self.ok} of {self.wanted} labels are there (protocol {self.protocol_key}, seed "
            f"{self.seed}), {len(self.failed)} failed, {len(self.running)} running, "
            f"{self.waiting} waiting, {self.lost} attempts lost"
        ]
        lines += [
            f"  {x.arch_key} at {x.worker} since {x.began}, attempt {x.attempt}, "
            + ("dead" if x.gone else f"last heard of {x.silent_seconds:.0f} s ago")
            for x in self.running
        ]
        lines += [f"  {x.arch_key} failed: {x.reason}" for x in self.failed]
        if self.eta_seconds is not None and self.seconds_per_label is not None:
            lines.append(
                f"about {self.eta_seconds / 60:.0f} min left: {self.seconds_per_label:.1f} s a "
                f"label, {max(1, len(self.running))} at a time"
            )
        return lines


def read_label_status(
    study: StudyFolder, seed: int, keys: Iterable[str], now: float | None = None
) -> LabelStatus:
    """Read the state of the labels of `keys`; `now` is the time of day in seconds."""
    now = time.time() if now is None else now
    protocol, claims = study.config.protocol.key, open_claims(study, seed)
    keys = list(dict.fromkeys(keys))
    failed, running, seconds, lost, ok = [], [], [], 0, 0
    for key in keys:
        attempts = read_attempts(claims.folder / key)
        path = label_path(study, key, protocol, seed)
        last = attempts[-1] if attempts else None
        lost += sum(x.state == "lost" for x in attempts)
        lost += sum(x.state == "running" for x in attempts[:-1])
        if path.exists():
            label = read_label(path)
            ok += label.status == "ok"
            if last and last.state == "done" and last.seconds and label.status == "ok":
                seconds.append(last.seconds)
            failed += [Failed(arch_key=key, reason=str(label.reason))] * (label.status != "ok")
        elif last and last.state == "running":
            silent = now - _last_change(claims.folder / key, len(attempts), now)
            running.append(
                Running(
                    arch_key=key,
                    worker=last.worker.name,
                    attempt=len(attempts),
                    began=last.began,
                    silent_seconds=round(max(0.0, silent), 1),
                    gone=last.worker.is_gone(),
                )
            )
    left = len(keys) - ok - len(failed)
    each = median(seconds) if seconds else None
    return LabelStatus(
        protocol_key=protocol,
        seed=seed,
        wanted=len(keys),
        ok=ok,
        failed=tuple(failed),
        running=tuple(running),
        waiting=left - len(running),
        lost=lost,
        seconds_per_label=each,
        eta_seconds=None if each is None or not left else each * left / max(1, len(running)),
    )


def _last_change(folder: Path, number: int, now: float) -> float:
    try:
        return attempt_path(folder, number).stat().st_mtime
    except FileNotFoundError:  # its file system is slow to tell
        return now
