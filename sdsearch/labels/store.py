"""Label files: one atomic JSON file for each label, and tables of many labels, a line each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sdsearch.errors import InputError
from sdsearch.files import (
    parse_json,
    read_json_bytes,
    read_json_lines,
    write_atomic,
    write_once,
)
from sdsearch.labels.label import Floors, Label
from sdsearch.labels.recovery import RecoveryValues

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from sdsearch.labels.label import LabelKey, Series


@dataclass(frozen=True, slots=True)
class LabelStore:
    """The labels below one folder, a file each: `<arch_key>/<protocol_key>-s<seed>.json`.

    Writers on any number of machines may share it: a file is whole or absent. An empty one is as
    good as absent: a writer has died over it, or is about to fill it (see `write_once`).
    """

    folder: Path

    def path(self, key: LabelKey) -> Path:
        """Where the label of a key lies."""
        return self.folder / key.arch_key / f"{key.series}.json"

    def __contains__(self, key: LabelKey) -> bool:
        return _is_there(self.path(key))

    def read(self, key: LabelKey) -> Label:
        """The label of a key.

        Raises:
            InputError: it is missing or damaged.
        """
        return read_label(self.path(key))

    def read_all(self, protocol_key: str | None = None) -> list[Label]:
        """All labels, failed ones too, ordered by path; optionally those of one protocol."""
        pattern = f"{protocol_key}-s*.json" if protocol_key else "*.json"
        files = filter(_is_there, sorted(self.folder.glob(f"*/{pattern}")))
        return [read_label(file) for file in files]

    def read_series(self, series: Series) -> dict[str, Label]:
        """The labels of a series by architecture key, failed ones too."""
        files = filter(_is_there, sorted(self.folder.glob(f"*/{series}.json")))
        return {label.arch_key: label for label in map(read_label, files)}

    def write(self, label: Label) -> Path:
        """Write a label atomically, replacing one of the same key; return its path."""
        path = self.path(label.key)
        write_atomic(path, label.to_json() + "\n", self.folder.parent)
        return path

    def publish(self, label: Label) -> bool:
        """Write a label unless one of its key is there; whether this call was the one."""
        path, home, text = self.path(label.key), self.folder.parent, label.to_json() + "\n"
        if write_once(path, text, home):
            return True
        if label.key in self:
            return False
        write_atomic(path, text, home)  # over what was left empty: labels are equal
        return True

    def remove(self, key: LabelKey) -> None:
        """Remove a label, if it is there."""
        self.path(key).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of the lines of a label table.

    Attributes:
        imported: labels written to the store.
        skipped_existing: labels that the store already had.
        other_protocol: labels refused since they were measured under another protocol.
        other_teacher: labels refused since another teacher was pruned.
        origin: how and on what the table says it was measured.
    """

    imported: int
    skipped_existing: int
    other_protocol: int
    other_teacher: int
    origin: str


def read_label_table(table: Path) -> list[Label]:
    """Read a label table: JSONL, one label a line."""
    try:
        lines = enumerate(read_json_lines(table), start=1)
    except InputError as error:
        raise InputError(f"a label table must be a readable JSONL file: {error}") from None
    return [_parse(line, f"{table}, line {number}") for number, line in lines if line.strip()]


def write_label_table(table: Path, labels: Iterable[Label]) -> None:
    """Write labels as JSONL, ordered by architecture, protocol and seed for small diffs."""
    ordered = sorted(labels, key=lambda label: label.key)
    table.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(table, "".join(label.to_json() + "\n" for label in ordered))


def import_labels(
    store: LabelStore, table: Path, protocol_key: str, teacher_sha256: str
) -> ImportReport:
    """Copy a table's labels of this protocol and teacher into a store; existing ones are kept.

    Raises `InputError` when the table holds no such label.
    """
    labels = read_label_table(table)
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
            "[teacher] in study.toml, or measure the architectures again"
        )
    imported = sum(store.publish(label) for label in fitting)
    return ImportReport(
        imported=imported,
        skipped_existing=len(fitting) - imported,
        other_protocol=len(labels) - len(of_protocol),
        other_teacher=len(of_protocol) - len(fitting),
        origin=_origin(table, fitting),
    )


def check_comparable(labels: Iterable[Label], provenance: Mapping[str, Any]) -> None:
    """Refuse to add labels of `provenance` to labels of another teacher, extractor or sampler.

    Raises `InputError` naming the first difference.
    """
    for label in labels:
        if changed := find_sampler_change(label, provenance):
            raise InputError(
                f"all labels of a protocol must be sampled alike, but label {label.arch_key} was "
                f"with {changed}; use a new study folder, or remove these labels"
            )
        for name in ("teacher_sha256", "extractor_sha256"):
            old, new = label.provenance.get(name), provenance[name]
            if old != new:
                raise InputError(
                    f"all labels of a protocol must share one {name}, but label {label.arch_key} "
                    f"has {str(old)[:12]} and it is {str(new)[:12]} now; restore it, use a new "
                    "study folder, or adopt the labels if the networks are the same"
                )


def find_sampler_change(label: Label, provenance: Mapping[str, Any]) -> str | None:
    """The first option of the sampler, as both recorded it, that was another for a label.

    A teacher saved with a scheduler of another class once passed its options on to the sampler.
    """
    then, now = (
        said.get("sampling", {}).get("scheduler_config", {})
        for said in (label.provenance, provenance)
    )
    changed = (name for name in sorted(then.keys() & now.keys()) if then[name] != now[name])
    return next((f"{name} {then[name]}, not {now[name]}" for name in changed), None)


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


def _is_there(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False


def read_label(path: Path) -> Label:
    """The label in a file.

    Raises:
        InputError: it is missing or damaged.
    """
    return _parse(read_json_bytes(path), str(path))


def read_floors(path: Path) -> Floors | None:
    """The floors in a file; None where there is none yet.

    Raises:
        InputError: it is damaged.
    """
    if not path.is_file():
        return None
    try:
        return Floors.model_validate_json(read_json_bytes(path))
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        raise InputError(
            f"{path} must hold measured floors, but: {said}; label again, and they are measured"
        ) from None


def read_recovery_values(path: Path) -> RecoveryValues | None:
    """The values of a long recovery in a file; None where there are none yet.

    Raises:
        InputError: it is damaged.
    """
    if not path.is_file():
        return None
    try:
        return RecoveryValues.model_validate_json(read_json_bytes(path))
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        raise InputError(
            f"{path} must hold values before and after, but: {said}; recover again, and they are "
            "measured"
        ) from None


def _parse(data: bytes, where: str) -> Label:
    try:
        return Label.model_validate(parse_json(data, where))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "label"
        raise InputError(f"{where} is no valid label: {place}: {first['msg']}") from None
