"""The export of a teacher that learned to inpaint: a pipeline like any other, with a card."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sdsearch.export.card import LICENCE, front_matter, licence_file, write_card
from sdsearch.export.index import INPAINT
from sdsearch.export.papers import public_name, public_protocol
from sdsearch.export.pipeline import open_student, write_folder
from sdsearch.files import write_atomic
from sdsearch.keys import file_sha256
from sdsearch.pipelines import read_licence
from sdsearch.study import TUNING, describe_tuning, one_at_a_time, read_backbone, versions
from sdsearch.unet import PAINT_CHANNELS, UNPRUNED, is_full_size, teacher_identity
from sdsearch.weights import provenance_document

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.study import StudyFolder


def export_teacher(study: StudyFolder) -> Path:
    """Write STUDY/teacher from the tuned weights: a stock inpainting pipeline of 9 channels.

    It says itself how it was tuned, which `find_teacher` reads. Nothing else in it names a place
    on this machine, and it depends on no other file of the study.

    Raises:
        InputError: the pipeline that was tuned cannot be read.
        WorkError: the weights are not there or do not fit, a check failed, or the disk is full.
    """
    weights, folder = study.tuning_dir / "weights.safetensors", study.teacher_dir
    student = open_student(UNPRUNED, read_backbone(study.config), weights)
    pipeline = study.config.teacher.pipeline
    tuning = describe_tuning(study.config, teacher_identity(pipeline))

    def write(at: Path) -> None:
        write_atomic(at / LICENCE, licence_file(pipeline, public_name(pipeline)))
        write_atomic(at / "README.md", teacher_card(study))
        provenance = {
            "schema": 1,
            "weights_sha256": file_sha256(weights),
            "teacher": public_name(pipeline),
            "teacher_identity": tuning.origin,
            "tuning": study.config.teacher.tuning.model_dump(mode="json"),
            "versions": versions(),
            "inheritance": provenance_document(
                UNPRUNED, read_backbone(study.config), teacher_in_channels=PAINT_CHANNELS
            ),
        }
        write_atomic(at / "provenance.json", json.dumps(provenance, indent=2) + "\n")
        write_atomic(at / TUNING, tuning.model_dump_json(indent=2) + "\n")

    with one_at_a_time(study.root, "export-teacher"):
        write_folder(folder, pipeline, student, INPAINT, write)
    return folder


def teacher_card(study: StudyFolder) -> str:
    """Return the card: what it was, what it learned on what, how to load, the licence."""
    config, pipeline = study.config, study.config.teacher.pipeline
    licence = read_licence(pipeline)
    return write_card(
        "teacher.md.jinja",
        front_matter(f"{public_name(pipeline)}-inpaint", pipeline, licence, words=False, tags=()),
        kind=INPAINT,
        padding=None,
        teacher=public_name(pipeline),
        tiny=not is_full_size(pipeline),
        licence=licence,
        tuning=config.teacher.tuning,
        protocol=public_protocol(config.protocol),
        dataset="scenes" if config.protocol.dataset == "scenes" else "photos of its owner",
    )
