"""Labels: what was measured for an architecture, or why it could not be measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from sdsearch.errors import InputError, suggest
from sdsearch.model import FrozenModel, KeyedModel, SealedModel
from sdsearch.unet import Architecture

FailureKind = Literal["architecture", "memory", "device", "time", "lost"]
"""Whose fault a failure is: the architecture's own, that of a machine out of memory or of its
device, of the time limit, or of processes that died at it again and again."""


@dataclass(frozen=True, slots=True, order=True)
class Series:
    """Labels that compare: those of one protocol under one label seed."""

    protocol_key: str
    seed: int

    def __str__(self) -> str:
        return f"{self.protocol_key}-s{self.seed}"


@dataclass(frozen=True, slots=True, order=True)
class LabelKey:
    """The identity of a label: there is one for each architecture of a series."""

    arch_key: str
    series: Series


class Measurement(KeyedModel):
    """A measured value with its standard error over n samples, where they exist.

    `blocks` are its values without each of some blocks of consecutive samples, by which two labels
    of the same samples are compared in pairs (`sdsearch.stats.leave_out_blocks`). Labels of before
    have none, and stay as they are when they are written again.
    """

    later_fields: ClassVar = frozenset({"blocks"})

    value: float
    se: float | None = None
    n: int | None = None
    blocks: tuple[float, ...] | None = Field(None, min_length=2)


class Latency(FrozenModel):
    """Milliseconds per call: median and interquartile range, and where they were taken."""

    median: float
    iqr: float
    device: str
    n: int | None = None
    dtype: str | None = None
    batch: int | None = None
    resolution: int | None = None
    threads: int | None = None

    @property
    def setting(self) -> str:
        """Where and how they were taken, in words."""
        said = [self.device]
        said += [] if self.batch is None else [f"batch {self.batch}"]
        said += [] if self.resolution is None else [f"{self.resolution} px"]
        said += [] if self.dtype is None else [self.dtype]
        said += [] if self.threads is None else [f"{self.threads} threads"]
        return ", ".join(said)


class Failure(FrozenModel):
    """Why there is no measurement: whose fault, what was said, and in which phase of the work."""

    kind: FailureKind
    message: str
    phase: str | None = None

    @property
    def is_passing(self) -> bool:
        """Whether another process or machine may succeed: the architecture did nothing wrong."""
        return self.kind in ("memory", "device")

    def __str__(self) -> str:
        return self.message if self.phase is None else f"{self.message} (in {self.phase})"


class Floors(SealedModel):
    """What stands beside labels: what the autoencoder alone and the teacher under other noise have.

    `of` names the teacher, extractor and protocol that they were measured with.
    """

    of: str
    rows: dict[str, dict[str, Measurement]]


class Label(SealedModel):
    """What was measured for an architecture in a series, or why it could not be measured."""

    when_damaged: ClassVar = "remove it, then label again"

    schema_version: Literal[1] = Field(1, alias="schema")
    arch_key: str
    protocol_key: str
    seed: int = Field(0, ge=0)
    status: Literal["ok", "failed"] = "ok"
    failure: Failure | None = None
    architecture: Architecture
    values: dict[str, Measurement | Latency | int | float] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _read_earlier_form(cls, data: Any) -> Any:
        """Labels once gave a `reason` in words, null where nothing failed."""
        if not isinstance(data, dict) or "reason" not in data or "failure" in data:
            return data
        rest = {key: value for key, value in data.items() if key != "reason"}
        if data["reason"] is None:
            return rest
        return {**rest, "failure": {"kind": "architecture", "message": data["reason"]}}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.architecture.key != self.arch_key:
            raise ValueError(f"arch_key {self.arch_key} is not {self.architecture.key}")
        if (self.status == "failed") != (self.failure is not None):
            raise ValueError(f"a label of status {self.status} has failure {self.failure!r}")
        return self

    @property
    def key(self) -> LabelKey:
        """Its identity."""
        return LabelKey(self.arch_key, Series(self.protocol_key, self.seed))

    def scalar(self, name: str) -> float:
        """Return a column as a number: its value, else its median, else the scalar itself."""
        if name not in self.values:
            known = ", ".join(sorted(self.values))
            hint = suggest(name, self.values, f"it has {known or 'none'}")
            raise InputError(f"label {self.arch_key} has no column {name!r}{hint}")
        value = self.values[name]
        if isinstance(value, Measurement):
            return value.value
        return value.median if isinstance(value, Latency) else float(value)
