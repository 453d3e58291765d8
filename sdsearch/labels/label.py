"""Labels: measured values of one architecture under one protocol and seed, one atomic file each."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sdsearch.errors import InputError, nearest
from sdsearch.keys import canonical_json
from sdsearch.unet.architecture import Architecture

_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Measurement(BaseModel):
    """A measured value with its standard error over n samples, where they exist."""

    model_config = _FROZEN

    value: float
    se: float | None = None
    n: int | None = None


class Latency(BaseModel):
    """Milliseconds per call: median and interquartile range, and where they were taken."""

    model_config = _FROZEN

    median: float
    iqr: float
    device: str
    n: int | None = None
    dtype: str | None = None
    batch: int | None = None
    resolution: int | None = None
    threads: int | None = None


class Label(BaseModel):
    """What was measured for (architecture, protocol, seed), or why it could not be measured."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, serialize_by_alias=True
    )

    # `schema` is a method name of BaseModel, so that only the file uses it.
    schema_version: Literal[1] = Field(1, alias="schema")
    arch_key: str
    protocol_key: str
    seed: int = Field(0, ge=0)
    status: Literal["ok", "failed"] = "ok"
    reason: str | None = None
    architecture: Architecture
    values: dict[str, Measurement | Latency | int | float] = {}
    provenance: dict[str, Any] = {}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.architecture.key != self.arch_key:
            raise ValueError(f"arch_key {self.arch_key} is not {self.architecture.key}")
        if self.status == "failed" and not self.reason:
            raise ValueError("a failed label needs a reason")
        return self

    def scalar(self, name: str) -> float:
        """Return a column as a number: its value, else its median, else the scalar itself."""
        if name not in self.values:
            hint = f"did you mean {nearest(name, self.values)!r}?" if self.values else "it has none"
            raise InputError(f"label {self.arch_key} has no column {name!r}; {hint}")
        value = self.values[name]
        if isinstance(value, Measurement):
            return value.value
        return value.median if isinstance(value, Latency) else float(value)

    def to_json(self) -> str:
        """Return one line of canonical JSON."""
        return canonical_json(self.model_dump(mode="json"))
