"""Stage records: what a stage was made from and what it made, so that a rerun can skip it.

A stage is current when its record has the key of the present inputs and every output still has the
recorded hash. Times of files mean nothing; the record is written last, so a killed stage is redone.
"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from sdsearch.console import say
from sdsearch.files import read_json, write_atomic
from sdsearch.keys import content_key, file_sha256, with_seal, without_seal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sdsearch.study.folder import StudyFolder

PACKAGES = ("sdsearch", "torch", "diffusers", "transformers", "numpy", "scikit-learn")


def is_current(study: StudyFolder, stage: str, inputs: Mapping[str, Any]) -> bool:
    """Whether a stage has been done with these inputs and its outputs are untouched.

    Where they are not as they were written, it is said: the stage is done again.
    """
    file = _record(study, stage)
    if not file.is_file():
        return False
    try:
        record = _read(file)
        outputs: dict[str, str] = record["outputs"]
        if record["inputs_key"] != _key(inputs):
            return False
        changed = [name for name, sha256 in outputs.items() if not _has(study.root / name, sha256)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        changed = [f"{file.parent.name}/{file.name}"]
    if changed:
        say(f"{', '.join(changed)} in {study.root} changed since it was written: made again")
    return not changed


def record_done(
    study: StudyFolder, stage: str, inputs: Mapping[str, Any], outputs: Sequence[Path]
) -> None:
    """Record a finished stage with its resolved configuration, versions and output hashes."""
    record = {
        "schema": 1,
        "stage": stage,
        "inputs_key": _key(inputs),
        "inputs": dict(inputs),
        "outputs": {str(file.relative_to(study.root)): file_sha256(file) for file in outputs},
        "config": study.config.model_dump(mode="json"),
        "versions": versions(),
    }
    write_atomic(_record(study, stage), json.dumps(with_seal(record), indent=2) + "\n", study.root)


def outputs_of(study: StudyFolder, stage: str) -> dict[str, str]:
    """Return the output hashes of a finished stage: the inputs of the next one."""
    found: dict[str, str] = _read(_record(study, stage))["outputs"]
    return found


def is_as_written(study: StudyFolder, stage: str, file: Path) -> bool:
    """Whether a file is what a stage wrote, as far as its record tells."""
    record, name = _record(study, stage), str(file.relative_to(study.root))
    try:
        return not record.is_file() or read_outputs(record).get(name, True)
    except ValueError:
        return False


def find_stages(study: StudyFolder) -> list[Path]:
    """The records of the stages that have been done."""
    return sorted((study.root / "stages").glob("*.json"))


def read_outputs(record: Path) -> dict[str, bool]:
    """The files that a stage wrote, by their paths in the study, and whether each still is it.

    Raises:
        ValueError: the record is damaged.
    """
    try:
        found: dict[str, str] = _read(record)["outputs"]
        return {name: _has(record.parents[1] / name, sha256) for name, sha256 in found.items()}
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _read(record: Path) -> dict[str, Any]:
    return without_seal(read_json(record))


def _has(file: Path, sha256: str) -> bool:
    return file.is_file() and file_sha256(file) == sha256


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the installed versions of some packages, by default of what may change a result."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a checkout that is not installed
            found[name] = "not installed"
    return found


def _record(study: StudyFolder, stage: str) -> Path:
    return study.root / "stages" / f"{stage}.json"


def _key(inputs: Mapping[str, Any]) -> str:
    return content_key({"inputs": inputs, "version": versions()["sdsearch"]})
