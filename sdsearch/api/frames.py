"""Labels and designs as pandas DataFrames; pandas is an extra and is imported here alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdsearch.errors import InputError
from sdsearch.labels import Latency, Measurement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pandas import DataFrame

    from sdsearch.design import Design
    from sdsearch.labels import Label
    from sdsearch.space import SearchSpace


def frame_labels(labels: Iterable[Label]) -> DataFrame:
    """One row a label of a series, by architecture key, with a column for each measured value.

    A value with a standard error has it in NAME_se; a latency is its median in milliseconds, its
    interquartile range in NAME_iqr. A failed label has no values (NaN), but `failure_kind`,
    `failure_phase` and `failure`, the message.

    Raises:
        InputError: pandas is not installed.
    """
    rows = [
        {
            "arch_key": label.arch_key,
            "architecture": str(label.architecture),
            "status": label.status,
            "failure_kind": label.failure and label.failure.kind,
            "failure_phase": label.failure and label.failure.phase,
            "failure": label.failure and label.failure.message,
            **_scalars(label),
        }
        for label in labels
    ]
    failure = ("failure_kind", "failure_phase", "failure")
    return _frame(rows, ("arch_key", "architecture", "status", *failure))


def frame_designs(designs: Iterable[Design]) -> DataFrame:
    """One row a design, by name: what it is, what it costs and what was predicted for it.

    Raises:
        InputError: pandas is not installed.
    """
    costs = ("params", "macs", "memory_bytes", "file_bytes", "latency_ms")
    facts = ("method", "rank", "arch_key", *costs, "score")
    rows = [
        {
            "name": design.name,
            **{fact: getattr(design, fact) for fact in facts},
            "predicted": design.predicted.target,
            "predicted_se": design.predicted.se,
            "architecture": str(design.architecture),
        }
        for design in designs
    ]
    columns = ("name", *facts, "predicted", "predicted_se", "architecture")
    return _frame(rows, columns)


def frame_benchmark(
    labels: Iterable[Label], space: SearchSpace, draws: Mapping[str, int]
) -> DataFrame:
    """One row a label, by architecture key, with its option in each unit of the space.

    `draws` says by key to which draw a member belongs; `sdsearch.load_benchmark` has the columns.

    Raises:
        InputError: pandas is not installed.
    """
    names = [unit.name for unit in space.units]
    rows = [
        {
            "arch_key": label.arch_key,
            "architecture": str(label.architecture),
            "status": label.status,
            "seed": label.seed,
            "recovery_steps": label.provenance["protocol"]["recovery"]["steps"],
            "draw": draws.get(label.arch_key),
            **dict(zip(names, space.option_indices(label.architecture), strict=True)),
            **_scalars(label),
        }
        for label in labels
    ]
    frame = _frame(rows, ("arch_key",))
    return frame.astype({"draw": "Int64"})


def _frame(rows: list[dict[str, Any]], columns: Sequence[str]) -> DataFrame:
    """The rows by their first column, in a frame that has `columns` even without rows."""
    try:
        import pandas
    except ImportError:
        raise InputError(
            "labels and designs as a DataFrame need pandas, but it is not installed; run: "
            "pip install pandas"
        ) from None
    frame = pandas.DataFrame(rows) if rows else pandas.DataFrame(columns=columns)
    return frame.set_index(columns[0])


def _scalars(label: Label) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in label.values.items():
        found[name] = label.scalar(name)
        if isinstance(value, Measurement) and value.se is not None:
            found[f"{name}_se"] = value.se
        if isinstance(value, Latency):
            found[f"{name}_iqr"] = value.iqr
    return found
