"""The papers of an export: card, drawing, licence, design.json and provenance.json."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdsearch.drawing import draw_unet
from sdsearch.export.card import (
    DRAWING,
    LICENCE,
    NOTHING,
    Beside,
    describe_beside,
    front_matter,
    licence_file,
    list_results,
    measured_rows,
    read_beside,
    write_card,
)
from sdsearch.export.index import choose_class
from sdsearch.export.inventory import read_inventory, record_files
from sdsearch.export.portable import drop_places
from sdsearch.export.recovered import read_source
from sdsearch.files import write_atomic
from sdsearch.pipelines import locate_pipeline, open_pipeline, read_json, read_licence, read_part
from sdsearch.space import why_not_loaded
from sdsearch.study import find_teacher, load_space, set_beside, versions
from sdsearch.unet import SLOTS, UNPRUNED, count_macs, count_params, is_full_size
from sdsearch.weights import provenance_document

if TYPE_CHECKING:
    from sdsearch.design import Design
    from sdsearch.export.recovered import ExportSource
    from sdsearch.labels import Protocol
    from sdsearch.study import StudyFolder


def write_papers(folder: Path, source: ExportSource, weights_sha256: str) -> None:
    """Write design.json, provenance.json, the drawing, the licence and the model card."""
    design, study, label = source.design, source.study, source.label
    measured = {
        name: value if isinstance(value, int | float) else value.model_dump(mode="json")
        for name, value in source.values.items()
    }
    said = {**design.model_dump(mode="json"), "measured": measured}
    write_atomic(folder / "design.json", json.dumps(said, indent=2) + "\n")
    provenance = {
        "schema": 1,
        "inputs": source.key,
        "weights_sha256": weights_sha256,
        "teacher": public_name(study.config.teacher.pipeline),
        **({"teacher_tuned": True} if study.config.teacher.inpaint else {}),
        "teacher_identity": source.teacher,
        "protocol": {"key": study.protocol_key, **public_protocol(study.config.protocol)},
        "seed": study.config.seed,
        "recovery": source.recipe.model_dump(mode="json"),
        "label": drop_places(label.provenance) if label else {},
        "versions": versions(),
        "inheritance": _inheritance(source),
    }
    drawing = draw_unet(design.architecture, source.backbone, title=design.name)
    write_atomic(folder / DRAWING, drawing)
    pipeline = study.config.teacher.pipeline
    write_atomic(folder / LICENCE, licence_file(pipeline, public_name(pipeline)))
    write_atomic(folder / "README.md", model_card(source, read_beside(folder)))
    write_atomic(folder / "provenance.json", json.dumps(provenance, indent=2) + "\n")


def renew_card(design: Design, study: StudyFolder, teacher: str) -> None:
    """Write an export's model card again where it says other than what is known by now.

    That is what it paints, what a picture costs, which is measured on the folder itself, where its
    single file loads, and what was measured of the teacher since. `teacher` is the teacher's
    identity by content.
    """
    folder = study.pipelines_dir / design.name
    beside = read_beside(folder)
    if f"{design.name}.safetensors" in read_inventory(folder):
        beside = replace(beside, single_file=_describe_single_file(folder, design, study))
    said = model_card(read_source(design, study, teacher), beside)
    card = folder / "README.md"
    if not card.is_file() or card.read_text(encoding="utf-8") != said:
        write_atomic(card, said)
        record_files(folder, [card])


def public_name(pipeline: str) -> str:
    """What others may call a pipeline: a hub id, "tiny", or the name of its folder, not its place.

    Raises:
        InputError: it is neither here nor written as a hub id.
    """
    place = locate_pipeline(pipeline)
    return place.resolve().name if isinstance(place, Path) and pipeline != "tiny" else pipeline


def public_protocol(protocol: Protocol) -> dict[str, Any]:
    """A protocol's fields, with the last name of each path in place of the path."""
    said: dict[str, Any] = protocol.model_dump(mode="json")
    for field in protocol.fields_with_files - {"extractor"}:
        said[field] = Path(said[field]).expanduser().resolve().name
    kind, colon, file = protocol.extractor.partition(":")
    said["extractor"] = f"{kind}{colon}{Path(file).name}"
    return said


def _inheritance(source: ExportSource) -> dict[str, Any]:
    """Tell what every tensor was before recovery: the teacher tensor, its slice, zero or new."""
    from sdsearch.weights import choose_channels, open_unet_weights

    arch, backbone = source.design.architecture, source.backbone
    if arch.widths is None:
        return provenance_document(arch, backbone)
    teacher = open_pipeline(find_teacher(source.study), ("unet",))
    weights = open_unet_weights(read_part(teacher, "unet"))
    return provenance_document(arch, backbone, choose_channels(arch, backbone, weights))


def _describe_single_file(folder: Path, design: Design, study: StudyFolder) -> dict[str, Any]:
    """What a card says of the single file in an export's folder, by the template's names."""
    from sdsearch.weights import packed_attentions, packed_precision

    arch, backbone = design.architecture, load_space(study).backbone
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    file = folder / f"{design.name}.safetensors"
    kept = sum(slot.kind == "attn" and slot.name in arch.kept_slots for slot in SLOTS)
    return {
        "name": file.name,
        "precision": packed_precision(file),
        "silent": packed_attentions(file) - kept,
        "comfyui": why_not_loaded(arch, backbone, "comfyui"),
        "diffusers": why_not_loaded(arch, backbone, "from_single_file"),
        "pruned": arch != UNPRUNED,
        "predicts_v": scheduler.get("prediction_type") == "v_prediction",
    }


def model_card(source: ExportSource, beside: Beside = NOTHING) -> str:
    """Return the card: what was removed, what was measured how, how to load, the licence.

    `beside` is what lies in the export's folder; nothing before it is written.
    """
    config, protocol = source.study.config, source.study.config.protocol
    pipeline, licence = config.teacher.pipeline, read_licence(config.teacher.pipeline)
    told, key = public_protocol(protocol), source.study.protocol_key
    front = front_matter(
        source.design.name,
        pipeline,
        licence,
        words=protocol.paints_words,
        tags=("pruned",),
        results=list_results(source.values, protocol, told["dataset"], key, config.seed),
    )
    return write_card(
        "card.md.jinja",
        front,
        kind=choose_class(source.backbone.in_channels, protocol.task),
        protocol=told,
        padding=protocol.crop_padding if protocol.crop == "hole" else None,
        words=protocol.paints_words,
        tiny=not is_full_size(pipeline),
        teacher=None if pipeline == "tiny" else public_name(pipeline),
        tuned=config.teacher.inpaint,
        licence=licence,
        **_describe_unet(source),
        **describe_beside(beside),
        **_describe_measurement(source),
    )


def _describe_unet(source: ExportSource) -> dict[str, Any]:
    arch, backbone = source.design.architecture, source.backbone
    size = backbone.sample_size
    return {
        "design": source.design,
        "removed": [slot.name for slot in SLOTS if slot.name not in arch.kept_slots],
        "params": count_params(arch, backbone),
        "teacher_params": count_params(UNPRUNED, backbone),
        "macs": count_macs(arch, backbone, size).total,
        "teacher_macs": count_macs(UNPRUNED, backbone, size).total,
        "size": size,
    }


def _describe_measurement(source: ExportSource) -> dict[str, Any]:
    config, values, teacher = source.study.config, source.values, source.teacher_label
    return {
        "metrics": measured_rows(values, teacher.values if teacher else {}),
        "beside_teacher": bool(teacher and teacher.values),
        "long": bool(source.long_values),
        "protocol_key": source.study.protocol_key,
        "recovery": source.recipe,
        "seed": config.seed,
        "beside": set_beside(config, {source.design.name: values} if values else {}),
        "is_official": config.protocol.column("fd") == "fid",
    }
