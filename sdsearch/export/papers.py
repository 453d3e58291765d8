"""The papers of an export: model card, design.json, provenance.json, and the licence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdsearch.export.recovered import _read_long_values, _teacher_folder
from sdsearch.files import write_atomic
from sdsearch.labels.label import Label, Measurement
from sdsearch.labels.store import read_labels
from sdsearch.study.folder import load_space
from sdsearch.study.records import versions
from sdsearch.unet.architecture import UNPRUNED
from sdsearch.unet.cost import count_macs, count_params
from sdsearch.unet.slots import SLOTS
from sdsearch.weights.provenance import provenance_document

if TYPE_CHECKING:
    from sdsearch.design.designs import Design
    from sdsearch.study.folder import StudyFolder
    from sdsearch.unet.architecture import Architecture

_SD_LICENCE = "creativeml-openrail-m"


def _write_papers(
    folder: Path, design: Design, study: StudyFolder, made_from: dict[str, str]
) -> None:
    """Write design.json, provenance.json and the model card."""
    protocol = study.config.protocol
    key = (design.arch_key, protocol.key, study.config.seed)
    labels = read_labels(study, protocol.key)
    label = next((one for one in labels if (one.arch_key, one.protocol_key, one.seed) == key), None)
    measured = label.model_dump(mode="json")["values"] if label else {}
    long = _read_long_values(design.arch_key, study)
    measured |= {name: value.model_dump(mode="json") for name, value in long.items()}
    recovery = study.config.export.recovery if long else protocol.recovery
    said = {**design.model_dump(mode="json"), "measured": measured}
    write_atomic(folder / "design.json", json.dumps(said, indent=2) + "\n")
    provenance = {
        "schema": 1,
        "inputs": made_from["inputs"],
        "weights_sha256": made_from["weights"],
        "teacher": study.config.teacher.pipeline,
        "protocol": {"key": protocol.key, **protocol.model_dump(mode="json")},
        "seed": study.config.seed,
        "recovery": recovery.model_dump(mode="json"),
        "label": label.provenance if label else {},
        "versions": versions(),
        "inheritance": _inheritance(design.architecture, study),
    }
    write_atomic(folder / "README.md", model_card(design, study, label))
    write_atomic(folder / "provenance.json", json.dumps(provenance, indent=2) + "\n")


def _inheritance(arch: Architecture, study: StudyFolder) -> dict[str, Any]:
    """Tell what every tensor was before recovery: the teacher tensor, its slice, zero or new."""
    from sdsearch.weights.importance import choose_channels
    from sdsearch.weights.tensorfile import TensorFile

    backbone = load_space(study).backbone
    if arch.widths is None:
        return provenance_document(arch, backbone)
    teacher = _teacher_folder(study.config.teacher.pipeline)
    with TensorFile(teacher / "unet" / "diffusion_pytorch_model.safetensors") as weights:
        return provenance_document(arch, backbone, choose_channels(arch, backbone, weights))


def model_card(design: Design, study: StudyFolder, label: Label | None) -> str:
    """Return the card: what was removed, what was measured how, how to load, the licence."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    space, teacher = load_space(study), study.config.teacher.pipeline
    backbone, whole = space.backbone, UNPRUNED
    size = backbone.sample_size
    # Not HTML: what is foreign here (folder names) is only ever shown inside code spans.
    loader = PackageLoader("sdsearch.export")
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True)
    long = _read_long_values(design.arch_key, study)
    recovery = study.config.export.recovery if long else study.config.protocol.recovery
    measured = {**(label.values if label else {}), **long}
    return environment.get_template("card.md.jinja").render(
        design=design,
        tiny=teacher == "tiny",
        teacher="the embedded tiny Stable Diffusion" if teacher == "tiny" else f"`{teacher}`",
        licence=teacher_licence(teacher),
        removed=[slot.name for slot in SLOTS if slot.name not in design.architecture.kept_slots],
        params=count_params(design.architecture, backbone),
        teacher_params=count_params(whole, backbone),
        macs=count_macs(design.architecture, backbone, size).total,
        teacher_macs=count_macs(whole, backbone, size).total,
        size=size,
        metrics={name: one for name, one in measured.items() if isinstance(one, Measurement)},
        protocol=study.config.protocol,
        recovery=recovery,
        seed=study.config.seed,
    )


def teacher_licence(pipeline: str) -> str:
    """Return the licence that an export inherits: what the teacher's own card states, else SD's."""
    if pipeline == "tiny":
        return "mit"
    card = Path(pipeline).expanduser() / "README.md"
    if card.is_file():
        text = card.read_text(encoding="utf-8", errors="replace")
        stated = re.search(r"^license:\s*[\"']?([\w.+-]+)", text, re.MULTILINE)
        if stated:
            return stated[1]
    return _SD_LICENCE
