"""Label files: one atomic JSON file for each label, and tables of many labels, a line each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sdsearch.errors import InputError
from sdsearch.files import write_atomic, write_once
from sdsearch.labels.label import Label

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from sdsearch.study.folder import StudyFolder


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of the lines of a label table.

    Attributes:
        imported: labels written to the study.
        skipped_existing: labels that the study already had.
        other_protocol: labels refused since they were measured under another protocol.
        other_teacher: labels refused since another teacher was pruned.
        origin: how and on what the table says it was measured.
    """

    imported: int
    skipped_existing: int
    other_protocol: int
    other_teacher: int
    origin: str


def label_path(study: StudyFolder, arch_key: str, protocol_key: str, seed: int) -> Path:
    """Return where the label of (architecture, protocol, seed) lies."""
    return study.labels_dir / arch_key / f"{protocol_key}-s{seed}.json"


def write_label(study: StudyFolder, label: Label) -> Path:
    """Write a label atomically, replacing one of the same identity; return its path."""
    path = label_path(study, label.arch_key, label.protocol_key, label.seed)
    write_atomic(path, label.to_json() + "\n")
    return path


def publish_label(study: StudyFolder, label: Label) -> bool:
    """Write a label unless one of its identity is there; whether this call was the one."""
    path = label_path(study, label.arch_key, label.protocol_key, label.seed)
    return write_once(path, label.to_json() + "\n")


def read_label(path: Path) -> Label:
    """Read one label file."""
    return _parse(path.read_text(encoding="utf-8"), str(path))


def read_labels(study: StudyFolder, protocol_key: str | None = None) -> list[Label]:
    """Read all labels of a study, failed ones too, ordered by path; optionally of one protocol."""
    pattern = f"{protocol_key}-s*.json" if protocol_key else "*.json"
    files = sorted(study.labels_dir.glob(f"*/{pattern}"))
    return [read_label(file) for file in files]


def read_table(table: Path) -> list[Label]:
    """Read a label table: JSONL, one label a line."""
    try:
        text = table.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"a label table must be a readable JSONL file: {error}") from None
    lines = enumerate(text.splitlines(), start=1)
    return [_parse(line, f"{table}, line {number}") for number, line in lines if line.strip()]


def write_table(table: Path, labels: Iterable[Label]) -> None:
    """Write labels as JSONL, ordered by architecture, protocol and seed for small diffs."""
    ordered = sorted(labels, key=lambda label: (label.arch_key, label.protocol_key, label.seed))
    write_atomic(table, "".join(label.to_json() + "\n" for label in ordered))


def import_labels(
    study: StudyFolder, table: Path, protocol_key: str, teacher_sha256: str
) -> ImportReport:
    """Copy a table's labels of this protocol and teacher into the study; existing ones are kept.

    Raises `InputError` when the table holds no such label.
    """
    labels = read_table(table)
    of_protocol = [label for label in labels if label.protocol_key == protocol_key]
    fitting = [
        label for label in of_protocol if label.provenance.get("teacher_sha256") == teacher_sha256
    ]
    if not fitting:
        found = ", ".join(sorted({label.protocol_key for label in labels})) or "none"
        raise InputError(
            f"the table must hold labels of this study's protocol {protocol_key} and teacher "
            f"{teacher_sha256[:12]}, but {table} has {len(labels)} labels of protocols {found}, "
            f"{len(of_protocol)} of this protocol with other teachers; restore [protocol] and "
            f"[teacher] in study.toml, or measure anew with: sdsearch label {study.root}"
        )
    imported = sum(publish_label(study, label) for label in fitting)
    return ImportReport(
        imported=imported,
        skipped_existing=len(fitting) - imported,
        other_protocol=len(labels) - len(of_protocol),
        other_teacher=len(of_protocol) - len(fitting),
        origin=_origin(table, fitting),
    )


def check_comparable(labels: Iterable[Label], provenance: Mapping[str, Any]) -> None:
    """Refuse to add labels of `provenance` to labels of another teacher, dataset or extractor.

    Raises `InputError` naming the first difference.
    """
    for label in labels:
        for name in ("teacher_sha256", "manifest_sha256", "extractor_sha256"):
            old, new = label.provenance.get(name), provenance[name]
            if old != new:
                raise InputError(
                    f"all labels of a protocol must share one {name}, but label {label.arch_key} "
                    f"has {str(old)[:12]} and it is {str(new)[:12]} now; restore it, or use a new "
                    "study folder"
                )


def _origin(table: Path, labels: list[Label]) -> str:
    """Say in words which file, teacher and software versions the labels come from."""
    teachers = {str(label.provenance.get("teacher_sha256", "unknown"))[:12] for label in labels}
    versions = {
        ", ".join(f"{name} {number}" for name, number in sorted(found.items()))
        for label in labels
        if isinstance(found := label.provenance.get("versions"), dict)
    }
    stated = " | ".join(sorted(versions)) or "versions not stated"
    return f"{table.name}: teacher {', '.join(sorted(teachers))}; {stated}"


def _parse(text: str, where: str) -> Label:
    try:
        return Label.model_validate(json.loads(text))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "label"
        raise InputError(f"{where} is no valid label: {place}: {first['msg']}") from None
    except ValueError as error:
        raise InputError(f"{where} must be JSON: {error}") from None
