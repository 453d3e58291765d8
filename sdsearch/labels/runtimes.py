"""Runtimes: one UNet as several programs compute it, measured as labels are, on the same samples.

The first runtime of a table is the one that the others are compared with. All paint the same
samples from the same noise, so that differences are paired and free of what the samples share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from sdsearch.labels.label import Latency, Measurement
from sdsearch.model import FrozenModel, SealedModel
from sdsearch.stats import paired_difference

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.stats import Difference

TORCH, ONNX, ONNX_INT8, TORCHAO = "torch float32", "ONNX float32", "ONNX int8", "torchao int8"
"""What the runtimes of a table are called, in its order."""
RUNTIME_HEADER = (
    "runtime",
    "value",
    "change, 95 %",
    "ms of a UNet call",
    "MB on disk",
    "peak MB",
)
"""The columns of `runtime_rows`; `value` is that of the table's column."""
_AGAIN = "sdsearch export, with int8 as before"
WHOLE = "all"
"""The part that stands for every quantised layer together."""
PARTS_SAID = 3
"""Parts of the UNet that a note names: those that lose most."""


class Runtime(FrozenModel):
    """A UNet as one program computes it.

    Attributes:
        values: the quality columns of a label.
        latency_ms: of a UNet call on one sample.
        file_bytes: of everything that has to be stored to run it.
        peak_bytes: the most memory that loading it and one call take; None where nobody can say.
    """

    name: str
    values: dict[str, Measurement]
    latency_ms: Latency
    file_bytes: int = Field(gt=0)
    peak_bytes: int | None = Field(None, ge=0)


class QuantizedSize(FrozenModel):
    """What int8 saves: bytes of the quantised weights, and of all, before and after.

    Attributes:
        layers: how many convolutions and linear layers are quantised.
        quantized_bytes: of their weights as int8, with scales and zero points.
        float_bytes: of the same weights in float32.
        kept_bytes: of everything else, which is stored with 4 bytes a number before and after.
    """

    layers: int = Field(ge=0)
    quantized_bytes: int = Field(ge=0)
    float_bytes: int = Field(ge=0)
    kept_bytes: int = Field(ge=0)

    @property
    def share(self) -> float:
        """Of their float bytes that the quantised weights take: a quarter, and their scales."""
        return self.quantized_bytes / self.float_bytes if self.float_bytes else 0.0

    @property
    def whole_share(self) -> float:
        """Of all float bytes that everything takes together, by count.

        >>> QuantizedSize(layers=1, quantized_bytes=26, float_bytes=100, kept_bytes=4).whole_share
        0.28846153846153844
        """
        whole = self.float_bytes + self.kept_bytes
        return (self.quantized_bytes + self.kept_bytes) / whole if whole else 0.0


class PartError(FrozenModel):
    """How far the UNet's output moves where one part alone is rounded to 8 bits.

    Attributes:
        part: a module of the stock UNet, such as `down_blocks.0.resnets.1`, or `WHOLE`.
        error: root mean square of the change, relative to that of the output.
    """

    part: str
    error: float = Field(ge=0)


class RuntimeTable(SealedModel):
    """`runtimes.json`: the measured runtimes of an exported UNet; the first is compared with.

    Attributes:
        column: the quality column that decides, lower is better.
        samples: how many every runtime painted, the same ones from the same noise.
        quantized: what int8 saves.
        parts: what parts lose by it, `WHOLE` first, then the largest; simulated, a part at a time.
        absent: runtimes that were not measured, and why.
    """

    schema_version: Literal[1] = Field(1, alias="schema")
    protocol_key: str
    seed: int = Field(ge=0)
    column: str
    samples: int = Field(ge=2)
    runtimes: tuple[Runtime, ...] = Field(min_length=1)
    quantized: QuantizedSize | None = None
    parts: tuple[PartError, ...] = ()
    absent: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [one.name for one in self.runtimes]
        if len(set(names)) < len(names):
            raise ValueError(f"each runtime stands once in a table, but got {names}")
        lacking = [one.name for one in self.runtimes if self.column not in one.values]
        if lacking:
            raise ValueError(f"every runtime needs {self.column}, but {lacking} have none")
        return self

    @property
    def worse(self) -> tuple[str, ...]:
        """Runtimes whose value is above the first's by more than chance: the whole interval is."""
        return tuple(
            one.name
            for one in self.runtimes[1:]
            if (found := self.change(one)) is not None and found.interval().low > 0
        )

    def change(self, runtime: Runtime) -> Difference | None:
        """A runtime's value minus the first's, paired; None where there are too few samples."""
        first, this = (one.values[self.column] for one in (self.runtimes[0], runtime))
        if not first.blocks or not this.blocks or len(first.blocks) != len(this.blocks):
            return None
        return paired_difference(this, first)


def read_runtimes(path: Path) -> RuntimeTable | None:
    """The table in a JSON file; None where there is no file.

    Raises:
        InputError: it is damaged, or no such table.
    """
    return RuntimeTable.read(path, "measured runtimes", _AGAIN)


def runtime_rows(table: RuntimeTable) -> list[tuple[str, ...]]:
    """A row of text for each runtime, as `RUNTIME_HEADER` names its cells."""
    rows: list[tuple[str, ...]] = []
    for one in table.runtimes:
        value, found = one.values[table.column], None
        if one is not table.runtimes[0]:
            found = table.change(one)
        rows.append(
            (
                one.name,
                f"{value.value:.4g}" + (f" ± {value.se:.2g}" if value.se is not None else ""),
                "-" if found is None else _say_change(found),
                f"{one.latency_ms.median:.3g} (IQR {one.latency_ms.iqr:.2g})",
                f"{one.file_bytes / 1e6:.2f}",
                "-" if one.peak_bytes is None else f"{one.peak_bytes / 1e6:.0f}",
            )
        )
    return rows


def runtime_notes(table: RuntimeTable) -> list[str]:
    """Sentences below the rows: how it was measured, what is slower, worse or missing."""
    first = table.runtimes[0]
    call = first.latency_ms
    notes = [
        f"The value is {table.column}, of the same {table.samples} samples and noise for all; its "
        f"change is that from {first.name}, paired. Peak memory is that of loading the UNet and "
        f"one call. Measured on {call.device}, {call.threads} threads."
    ]
    if slower := [one for one in table.runtimes[1:] if one.latency_ms.median > call.median]:
        said = (f"{one.name} ({one.latency_ms.median / call.median:.2g} times)" for one in slower)
        notes.append(f"Slower here than {first.name}: {', '.join(said)}.")
    if table.quantized is not None:
        notes.append(_say_size(table.quantized))
    if table.worse:
        notes.append(f"Worse than {first.name} by more than chance: {', '.join(table.worse)}.")
    if ONNX_INT8 in table.worse and table.parts:
        parts = [one for one in table.parts if one.part != WHOLE][:PARTS_SAID]
        most = (f"{one.part} ({one.error:.1%})" for one in parts)
        notes.append(
            "Most is lost in "
            f"{', '.join(most)}: how far the output moves where that part alone is in 8 bits."
        )
    notes += [f"Not measured: {name}, {why}." for name, why in table.absent.items()]
    return notes


def describe_runtimes(table: RuntimeTable) -> list[str]:
    """A line for each runtime, then the notes, for a terminal."""
    rows = [
        f"{name}: {table.column} {value}, change {change}, {call} ms a UNet call, {size} MB"
        for name, value, change, call, size, _ in runtime_rows(table)
    ]
    return [*rows, *runtime_notes(table)]


def _say_change(found: Difference) -> str:
    low, high = found.interval()
    return f"{found.value:+.2g} [{low:+.2g}, {high:+.2g}]"


def _say_size(size: QuantizedSize) -> str:
    return (
        f"In int8 {size.layers} layers take {size.share:.1%} of their bytes in float32; with what "
        f"stays in float, {size.whole_share:.1%} of all by count."
    )
