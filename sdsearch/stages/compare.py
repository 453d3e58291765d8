"""Comparing: the same holes painted by several UNets, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.harness import run_harness
from sdsearch.labels.store import read_labels
from sdsearch.labels.target import Target
from sdsearch.stages.search import read_designs
from sdsearch.study.records import is_current, record_done
from sdsearch.unet.architecture import UNPRUNED
from sdsearch.unet.teacher import resolve_teacher

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sdsearch.design.designs import Design
    from sdsearch.study.folder import StudyFolder

COMPARED_SCENES = 8


def compare(study: StudyFolder) -> Path:
    """Inpaint the same scenes with the teacher and the best measured design of each method."""
    resolve_teacher(study.config.teacher.pipeline)
    prefix = "tiny " if study.config.teacher.pipeline == "tiny" else ""
    columns = {f"{prefix}teacher": UNPRUNED.key}
    for method in ("exhaustive", "autobuild"):
        best = best_measured(study, method)
        if best:
            columns[prefix + best.name] = best.arch_key
    inputs = {
        "format": 2,  # of what the harness writes: raise it when that changes
        "columns": columns,
        "scenes": COMPARED_SCENES,
        "protocol": study.config.protocol.key,
        "seed": study.config.seed,
        "teacher": study.config.teacher.pipeline,
    }
    picture = study.compare_dir / "grid.png"
    if not is_current(study, "compare", inputs):
        asked = [f"--column={name}={key}" for name, key in columns.items()]
        run_harness("compare", study.root, *asked, "--rows", str(COMPARED_SCENES))
        files = [picture, *(study.compare_dir / f"{n}.json" for n in ("comparison", "gallery"))]
        record_done(study, "compare", inputs, files)
    return picture


def compare_pipelines(options: Sequence[str], out: Path) -> Path:
    """Inpaint by the harness's `inpaint` with these options; returns the picture."""
    run_harness("inpaint", None, *options, "--out", str(out))
    return out


def best_measured(study: StudyFolder, method: str) -> Design | None:
    """Return the design of a method with the best measured target; None before it is measured."""
    target = Target(study.config.ranker.target)
    labels = {
        label.arch_key: target.evaluate(label)
        for label in read_labels(study, study.config.protocol.key)
        if label.seed == study.config.seed and label.status == "ok"
    }
    mine = [one for one in read_designs(study) if one.method == method and one.arch_key in labels]
    return max(mine, key=lambda design: labels[design.arch_key], default=None)
