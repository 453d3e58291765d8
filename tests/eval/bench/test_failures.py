"""Whose fault a failure is, by what torch really raises."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
import torch

from sdsearch.errors import WorkError
from sdsearch.files import DamagedFileError
from sdsearch_eval.bench import evaluate
from sdsearch_eval.bench.bench import prepare_bench
from sdsearch_eval.bench.evaluate import Stopwatch, evaluate_architecture
from sdsearch_eval.bench.failures import name_failure
from sdsearch_eval.bench.shards import Shards
from tests.fakes import tiny_member

CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 4398046511104 bytes. Error code 12 (Cannot allocate memory)"
)
CUDA = (
    "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be "
    "asynchronously reported at some other API call, so the stacktrace below might be incorrect."
)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), "memory"),
        (MemoryError(), "memory"),
        (RuntimeError(CPU), "memory"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"),
            "memory",
        ),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"), "memory"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
            "memory",
        ),
        (torch.AcceleratorError("the device is lost"), "device"),
        (RuntimeError(CUDA), "device"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "device"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling gemm"), "device"),
        (RuntimeError("FIND was unable to find an engine to execute this computation"), "device"),
        (RuntimeError("GET was unable to find an engine to execute this computation"), "device"),
        (
            RuntimeError("NCCL error in: ProcessGroupNCCL.cpp:1970, unhandled system error"),
            "device",
        ),
        (RuntimeError("HIP error: the operation cannot be performed"), "device"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"), "architecture"),
        (RuntimeError("Expected all tensors to be on the same device"), "architecture"),
        (ValueError("out of memory"), "architecture"),
        (WorkError("the recovery loss must be finite, but is nan at step 3"), "architecture"),
        (FloatingPointError("overflow"), "architecture"),
    ],
)
def test_a_failure_has_the_kind_of_what_torch_raised(error: Exception, kind: str) -> None:
    failure = name_failure(error, "sampling")
    assert failure.kind == kind
    assert failure.phase == "sampling"
    assert failure.message == f"{type(error).__name__}: {error}"


def test_memory_that_this_machine_does_not_have_is_called_memory() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 60)
    assert name_failure(refused.value).kind == "memory"


def test_a_failed_label_has_the_seconds_of_the_phase_that_failed(
    teacher, small, tmp_path, monkeypatch
) -> None:
    def fail(*_):
        raise RuntimeError("no luck")

    monkeypatch.setattr("sdsearch_eval.bench.evaluate.generate", fail)
    bench = prepare_bench(small, 0, teacher, tmp_path / "features")
    weights = tmp_path / "weights.safetensors"
    label = evaluate_architecture(tiny_member("bk-tiny"), bench, tmp_path / "rows", weights)
    assert label is not None
    assert label.failure is not None
    assert label.failure.phase == "sampling"
    assert set(label.provenance["seconds"]) == {"inheritance", "recovery", "sampling"}


def test_a_stopwatch_counts_what_ended_with_an_error_and_knows_the_phase() -> None:
    watch = Stopwatch()
    with watch.phase("first"):
        assert watch.running == "first"
    assert watch.running is None
    with pytest.raises(WorkError), watch.phase("second"):
        raise WorkError("no luck")
    assert watch.running == "second"
    assert watch.seconds.keys() == {"first", "second"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.ESTALE])
def test_what_a_disk_refused_fails_no_architecture(number: int) -> None:
    said = f"unable to write to file </torch_17>: {os.strerror(number)} ({number})"

    def work() -> None:
        raise RuntimeError(said)

    trouble = evaluate._attempt(work, Stopwatch())
    assert isinstance(trouble, OSError)
    assert trouble.errno == number


def test_rows_that_were_damaged_meanwhile_fail_no_architecture(tmp_path) -> None:
    shards = Shards(tmp_path / "rows", 1)

    def work() -> None:
        shards.read()

    missing = evaluate._attempt(work, Stopwatch())
    shards.write(0, {"fd": np.zeros(3)})
    (tmp_path / "rows" / "block-00000.safetensors").write_bytes(b"no rows")
    damaged = evaluate._attempt(work, Stopwatch())
    assert [type(one) for one in (missing, damaged)] == [DamagedFileError] * 2
    assert all("label again" in str(one) for one in (missing, damaged))
