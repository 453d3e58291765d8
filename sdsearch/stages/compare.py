"""Comparing: the same holes painted by the teacher and the best designs, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdsearch.console import say
from sdsearch.errors import InputError
from sdsearch.harness import run_harness
from sdsearch.labels import describe_costs, read_costs
from sdsearch.planning import COMPARED
from sdsearch.report import read_claims
from sdsearch.study import GridRequest, is_current, name_teacher, read_designs, record_done
from sdsearch.unet import UNPRUNED, is_full_size

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.design import Design
    from sdsearch.study import InpaintRequest, StudyFolder

COMPARED_SCENES = 8


def compare_study(study: StudyFolder) -> Path:
    """Paint the same samples with the teacher, the best measured design, and the searches' best.

    What a UNet call and a whole picture of each takes is said, and kept in compare/comparison.json;
    so is said which of them are better than the teacher, and by which test.

    Raises:
        InputError: nothing was built.
    """
    if not read_designs(study):
        raise InputError(f"there are no designs to compare; run: sdsearch build {study.root}")
    inputs = _inputs(study)
    columns: dict[str, str] = inputs["columns"]
    picture = study.compare_dir / "grid.png"
    if not is_current(study, "compare", inputs):
        run_harness(GridRequest(study=study.root, columns=columns, rows=inputs["scenes"]))
        files = [picture, *(study.compare_dir / f"{n}.json" for n in ("comparison", "gallery"))]
        record_done(study, "compare", inputs, files)
    _say_costs(study.compare_dir / "comparison.json")
    for claim in read_claims(study):
        if not claim.names or {_column(study, name) for name in claim.names} & columns.keys():
            say(str(claim))
    return picture


def is_compared(study: StudyFolder) -> bool:
    """Whether the pictures of the designs as they are measured now are there."""
    return is_current(study, "compare", _inputs(study))


def _inputs(study: StudyFolder) -> dict[str, Any]:
    """All that the pictures depend on."""
    columns = {_column(study, "teacher"): UNPRUNED.key}
    for method in (None, *COMPARED):
        best = best_measured(study, method)
        if best and best.arch_key not in columns.values():
            columns[_column(study, best.name)] = best.arch_key
    return {
        "format": 3,  # of what the harness writes: raise it when that changes
        "columns": columns,
        "scenes": min(COMPARED_SCENES, study.config.protocol.samples),
        "protocol": study.protocol_key,
        "seed": study.config.seed,
        "teacher": name_teacher(study),
    }


def _column(study: StudyFolder, name: str) -> str:
    """What stands above the pictures of a model: a tiny one is called so."""
    return name if is_full_size(study.config.teacher.pipeline) else f"tiny {name}"


def compare_pipelines(request: InpaintRequest) -> Path:
    """Paint with whole pipelines; returns the picture, which has a JSON file beside it.

    That holds, and it is said, what a UNet call and a whole picture of each pipeline takes.

    Raises:
        HarnessError: an image, mask or pipeline is unfit; the harness has said why.
    """
    run_harness(request)
    _say_costs(request.out.with_suffix(".json"))
    return request.out


def _say_costs(described: Path) -> None:
    for line in describe_costs(read_costs(described)):
        say(line)


def best_measured(study: StudyFolder, method: str | None = None) -> Design | None:
    """The design of a method, or of any, with the best measured target; None before one has it."""
    target = study.config.ranker.target
    measured = {
        key: target.evaluate(label)
        for key, label in study.labels.read_series(study.series).items()
        if not label.failure
    }
    mine = [
        one
        for one in read_designs(study)
        if method in (None, one.method) and one.arch_key in measured
    ]
    return max(mine, key=lambda design: measured[design.arch_key], default=None)
