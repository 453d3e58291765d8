"""Exports of tests: what is written now, and what it is made from."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save

from sdsearch.export.pipeline import export_pipeline
from sdsearch.study.folder import load_space
from sdsearch.unet.teacher import teacher_identity
from sdsearch.weights.inherit import inherit_weights
from sdsearch.weights.notes import write_noted
from tests.fakes import (
    tiny_member,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.design.designs import Design
    from sdsearch.study.folder import StudyFolder


def export_now(design: Design, study: StudyFolder) -> Path:
    return export_pipeline(design, study, teacher_identity(study.config.teacher.pipeline))


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def save_weights(study: StudyFolder, teacher: Path) -> Path:
    state = load_file(teacher / "unet" / "diffusion_pytorch_model.safetensors")
    student = inherit_weights(tiny_member("bk-tiny"), load_space(study).backbone, state)
    path = study.recovered_file(tiny_member("bk-tiny").key)
    write_noted(path, save(student.state_dict()), "a test")
    return path


def take_snippet(card: str) -> str:
    """The code of a card, as text."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)
    return str(code)
