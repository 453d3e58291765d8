"""A table of runtimes: what is paired, what is said of it, and what is no such table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import ValidationError

from sdsearch.errors import InputError
from sdsearch.labels.label import Latency, Measurement
from sdsearch.labels.runtimes import (
    ONNX,
    ONNX_INT8,
    RUNTIME_HEADER,
    TORCH,
    TORCHAO,
    PartError,
    QuantizedSize,
    Runtime,
    RuntimeTable,
    describe_runtimes,
    read_runtimes,
    runtime_notes,
    runtime_rows,
)
from sdsearch.stats import jackknife_error

if TYPE_CHECKING:
    from pathlib import Path

SHARED = np.random.default_rng(0).normal(0, 5, 8)
"""What the samples of each block have in common: it moves all runtimes alike."""


def runtime(name: str, fd: float, ms: float, own: float = 0.0, **more: Any) -> Runtime:
    noise = np.random.default_rng(len(name)).normal(0, own, 8) if own else np.zeros(8)
    left = fd + SHARED + noise
    value = Measurement(value=fd, se=jackknife_error(left), n=96, blocks=tuple(left))
    return Runtime(
        name=name,
        values={"fd": value},
        latency_ms=Latency(median=ms, iqr=0.5, device="a CPU", n=9, threads=1),
        **{"file_bytes": 13_100_000, "peak_bytes": 52_000_000, **more},
    )


def table(*runtimes: Runtime, **more: Any) -> RuntimeTable:
    known = {"protocol_key": "0" * 12, "seed": 0, "column": "fd", "samples": 96}
    return RuntimeTable(runtimes=runtimes, **known, **more)


def test_a_change_is_paired_so_that_what_samples_share_is_no_error() -> None:
    torch, int8 = runtime(TORCH, 80.0, 20.0), runtime(ONNX_INT8, 82.0, 10.0, own=0.1)
    made = table(torch, int8)
    change = made.change(int8)
    assert change is not None
    assert change.value == pytest.approx(2.0)
    assert change.se < 0.5 < 5 < jackknife_error(SHARED)
    assert made.worse == (ONNX_INT8,)


def test_what_is_within_chance_or_better_is_not_called_worse() -> None:
    noisy, better = runtime(ONNX, 80.5, 20.0, own=3.0), runtime(ONNX_INT8, 70.0, 1.0, own=0.1)
    assert table(runtime(TORCH, 80.0, 20.0), noisy, better).worse == ()


def test_rows_say_value_change_time_and_size_and_the_first_has_no_change() -> None:
    rows = runtime_rows(
        table(runtime(TORCH, 80.0, 20.0), runtime(ONNX, 80.0, 16.25, peak_bytes=None))
    )
    assert [len(row) for row in rows] == [len(RUNTIME_HEADER)] * 2
    assert rows[0][0] == TORCH
    assert rows[0][1].startswith("80 ± ")
    assert rows[0][2:] == ("-", "20 (IQR 0.5)", "13.10", "52")
    assert rows[1][2:] == ("+0 [+0, +0]", "16.2 (IQR 0.5)", "13.10", "-")


def test_notes_say_what_is_slower_worse_and_missing_and_where_int8_lost_it() -> None:
    parts = tuple(
        PartError(part=f"up_blocks.{i}.resnets.0", error=0.05 - i / 100) for i in range(4)
    )
    size = QuantizedSize(layers=7, quantized_bytes=26, float_bytes=100, kept_bytes=20)
    made = table(
        runtime(TORCH, 80.0, 20.0),
        runtime(ONNX_INT8, 85.0, 30.0, own=0.1),
        quantized=size,
        parts=(PartError(part="all", error=0.09), *parts),
        absent={TORCHAO: "it is not installed"},
    )
    said = " ".join(runtime_notes(made))
    assert "Slower here than torch float32: ONNX int8 (1.5 times)." in said
    assert "Worse than torch float32 by more than chance: ONNX int8." in said
    assert "up_blocks.0.resnets.0 (5.0%), up_blocks.1.resnets.0 (4.0%)" in said
    assert "up_blocks.3" not in said
    assert "all (9.0%)" not in said
    assert "7 layers take 26.0% of their bytes" in said
    assert f"{46 / 120:.1%} of all" in said
    assert "Not measured: torchao int8, it is not installed." in said
    calm = " ".join(runtime_notes(table(runtime(TORCH, 80.0, 20.0), runtime(ONNX, 80.0, 10.0))))
    assert "Slower" not in calm
    assert "Worse" not in calm


def test_a_terminal_gets_a_line_for_each_runtime() -> None:
    lines = describe_runtimes(table(runtime(TORCH, 80.0, 20.0), runtime(ONNX, 80.0, 16.0)))
    assert lines[1].startswith("ONNX float32: fd 80 ± ")
    assert "16 (IQR 0.5) ms a UNet call, 13.10 MB" in lines[1]


def test_a_table_is_read_as_it_was_written_and_damage_is_noticed(tmp_path: Path) -> None:
    made, file = table(runtime(TORCH, 80.0, 20.0)), tmp_path / "runtimes.json"
    assert read_runtimes(file) is None
    file.write_text(made.to_json(indent=1))
    assert read_runtimes(file) == made
    said = json.loads(file.read_text())
    said["runtimes"][0]["file_bytes"] = 1
    file.write_text(json.dumps(said))
    with pytest.raises(InputError, match=r"runtimes\.json must hold measured runtimes"):
        read_runtimes(file)


@pytest.mark.parametrize(
    ("names", "column", "reason"),
    [((TORCH, TORCH), "fd", "stands once"), ((TORCH,), "kid", "needs kid")],
)
def test_a_table_names_each_runtime_once_and_all_have_its_column(
    names: tuple[str, ...], column: str, reason: str
) -> None:
    made = table(*(runtime(name, 80.0, 20.0) for name in names[:1]))
    data = made.model_dump()
    data |= {"column": column, "runtimes": data["runtimes"] * len(names)}
    with pytest.raises(ValidationError, match=reason):
        RuntimeTable.model_validate(data)
