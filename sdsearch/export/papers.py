"""The papers of an export: model card, design.json, provenance.json, and the licence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdsearch.export.index import choose_class
from sdsearch.export.inventory import read_inventory, record_files
from sdsearch.export.portable import drop_places
from sdsearch.export.recovered import read_source
from sdsearch.files import LARGEST_JSON, markdown_templates, read_bytes, write_atomic
from sdsearch.labels import Measurement, PipelineCost, read_costs
from sdsearch.pipelines import find_card, locate_pipeline, open_pipeline, read_json, read_part
from sdsearch.space import why_not_loaded
from sdsearch.study import find_teacher, load_space, set_beside, versions
from sdsearch.unet import SLOTS, UNPRUNED, count_macs, count_params, is_full_size
from sdsearch.weights import provenance_document

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sdsearch.design import Design
    from sdsearch.export.recovered import ExportSource
    from sdsearch.labels import Protocol
    from sdsearch.study import StudyFolder

_SD_LICENCE = "creativeml-openrail-m"


def write_papers(folder: Path, source: ExportSource, weights_sha256: str) -> None:
    """Write design.json, provenance.json and the model card."""
    design, study, label = source.design, source.study, source.label
    values = {**(label.values if label else {}), **source.long_values}
    measured = {
        name: value if isinstance(value, int | float) else value.model_dump(mode="json")
        for name, value in values.items()
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
        "protocol": {"key": study.protocol_key, **_public_protocol(study.config.protocol)},
        "seed": study.config.seed,
        "recovery": source.recipe.model_dump(mode="json"),
        "label": drop_places(label.provenance) if label else {},
        "versions": versions(),
        "inheritance": _inheritance(source),
    }
    write_atomic(folder / "README.md", model_card(source))
    write_atomic(folder / "provenance.json", json.dumps(provenance, indent=2) + "\n")


def renew_card(design: Design, study: StudyFolder, teacher: str) -> None:
    """Write an export's model card again where it says other than what is known by now.

    That is what a picture costs, which is measured on the folder itself, and where its single file
    loads. `teacher` is the teacher's identity by content.
    """
    folder, single = study.pipelines_dir / design.name, f"{design.name}.safetensors"
    said = model_card(
        read_source(design, study, teacher),
        read_costs(folder / "costs.json"),
        _describe_single_file(folder, design, study) if single in read_inventory(folder) else None,
    )
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


def _public_protocol(protocol: Protocol) -> dict[str, Any]:
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
    from sdsearch.weights import packed_precision

    arch, backbone = design.architecture, load_space(study).backbone
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    return {
        "name": f"{design.name}.safetensors",
        "precision": packed_precision(folder / f"{design.name}.safetensors"),
        "comfyui": why_not_loaded(arch, backbone, "comfyui"),
        "diffusers": why_not_loaded(arch, backbone, "from_single_file"),
        "pruned": arch != UNPRUNED,
        "predicts_v": scheduler.get("prediction_type") == "v_prediction",
    }


def model_card(
    source: ExportSource,
    costs: tuple[PipelineCost, ...] = (),
    single_file: Mapping[str, Any] | None = None,
) -> str:
    """Return the card: what was removed, what was measured how, how to load, the licence.

    `costs` are those of the export and of its teacher; none before they are measured.
    `single_file` is what is said of one, None where there is none.
    """
    design, config, backbone = source.design, source.study.config, source.backbone
    pipeline, size = config.teacher.pipeline, source.backbone.sample_size
    measured = {**(source.label.values if source.label else {}), **source.long_values}
    return (
        markdown_templates("sdsearch.export")
        .get_template("card.md.jinja")
        .render(
            design=design,
            single_file=single_file,
            words=config.protocol.paints_words,
            padding=config.protocol.crop_padding if config.protocol.crop == "hole" else None,
            tiny=not is_full_size(pipeline),
            teacher=None if pipeline == "tiny" else public_name(pipeline),
            tuned=config.teacher.inpaint,
            kind=choose_class(backbone.in_channels, config.protocol.task),
            licence=teacher_licence(pipeline),
            removed=[
                slot.name for slot in SLOTS if slot.name not in design.architecture.kept_slots
            ],
            params=count_params(design.architecture, backbone),
            teacher_params=count_params(UNPRUNED, backbone),
            macs=count_macs(design.architecture, backbone, size).total,
            teacher_macs=count_macs(UNPRUNED, backbone, size).total,
            size=size,
            costs=_cost_rows(costs),
            setting=costs[0].picture.setting if costs and costs[0].picture else None,
            metrics={name: one for name, one in measured.items() if isinstance(one, Measurement)},
            protocol=_public_protocol(config.protocol),
            protocol_key=source.study.protocol_key,
            recovery=source.recipe,
            seed=config.seed,
            beside=set_beside(config, {design.name: measured} if measured else {}),
            is_official=config.protocol.column("fd") == "fid",
        )
    )


def _cost_rows(costs: tuple[PipelineCost, ...]) -> list[tuple[str, str, str, str]]:
    """What was measured of an export and of its teacher: words of both, and the share."""
    unknown = PipelineCost(name="")
    this, teacher = costs if len(costs) == 2 else (unknown, unknown)

    def share(find: Callable[[PipelineCost], float | None]) -> str:
        one, whole = find(this), find(teacher)
        return f"{one / whole:.1%}" if one and whole else "-"

    calls = share(lambda cost: cost.latency_ms.median if cost.latency_ms else None)
    seconds = share(lambda cost: cost.picture.seconds if cost.picture else None)
    peaks = share(lambda cost: cost.picture.peak_bytes if cost.picture else None)
    return [
        ("A UNet call", this.call_said, teacher.call_said, calls),
        ("A whole picture", this.seconds_said, teacher.seconds_said, seconds),
        ("Memory of a whole picture", this.memory_said, teacher.memory_said, peaks),
    ]


def teacher_licence(pipeline: str) -> str:
    """Return the licence that an export inherits: what the teacher's own card states, else SD's."""
    if pipeline == "tiny":
        return "mit"
    card = find_card(pipeline)
    if card is not None:
        text = read_bytes(card, LARGEST_JSON).decode(errors="replace")
        stated = re.search(r"^license:\s*[\"']?([\w.+-]+)", text, re.MULTILINE)
        if stated:
            return stated[1]
    return _SD_LICENCE
