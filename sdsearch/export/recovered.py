"""Which weights and values an export takes: those of the long recovery, else of the label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from sdsearch.errors import InputError, WorkError
from sdsearch.harness import run_harness
from sdsearch.labels.label import Measurement
from sdsearch.unet.teacher import resolve_teacher

if TYPE_CHECKING:
    from sdsearch.study.folder import StudyFolder


def recovered_weights(arch_key: str, study: StudyFolder) -> Path:
    """Return the recovered weights of an architecture, recovering it now where they are missing."""
    if _read_long_values(arch_key, study):
        return study.finetuned_dir(arch_key) / "weights.safetensors"
    weights = study.recovered_path(arch_key)
    if not weights.is_file():
        run_harness("recover", study.root, "--arch", arch_key)
        if not weights.is_file():
            raise WorkError(f"sdsearch_eval recover --arch {arch_key} made no {weights}")
    return weights


def _read_long_values(arch_key: str, study: StudyFolder) -> dict[str, Measurement]:
    """Return what a long recovery that has ended measured after it; empty without one."""
    values = study.finetuned_dir(arch_key) / "values.json"
    if not values.is_file():
        return {}
    after = json.loads(values.read_text(encoding="utf-8")).get("after", {})
    return {name: Measurement.model_validate(value) for name, value in after.items()}


def _teacher_folder(pipeline: str) -> Path:
    teacher = resolve_teacher(pipeline)
    if isinstance(teacher, Path):
        return teacher
    from diffusers import DiffusionPipeline

    try:
        return Path(DiffusionPipeline.download(teacher))
    except (OSError, ValueError) as error:
        raise InputError(f"the teacher {teacher!r} cannot be fetched: {error}") from None
