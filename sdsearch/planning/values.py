"""What a plan says: memory, disk and time of every stage, and settings for smaller cards."""

from __future__ import annotations

from typing import Literal

from sdsearch.model import FrozenModel
from sdsearch.study import Stage


class Peak(FrozenModel):
    """Bytes in memory at the worst moment of a stage.

    Attributes:
        phase: what is going on then.
        parts: what is there, by name.
    """

    phase: str
    parts: dict[str, int]

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.parts.values())


class Need(FrozenModel):
    """What a stage takes on this machine.

    Attributes:
        stage: which.
        times: how often it is done in the study, with what is done already left out.
        fits: whether this machine has the memory.
        device: memory of the device, worked on in the largest parts that fit, or else in the
            smallest that the settings allow; None on the CPU, where host memory is all there is.
        host: memory of the host.
        cut: how a training step is cut to fit, in words; None where nothing is trained.
        disk: bytes that are there after all of them.
        seconds: of all of them; None where nothing was tried, since it does not fit.
    """

    stage: Stage
    times: int
    fits: bool
    device: Peak | None
    host: Peak
    cut: str | None = None
    disk: int = 0
    seconds: float | None = None

    @property
    def memory(self) -> Peak:
        """Where the networks are: the device's memory, or the host's."""
        return self.device or self.host


class Machine(FrozenModel):
    """What is at hand, in bytes; on the CPU there is no device memory besides the host's."""

    device: str
    kind: str
    device_bytes: int | None
    host_bytes: int
    disk_bytes: int
    threads: int

    @property
    def room(self) -> int:
        """The memory in which networks have to fit."""
        return self.host_bytes if self.device_bytes is None else self.device_bytes


class Proposal(FrozenModel):
    """Settings with which labels, or a long recovery, fit into a card of so many gigabytes.

    `lines` are for study.toml, () where it fits as it is; `need` is what is needed with them, which
    is above `usable` where nothing helps.
    """

    gigabytes: float
    stage: Stage
    usable: int
    need: int
    lines: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether the card has what is needed."""
        return self.need <= self.usable


class Offer(FrozenModel):
    """So many labels: what they cost on this machine, and what they are worth.

    Attributes:
        labels: how many are measured in all.
        seconds: until they are there, from where the study is; None where nothing was timed.
        method: what orders architectures with them.
        srcc: rank correlation with labels that it has not seen; None where nobody knows.
        designs: mean `column` of four designs in the source's table; None in a study of its own.
    """

    labels: int
    seconds: float | None
    method: str
    srcc: float | None = None
    designs: float | None = None


class Offers(FrozenModel):
    """What labels cost and bring; `source` says in words where what they bring was measured."""

    rows: tuple[Offer, ...]
    column: str | None
    source: str


EACH: tuple[Stage, ...] = ("probe", "label", "measure", "remake", "export", "recover")
"""Stages that are done for every architecture by itself."""
BESIDE: tuple[Stage, ...] = ("recover",)
"""Stages that `sdsearch run` leaves out."""


class StudyPlan(FrozenModel):
    """What a study will take on this machine, before any hour is spent.

    Attributes:
        workspace: bytes that float32 convolutions may take besides, only where they are free.
        problems: what would be refused later, in words; empty where all checks passed.
        offers: what labels cost here, and what so many were worth before.
    """

    schema_version: Literal[1] = 1
    study: str
    machine: Machine
    needs: tuple[Need, ...]
    workspace: int
    proposals: tuple[Proposal, ...]
    problems: tuple[str, ...] = ()
    offers: Offers | None = None

    @property
    def seconds(self) -> float | None:
        """All stages that `sdsearch run` does; None where one of them does not fit."""
        found = [need.seconds for need in self.needs if need.stage not in BESIDE]
        known = [seconds for seconds in found if seconds is not None]
        return sum(known) if len(known) == len(found) else None

    @property
    def disk(self) -> int:
        """What the study will hold besides what it holds now, by what `sdsearch run` does."""
        return sum(need.disk for need in self.needs if need.stage not in BESIDE)
